"""What FLARE's server parent is told in its ``local`` folder."""

from __future__ import annotations

import json
from typing import Any

from fedgate_flare.front_door.folder import DoorFolder

_STORAGE = "nvflare.app_common.storages.filesystem_storage.FilesystemStorage"
_PERSISTOR = "nvflare.app_common.state_persistors.storage_state_persistor.StorageStatePersistor"
#: FLARE's own name of a component that its engine looks up.
JOB_STORE = "job_store"
#: Everybody sees what there is; to abort, clone, download and delete, a job must be one's own.
_OWN = "n:submitter"
_RIGHTS = {
    "format_version": "1.0",
    "permissions": {
        "lead": {
            "submit_job": "any", "view": "any", "report_version": "any", "byoc": "any",
            "manage_job": _OWN, "download_job": _OWN, "clone_job": _OWN, "get_job_log": _OWN,
            "list_job": _OWN, "download_job_components": _OWN,
        }
    },
}  # fmt: skip


def write_config(folder: DoorFolder) -> None:
    """Resources, rights and logging."""
    local = folder.server / "local"
    (local / "authorization.json").write_text(json.dumps(_RIGHTS, indent=2))
    (local / "resources.json").write_text(json.dumps(_resources(folder), indent=2))
    # Ours is set up already; an incremental one leaves its handlers alone.
    (local / "log_config.json").write_text(json.dumps({"version": 1, "incremental": True}))


def _resources(folder: DoorFolder) -> dict[str, Any]:
    return {
        "format_version": 2,
        # No job is ever run here, so no class has a place on the list.
        "class_list_enforcement_mode": "enforce",
        "class_allow_list": [],
        "servers": [{"admin_storage": "transfer", "max_num_clients": 1, "admin_timeout": 10.0}],
        "snapshot_persistor": {
            "path": _PERSISTOR,
            "args": {
                "uri_root": "/",
                "storage": {
                    "path": _STORAGE,
                    "args": {"root_dir": str(folder.snapshots), "uri_root": "/"},
                },
            },
        },
        "components": [
            # Its names are whole paths: the job manager's, below the door's folder.
            {"id": JOB_STORE, "path": _STORAGE, "args": {"root_dir": "/", "uri_root": "/"}}
        ],
    }
