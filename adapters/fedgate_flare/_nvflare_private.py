"""Every private name of nvflare that we rely on, in one place, for one minor version.

``nvflare.private`` and the module internals used elsewhere through these names are no public API:
read them again before widening the version check.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from fedgate.errors import UnsupportedVersion

SUPPORTED = "2.9"


def _check_version() -> None:
    try:
        found = version("nvflare")
    except PackageNotFoundError:
        raise UnsupportedVersion(
            "NVIDIA FLARE is not installed where the job is to run",
            remedy="install fedgate[flare] into that interpreter",
        ) from None
    if found.split(".")[:2] != SUPPORTED.split("."):
        raise UnsupportedVersion(
            f"NVIDIA FLARE {found} is not supported",
            why=f"this adapter is written for {SUPPORTED}",
            remedy=f"install nvflare=={SUPPORTED}.*",
        )


_check_version()

from nvflare.apis.impl import wf_comm_server as wf_comm_server_module  # noqa: E402
from nvflare.apis.impl.any_relay_manager import AnyRelayTaskManager  # noqa: E402
from nvflare.apis.impl.bcast_manager import (  # noqa: E402
    _KEY_MIN_RESPS as KEY_MIN_RESPONSES,
)
from nvflare.apis.impl.bcast_manager import (  # noqa: E402
    BcastForeverTaskManager,
    BcastTaskManager,
)
from nvflare.apis.impl.seq_relay_manager import SequentialRelayTaskManager  # noqa: E402
from nvflare.apis.impl.wf_comm_server import (  # noqa: E402
    _TASK_KEY_MANAGER as KEY_TASK_MANAGER,
)
from nvflare.apis.impl.wf_comm_server import (  # noqa: E402
    WFCommServer,
    _DeadClientStatus,
)
from nvflare.app_common.streamers.streamer_base import (  # noqa: E402
    KEY_DATA,
    KEY_EOF,
    KEY_FILE_LOCATION,
    KEY_FILE_SIZE,
)
from nvflare.fuel.data_event.data_bus import DataBus  # noqa: E402
from nvflare.fuel.f3 import communicator as communicator_module  # noqa: E402
from nvflare.fuel.f3.cellnet.cell import Cell  # noqa: E402
from nvflare.fuel.f3.cellnet.core_cell import make_reply as make_cell_reply  # noqa: E402
from nvflare.fuel.f3.cellnet.defs import (  # noqa: E402
    CellChannel,
    CellChannelTopic,
    MessageHeaderKey,
    MessageType,
)
from nvflare.fuel.f3.cellnet.defs import ReturnCode as CellReturnCode  # noqa: E402
from nvflare.fuel.f3.cellnet.fqcn import FQCN  # noqa: E402
from nvflare.fuel.f3.comm_error import CommError  # noqa: E402
from nvflare.fuel.f3.connection import Connection  # noqa: E402
from nvflare.fuel.f3.drivers.base_driver import BaseDriver  # noqa: E402
from nvflare.fuel.f3.mpm import MainProcessMonitor  # noqa: E402
from nvflare.fuel.f3.sfm import conn_manager as conn_manager_module  # noqa: E402
from nvflare.fuel.f3.streaming.stream_const import STREAM_CHANNEL  # noqa: E402
from nvflare.fuel.hci.conn import Connection as AdminConnection  # noqa: E402
from nvflare.fuel.hci.proto import (  # noqa: E402
    InternalCommands,
    MetaKey,
    MetaStatusValue,
    StreamChannel,
    make_meta,
)
from nvflare.fuel.hci.server.authz import (  # noqa: E402
    AuthorizationService,
    PreAuthzReturnCode,
)
from nvflare.fuel.hci.server.constants import ConnProps  # noqa: E402
from nvflare.fuel.hci.server.reg import CommandFilter  # noqa: E402
from nvflare.fuel.sec.audit import AuditService  # noqa: E402
from nvflare.fuel.utils.config_service import ConfigService  # noqa: E402
from nvflare.fuel.utils.fobs import fobs as fobs_core  # noqa: E402
from nvflare.fuel.utils.fobs.datum import DatumManager  # noqa: E402
from nvflare.lighter.prov_utils import prepare_builders  # noqa: E402
from nvflare.lighter.provision import prepare_project  # noqa: E402
from nvflare.lighter.provisioner import Provisioner  # noqa: E402
from nvflare.private.defs import SpecialTaskName, TaskConstant, new_cell_message  # noqa: E402
from nvflare.private.fed.app import fl_conf as fl_conf_module  # noqa: E402
from nvflare.private.fed.app.deployer import server_deployer as server_deployer_module  # noqa: E402
from nvflare.private.fed.app.deployer.base_client_deployer import BaseClientDeployer  # noqa: E402
from nvflare.private.fed.app.deployer.server_deployer import ServerDeployer  # noqa: E402
from nvflare.private.fed.app.server import server_train as server_train_module  # noqa: E402
from nvflare.private.fed.app.utils import init_security_content_service  # noqa: E402
from nvflare.private.fed.client import client_runner as client_runner_module  # noqa: E402
from nvflare.private.fed.client.client_app_runner import ClientAppRunner  # noqa: E402
from nvflare.private.fed.client.command_agent import CommandAgent  # noqa: E402
from nvflare.private.fed.server import fed_server as fed_server_module  # noqa: E402
from nvflare.private.fed.server import job_cmds as job_cmds_module  # noqa: E402
from nvflare.private.fed.server.admin import FedAdminServer  # noqa: E402
from nvflare.private.fed.server.fed_server import FederatedServer  # noqa: E402
from nvflare.private.fed.server.info_coll_cmd import InfoCollectorCommandModule  # noqa: E402
from nvflare.private.fed.server.job_cmds import JobCommandModule  # noqa: E402
from nvflare.private.fed.server.job_runner import JobRunner  # noqa: E402
from nvflare.private.fed.server.server_app_runner import ServerAppRunner  # noqa: E402
from nvflare.private.fed.server.server_command_agent import ServerCommandAgent  # noqa: E402
from nvflare.private.fed.server.server_commands import (  # noqa: E402
    GetTaskCommand,
    SubmitUpdateCommand,
)
from nvflare.private.fed.server.server_engine import ServerEngine  # noqa: E402
from nvflare.private.fed.server.server_runner import ServerRunner  # noqa: E402
from nvflare.private.fed.server.server_status import ServerStatus  # noqa: E402
from nvflare.private.fed.server.sys_cmd import SystemCommandModule  # noqa: E402
from nvflare.private.fed.server.training_cmds import TrainingCommandModule  # noqa: E402
from nvflare.private.fed.simulator.simulator_audit import SimulatorAuditor  # noqa: E402
from nvflare.private.fed.utils.fed_utils import (  # noqa: E402
    fobs_initialize,
    register_ext_decomposers,
)
from nvflare.security.security import EmptyAuthorizer  # noqa: E402
from nvflare.widgets.fed_event import FedEventRunner  # noqa: E402

DeadClientStatus = _DeadClientStatus
RELAYS = (SequentialRelayTaskManager, AnyRelayTaskManager)

__all__ = [
    "FQCN",
    "KEY_DATA",
    "KEY_EOF",
    "KEY_FILE_LOCATION",
    "KEY_FILE_SIZE",
    "KEY_MIN_RESPONSES",
    "KEY_TASK_MANAGER",
    "RELAYS",
    "STREAM_CHANNEL",
    "AdminConnection",
    "AuditService",
    "AuthorizationService",
    "BaseClientDeployer",
    "BaseDriver",
    "BcastForeverTaskManager",
    "BcastTaskManager",
    "Cell",
    "CellChannel",
    "CellChannelTopic",
    "CellReturnCode",
    "ClientAppRunner",
    "CommError",
    "CommandAgent",
    "CommandFilter",
    "ConfigService",
    "ConnProps",
    "Connection",
    "DataBus",
    "DatumManager",
    "DeadClientStatus",
    "EmptyAuthorizer",
    "FedAdminServer",
    "FedEventRunner",
    "FederatedServer",
    "GetTaskCommand",
    "InfoCollectorCommandModule",
    "InternalCommands",
    "JobCommandModule",
    "JobRunner",
    "MainProcessMonitor",
    "MessageHeaderKey",
    "MessageType",
    "MetaKey",
    "MetaStatusValue",
    "PreAuthzReturnCode",
    "Provisioner",
    "ServerAppRunner",
    "ServerCommandAgent",
    "ServerDeployer",
    "ServerEngine",
    "ServerRunner",
    "ServerStatus",
    "SimulatorAuditor",
    "SpecialTaskName",
    "StreamChannel",
    "SubmitUpdateCommand",
    "SystemCommandModule",
    "TaskConstant",
    "TrainingCommandModule",
    "WFCommServer",
    "client_runner_module",
    "communicator_module",
    "conn_manager_module",
    "fed_server_module",
    "fl_conf_module",
    "fobs_core",
    "fobs_initialize",
    "init_security_content_service",
    "job_cmds_module",
    "make_cell_reply",
    "make_meta",
    "new_cell_message",
    "prepare_builders",
    "prepare_project",
    "register_ext_decomposers",
    "server_deployer_module",
    "server_train_module",
    "wf_comm_server_module",
]
