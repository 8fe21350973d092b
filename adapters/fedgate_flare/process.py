"""What FLARE expects of a process before it runs a job in it."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

from nvflare.apis.workspace import Workspace
from nvflare.fuel.utils import log_utils

from fedgate_flare import _nvflare_private as private
from fedgate_flare.workspace import Deployed


def prepare(deployed: Deployed, *, log_files: bool = False) -> Any:
    """Initialise FLARE's process-wide services; gives the :class:`Workspace`.

    ``log_files``: the job also wants the files that FLARE writes its log into.

    FLARE's own authorisation is off: what may run was decided by signatures over the bundle's
    digest, and by policy, before this process existed.
    """
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stdout,
        format="%(asctime)s %(name)s %(levelname)s %(message)s",
        force=True,
    )
    if log_files:
        _open_log_files(deployed.run)
    # Trainers are started as "python3 …": the interpreter must be the one that holds nvflare.
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
    if deployed.custom.is_dir():
        sys.path.insert(0, str(deployed.custom))
    workspace = Workspace(str(deployed.root), deployed.participant, "config")
    private.ConfigService.initialize(
        section_files={},
        config_path=[str(deployed.root / "local")],
        parsed_args=None,
        var_dict={},
    )
    private.fobs_initialize(workspace, deployed.job_id)
    private.AuthorizationService.initialize(private.EmptyAuthorizer())
    private.AuditService.the_auditor = private.SimulatorAuditor()
    private.init_security_content_service(str(deployed.root))
    private.register_ext_decomposers([])
    return workspace


def _open_log_files(folder: Path) -> None:
    """FLARE's own files and formats, beside what is written to our output."""
    ours = logging.getLogger().handlers[:]
    settings = json.loads(Path(log_utils.__file__).with_name("log_config.json").read_text())
    del settings["handlers"]["consoleHandler"]
    settings["loggers"]["root"]["handlers"].remove("consoleHandler")
    log_utils.apply_log_config(settings, str(folder))
    for handler in ours:
        logging.getLogger().addHandler(handler)
