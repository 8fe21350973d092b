"""Start-up kits: a server and some admins, made by FLARE's own provisioner."""

from __future__ import annotations

import json
import logging
import re
import shutil
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fedgate.errors import InvalidConfig
from fedgate_flare._nvflare_private import Provisioner, prepare_builders, prepare_project
from fedgate_flare.front_door.folder import DoorFolder

log = logging.getLogger(__name__)

PROJECT = "fedgate"
DEFAULT_ADMIN = "admin@fedgate.local"
#: FLARE's rule: leads submit jobs, and abort, download and delete their own.
_ROLE = "lead"
#: Of another organisation than the server, so that nobody may operate it from outside.
_SERVER_ORG, _ADMIN_ORG = "fedgate", "submitters"
_ADMIN = re.compile(r"[A-Za-z0-9._%+-]{1,48}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}")
_HOST = re.compile(
    r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*"
)
_ROOT_DAYS = 3650
#: FLARE's certificates count for 360 days; new ones are made this long before.
_RENEW_BEFORE = timedelta(days=30)


@dataclass(frozen=True)
class Wanted:
    """What kits are made for."""

    host: str
    port: int
    admins: tuple[str, ...]

    @property
    def is_local(self) -> bool:
        """FLARE binds to loopback for these, and to all interfaces for any other host."""
        return self.host == "localhost" or self.host.startswith("127.")


def settle(folder: DoorFolder, host: str, port: int, admins: Sequence[str]) -> Wanted:
    """What was chosen, completed by what was chosen before; raises :class:`InvalidConfig`."""
    if not _HOST.fullmatch(host) or len(host) > 63:
        raise InvalidConfig(
            f"{host!r:.100} is no host for a front door", why="FLARE takes names and IPv4 addresses"
        )
    known = _remembered(folder)
    for admin in admins:
        if not _ADMIN.fullmatch(admin) or len(admin) > 63:
            raise InvalidConfig(
                f"{admin!r:.100} is no name for an admin", why="FLARE takes e-mail addresses"
            )
    before = known.admins if known else ()
    everybody = tuple(dict.fromkeys([*before, *admins])) or (DEFAULT_ADMIN,)
    if port == 0:
        port = known.port if known and known.host == host else _free_port()
    return Wanted(host, port, everybody)


def provision(folder: DoorFolder, wanted: Wanted) -> None:
    """Make the kits unless they are there: in ``folder.server``, and ``folder.kits`` by name.

    Who has a kit keeps it: the CA stays, and so do certificates that count long enough. Raises
    :class:`InvalidConfig` with the provisioner's words.
    """
    expiring = _expiring(folder)
    if _remembered(folder) == wanted and not expiring:
        return
    if expiring:
        log.warning("making new certificates: old ones expire soon; hand the kits out again")
        _forget_certificates(folder)
    made = _run_provisioner(folder, wanted)
    shutil.rmtree(folder.server, ignore_errors=True)
    (made / wanted.host).replace(folder.server)
    for admin in wanted.admins:
        _replace_kit(made / admin, folder.kits / admin)
    shutil.rmtree(made)
    folder.settings.write_text(json.dumps(asdict(wanted)) + "\n")


def hand_out(folder: DoorFolder, wanted: Wanted, target: Path | None) -> Mapping[str, Path]:
    """The folder of each admin's kit, copied to ``target`` if there is one."""
    if target is None:
        return {admin: folder.kits / admin for admin in wanted.admins}
    kits = {admin: target.resolve() / admin for admin in wanted.admins}
    try:
        for admin, kit in kits.items():
            kit.mkdir(parents=True, exist_ok=True, mode=0o700)
            shutil.copytree(folder.kits / admin, kit, dirs_exist_ok=True)
    except OSError as error:
        raise InvalidConfig("cannot write the start-up kits", why=str(error)[:300]) from error
    return kits


def _run_provisioner(folder: DoorFolder, wanted: Wanted) -> Path:
    steps = _Steps()
    try:
        project = _project(wanted)
        context = Provisioner(str(folder.provisioned), prepare_builders(project)).provision(
            prepare_project(project), logger=steps
        )
        made = Path(context["current_prod_dir"])
    except Exception as error:
        raise InvalidConfig(
            "FLARE could not make the start-up kits", why=str(error)[:500]
        ) from error
    if steps.errors or not (made / wanted.host).is_dir():
        raise InvalidConfig(
            "FLARE could not make the start-up kits", why="; ".join(steps.errors)[:500]
        )
    return made


def _project(wanted: Wanted) -> dict[str, Any]:
    server = {
        "name": wanted.host, "type": "server", "org": _SERVER_ORG,
        "fed_learn_port": wanted.port, "admin_port": wanted.port,
    }  # fmt: skip
    admins = [
        {"name": name, "type": "admin", "org": _ADMIN_ORG, "role": _ROLE} for name in wanted.admins
    ]
    impl = "nvflare.lighter.impl."
    return {
        "api_version": 3,
        "name": PROJECT,
        "description": "a door to a Fedgate gateway",
        "participants": [server, *admins],
        "builders": [
            {
                "path": impl + "workspace.WorkspaceBuilder",
                "args": {"template_file": ["master_template.yml"]},
            },
            {
                "path": impl + "static_file.StaticFileBuilder",
                "args": {"config_folder": "config", "scheme": "grpc"},
            },
            {"path": impl + "cert.CertBuilder", "args": {"root_valid_days": _ROOT_DAYS}},
            {"path": impl + "signature.SignatureBuilder"},
        ],
    }


class _Steps:
    """What the provisioner tells."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def debug(self, text: str) -> None:
        log.debug("%s", text)

    info = debug

    def warning(self, text: str) -> None:
        log.warning("%s", text)

    def error(self, text: str) -> None:
        self.errors.append(text)


def _replace_kit(made: Path, kit: Path) -> None:
    """What FLARE's tools put beside ``startup`` and ``local`` stays."""
    kit.mkdir(parents=True, exist_ok=True)
    for part in ("startup", "local"):
        shutil.rmtree(kit / part, ignore_errors=True)
        (made / part).replace(kit / part)


def _remembered(folder: DoorFolder) -> Wanted | None:
    try:
        told = json.loads(folder.settings.read_text())
        return Wanted(str(told["host"]), int(told["port"]), tuple(map(str, told["admins"])))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidConfig(
            f"cannot read {folder.settings}", why=repr(error)[:200], remedy="remove it"
        ) from error


def _expiring(folder: DoorFolder) -> bool:
    from cryptography import x509

    soon = datetime.now(UTC) + _RENEW_BEFORE
    found = [folder.server / "startup/server.crt", *folder.kits.glob("*/startup/client.crt")]
    return any(
        x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc < soon
        for path in found
        if path.exists()
    )


def _forget_certificates(folder: DoorFolder) -> None:
    """All but the CA, in the state file of FLARE's CertBuilder (nvflare/lighter/impl/cert.py)."""
    state = folder.provisioned / PROJECT / "state" / "cert.json"
    if not state.exists():
        return
    kept = {k: v for k, v in json.loads(state.read_text()).items() if k.startswith("root_")}
    state.write_text(json.dumps(kept))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
