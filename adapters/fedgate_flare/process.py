"""What FLARE expects of a process before it runs a job in it."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

from nvflare.apis.workspace import Workspace

from fedgate_flare import _nvflare_private as private
from fedgate_flare.workspace import Deployed


def prepare(deployed: Deployed) -> Any:
    """Initialise FLARE's process-wide services; gives the :class:`Workspace`.

    FLARE's own authorisation is off: what may run was decided by signatures over the bundle's
    digest, and by policy, before this process existed.
    """
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stdout,
        format="%(asctime)s %(name)s %(levelname)s %(message)s",
        force=True,
    )
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
