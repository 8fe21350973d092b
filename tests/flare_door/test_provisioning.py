"""Start-up kits: made once by FLARE's provisioner, and good for as long as they can be."""

from __future__ import annotations

import json
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from fedgate.errors import Conflict, InvalidConfig
from fedgate_flare.front_door import provisioning
from fedgate_flare.front_door.folder import DoorFolder
from fedgate_flare.front_door.provisioning import hand_out, provision, settle
from fedgate_flare.front_door.server_config import write_config

ADA, BOB = "ada@example.org", "bob@example.org"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> DoorFolder:
    folder = DoorFolder(tmp_path_factory.mktemp("door") / "data")
    with folder.opened():
        provision(folder, settle(folder, "127.0.0.1", 0, [ADA]))
    return folder


def certificate(folder: DoorFolder, who: str) -> bytes:
    return (folder.kits / who / "startup/client.crt").read_bytes()


def root(folder: Path) -> bytes:
    return (folder / "startup/rootCA.pem").read_bytes()


def test_nobody_else_can_read_the_folder(made):
    open_to_others = [
        path for path in (made.root, *made.root.rglob("*"))
        if path.suffix != ".sh" and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]  # fmt: skip
    assert open_to_others == []


def test_a_folder_that_others_may_enter_is_refused(tmp_path):
    (tmp_path / "data").mkdir(mode=0o755)
    with (
        pytest.raises(InvalidConfig, match="open to others"),
        DoorFolder(tmp_path / "data").opened(),
    ):
        pass


def test_a_second_door_in_the_same_folder_is_refused(made):
    with made.opened(), pytest.raises(Conflict, match="another front door"):
        DoorFolder(made.root).opened().__enter__()


def test_a_kit_leads_to_the_door_and_everything_stays_in_its_folder(made):
    write_config(made)
    wanted = settle(made, "127.0.0.1", 0, [])
    assert wanted.admins == (ADA,)
    admin = json.loads((made.kits / ADA / "startup/fed_admin.json").read_text())["admin"]
    assert (admin["host"], admin["port"], admin["username"]) == ("127.0.0.1", wanted.port, ADA)
    assert admin["connection_security"] == "mtls"
    assert "/tmp/nvflare" not in (made.server / "local/resources.json").read_text()


def test_the_port_and_the_people_are_remembered(made):
    first = settle(made, "127.0.0.1", 0, [])
    assert settle(made, "127.0.0.1", 0, [BOB]).port == first.port
    assert settle(made, "127.0.0.1", 0, [BOB, ADA]).admins == (ADA, BOB)
    assert settle(made, "127.0.0.1", 8002, []).port == 8002


def test_whoever_has_a_kit_keeps_it_when_somebody_else_gets_one(made, tmp_path):
    before, authority = certificate(made, ADA), root(made.server)
    (made.kits / ADA / "transfer").mkdir(exist_ok=True)
    with made.opened():
        wanted = settle(made, "127.0.0.1", 0, [BOB])
        provision(made, wanted)
        kits = hand_out(made, wanted, tmp_path / "kits")
    assert certificate(made, ADA) == before
    assert {root(kit) for kit in (made.server, *kits.values())} == {authority}
    assert (made.kits / ADA / "transfer").is_dir()
    key = kits[BOB] / "startup/client.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_certificates_that_expire_soon_are_made_again_by_the_same_authority(made, monkeypatch):
    before, authority = certificate(made, ADA), root(made.server)
    wanted = settle(made, "127.0.0.1", 0, [])
    provision(made, wanted)
    assert certificate(made, ADA) == before, "nothing to do"
    monkeypatch.setattr(provisioning, "_RENEW_BEFORE", timedelta(days=400))
    provision(made, wanted)
    assert certificate(made, ADA) != before
    assert root(made.server) == authority


@pytest.mark.parametrize(
    "admin", ["ada", "ada@x", "../../x@example.org", "a b@example.org", "@x.org"]
)
def test_names_that_flare_does_not_take_are_refused(made, admin):
    with pytest.raises(InvalidConfig, match="e-mail"):
        settle(made, "127.0.0.1", 0, [admin])


@pytest.mark.parametrize("host", ["::1", "", "a/b", "-x", "a..b", "x" * 64])
def test_hosts_that_flare_does_not_take_are_refused(made, host):
    with pytest.raises(InvalidConfig, match="no host"):
        settle(made, host, 0, [])
