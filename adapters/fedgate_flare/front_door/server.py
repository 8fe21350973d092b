"""Running FLARE's server parent as a door: what is ours is put in its place, the rest is FLARE's.

One process runs one door: FLARE keeps much of itself in modules and classes.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_constant import SystemComponents

from fedgate.errors import Unavailable
from fedgate.side_door import DoorSettings, OpenDoor, Submitter
from fedgate_flare._nvflare_private import (
    Cell,
    MainProcessMonitor,
    ServerDeployer,
    ServerStatus,
    fed_server_module,
    fl_conf_module,
    job_cmds_module,
    server_deployer_module,
    server_train_module,
)
from fedgate_flare.front_door.admin_server import DoorAdminServer
from fedgate_flare.front_door.errands import Errands
from fedgate_flare.front_door.folder import DoorFolder
from fedgate_flare.front_door.gate import close_to_all_but_admins
from fedgate_flare.front_door.job_log import JobLogs
from fedgate_flare.front_door.job_manager import DoorJobManager
from fedgate_flare.front_door.job_runner import DoorJobRunner
from fedgate_flare.front_door.provisioning import Wanted, hand_out, provision, settle
from fedgate_flare.front_door.server_config import write_config
from fedgate_flare.front_door.validator import UploadValidator

log = logging.getLogger(__name__)

#: FLARE's housekeeping threads look this often whether the server is being shut down.
_CLEANUP_SECONDS = 0.3
#: It would move the job store elsewhere (nvflare/apis/impl/job_def_manager.py).
_STORE_VARIABLE = "NVFL_JOB_STORE_ROOT"


def serve(
    submitter: Submitter,
    settings: DoorSettings,
    *,
    ready: Callable[[OpenDoor], None],
    stop: threading.Event,
) -> None:
    """See :meth:`fedgate.side_door.SideDoor.serve`."""
    folder = DoorFolder(settings.data)
    with folder.opened():
        wanted = settle(folder, settings.host, settings.port, settings.people)
        _require_free(wanted)
        provision(folder, wanted)
        kits = hand_out(folder, wanted, settings.kits)
        write_config(folder)
        opened = OpenDoor(f"grpc://{wanted.host}:{wanted.port}", kits)
        code = _Door(folder, submitter, settings, stop).run(lambda: ready(opened))
    if code:
        raise Unavailable(
            f"FLARE's server ended with code {code}",
            why="its log above says why",
            remedy=f"check that port {wanted.port} is free",
        )


def _require_free(wanted: Wanted) -> None:
    """A gRPC server shares a port with others of the same user, and says nothing of a taken one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1" if wanted.is_local else "", wanted.port))
        except OSError as error:
            raise Unavailable(
                f"port {wanted.port} is taken",
                why=str(error.strerror or error),
                remedy="choose another with --port",
            ) from error


class _Door:
    def __init__(
        self,
        folder: DoorFolder,
        submitter: Submitter,
        settings: DoorSettings,
        stop: threading.Event,
    ) -> None:
        self._folder = folder
        self._submitter = submitter
        self._stop = stop
        self._errands = Errands(submitter, settings.order, stop)
        self._manager = DoorJobManager(folder, self._errands, submitter, JobLogs(folder.logs))
        self._server: Any = None
        self._deployed = threading.Event()

    def run(self, ready: Callable[[], None]) -> int:
        """FLARE's main program, until we are asked to stop; its exit code."""
        os.environ.pop(_STORE_VARIABLE, None)
        server_deployer_module.JobRunner = partial(DoorJobRunner, errands=self._errands)
        server_deployer_module.ServerFedEventRunner = FLComponent  # takes no events from outside
        job_cmds_module.JobMetaValidator = UploadValidator
        fl_conf_module.ServerDeployer = partial(_Deployer, self)
        fed_server_module.Cell = _DoorCell
        server_train_module.create_admin_server = partial(self._admin_server, ready)
        threading.Thread(target=self._wait, name="stopper", daemon=True).start()
        arguments = argparse.Namespace(
            workspace=str(self._folder.server),
            fed_server="fed_server.json",
            set=["secure_train=true", "org=fedgate", "config_folder=config"],
        )
        code = MainProcessMonitor.run(
            main_func=server_train_module.main,
            run_dir=arguments.workspace,
            shutdown_grace_time=0,
            args=arguments,
        )
        return int(code or 0)

    def deployed(self, server: Any) -> None:
        self._server = server
        self._deployed.set()
        close_to_all_but_admins(server.cell)
        self._manager.attach(server.engine)

    @property
    def manager(self) -> DoorJobManager:
        return self._manager

    def _admin_server(self, ready: Callable[[], None], server: Any, **_: Any) -> DoorAdminServer:
        return DoorAdminServer(
            server,
            folder=self._folder,
            manager=self._manager,
            submitter=self._submitter,
            started=ready,
        )

    def _wait(self) -> None:
        """FLARE's own shutdown (private/fed/server/server_engine.py), but for its restart files."""
        self._stop.wait()
        log.info("front door: stopping")
        self._deployed.wait()
        self._server.fl_shutdown()
        time.sleep(_CLEANUP_SECONDS)
        self._server.status = ServerStatus.SHUTDOWN


class _Deployer(ServerDeployer):  # type: ignore[misc]
    """FLARE's, with our job manager among its components."""

    def __init__(self, door: _Door) -> None:
        super().__init__()
        self._door = door

    def build(self, build_ctx: dict[str, Any]) -> None:
        super().build(build_ctx)
        self.components[SystemComponents.JOB_MANAGER] = self._door.manager

    def deploy(self, args: Any) -> Any:
        server = super().deploy(args)
        self._door.deployed(server)
        return server


class _DoorCell(Cell):  # type: ignore[misc]
    """FLARE's, without the listener for job processes: it would be plain TCP, open to any user."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "create_internal_listener": False})
