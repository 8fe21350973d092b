"""Components that cannot run here, each with the sentence a submitter needs."""

from __future__ import annotations

from collections.abc import Mapping

from fedgate.errors import InvalidBundle, UnsupportedVersion
from fedgate_flare.app_configs import AppConfig

_EXECUTOR = "use ClientAPIExecutor, or export the job again with 2.9"
#: Class name -> what replaces it; FLARE 2.9 removed them.
REMOVED: Mapping[str, str] = {
    "PTInProcessClientAPIExecutor": _EXECUTOR,
    "InProcessClientAPIExecutor": _EXECUTOR,
    "ClientAPILauncherExecutor": _EXECUTOR,
    "PTClientAPILauncherExecutor": _EXECUTOR,
    "LauncherExecutor": _EXECUTOR,
    "TaskExchanger": _EXECUTOR,
    "FilePipe": "drop the pipe; ClientAPIExecutor brings its own",
    "CellPipe": "drop the pipe; ClientAPIExecutor brings its own",
    "ParamsConverter": "set params_exchange_format and server_expected_format instead",
    "NumpyToPTParamsConverter": "set params_exchange_format and server_expected_format instead",
    "PTToNumpyParamsConverter": "set params_exchange_format and server_expected_format instead",
    "KerasModelToNumpyParamsConverter": "set params_exchange_format instead",
    "NumpyToKerasModelParamsConverter": "set params_exchange_format instead",
}
_P2P = "sites may not talk to each other past the enclave; use a workflow that runs on the server"
_OPAQUE = "its traffic cannot be read, and therefore not be governed"
#: Part of a class path -> why it cannot work here.
PEER_TO_PEER: Mapping[str, str] = {
    "nvflare.app_opt.p2p.": _P2P,
    "nvflare.app_common.tie.": _OPAQUE,
    "nvflare.app_opt.flower.": _OPAQUE + "; submit the Flower app itself",
    "nvflare.app_opt.xgboost.": _OPAQUE,
    "nvflare.app_opt.tensor_stream.": "tensors already travel apart from messages",
    "nvflare.app_common.executors.multi_process_executor.": "workers have no network",
}


def refuse_unsupported(found: AppConfig) -> None:
    """Raise for the first component of an app that cannot run here."""
    path = found.path
    for name, _ in found.components():
        last = name.rsplit(".", 1)[-1]
        if (remedy := REMOVED.get(last)) is not None and not _is_custom(name):
            raise UnsupportedVersion(
                f"{path}: {last} does not exist in FLARE 2.9",
                why="the job was made for an older version of FLARE",
                remedy=remedy,
            )
        for prefix, why in PEER_TO_PEER.items():
            if name.startswith(prefix):
                raise InvalidBundle(f"{path}: {last} cannot run through Fedgate", why=why)


def _is_custom(name: str) -> bool:
    """A class of the job's own that happens to have the name of an old one."""
    return "." in name and not name.startswith("nvflare.")
