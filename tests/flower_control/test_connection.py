"""`fedgate flower connect`: what it writes is what the installed flwr reads."""

from __future__ import annotations

import stat
import tomllib
from dataclasses import replace

import pytest

from fedgate.errors import Conflict, InvalidConfig
from fedgate.front_door import Connection, Tokens
from fedgate_flower.control.connection import write_connection

ADDRESS = "gateway.example:8443"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FLWR_HOME", str(tmp_path / "flwr"))
    return tmp_path / "flwr"


@pytest.fixture
def connection(tmp_path) -> Connection:
    return Connection(
        "hospital", ADDRESS, tmp_path / "ca.pem", "health", Tokens("fga_one", "fgr_two")
    )


def configured(home) -> dict:
    return tomllib.loads((home / "config.toml").read_text())["superlink"]


def test_flwr_reads_the_connection(home, connection):
    from flwr.cli.flower_config import read_superlink_connection

    write_connection(connection)
    read = read_superlink_connection("hospital")
    assert (read.address, read.insecure, read.federation) == (ADDRESS, False, "@fedgate/health")
    assert read.root_certificates == str(connection.ca)


def test_flwr_reads_the_tokens(home, connection):
    from flwr.cli.auth_plugin import OidcCliPlugin
    from flwr.cli.constant import AUTHN_TYPE_STORE_KEY
    from flwr.supercore.credential_store.file_credential_store import FileCredentialStore

    write_connection(connection)
    store = FileCredentialStore(home / "credentials.yaml")
    assert store.get(AUTHN_TYPE_STORE_KEY % ADDRESS) == b"oidc"
    plugin = OidcCliPlugin(ADDRESS)
    plugin.store = store
    plugin.load_tokens()
    assert (plugin.access_token, plugin.refresh_token) == ("fga_one", "fgr_two")


def test_a_new_file_has_what_flwr_would_put_into_it(home, connection):
    from flwr.cli.constant import DEFAULT_FLOWER_CONFIG_TOML

    write_connection(connection)
    ours = configured(home)
    ours.pop("hospital")
    assert ours == tomllib.loads(DEFAULT_FLOWER_CONFIG_TOML)["superlink"]


def test_what_was_there_stays_comments_and_all(home, connection):
    home.mkdir()
    text = '# mine\n[superlink]\ndefault = "lab" # keep\n[superlink.lab]\naddress = "lab:1"\n'
    (home / "config.toml").write_text(text)
    write_connection(connection)
    assert (home / "config.toml").read_text().startswith(text.rstrip())
    assert configured(home)["lab"] == {"address": "lab:1"}
    assert configured(home)["default"] == "lab"


@pytest.mark.parametrize(
    "text",
    [
        'superlink.lab.address = "lab:1"\n',
        'superlink = {default = "lab", lab = {address = "lab:1"}}\n',
        '[superlink.lab]\naddress = "lab:1"\n[superlink.lab.options]\nnum-supernodes = 2\n',
        "",
        "# nothing\n",
    ],
)
def test_however_a_file_is_written_nothing_of_it_is_lost(home, connection, text):
    home.mkdir()
    (home / "config.toml").write_text(text)
    before = tomllib.loads(text).get("superlink", {})
    write_connection(connection)
    after = configured(home)
    assert after.pop("hospital")["address"] == ADDRESS
    assert before.items() <= after.items()


def test_tokens_of_other_gateways_stay(home, connection):
    from flwr.supercore.credential_store.file_credential_store import FileCredentialStore

    store = FileCredentialStore(home / "credentials.yaml")
    store.set("flower.account-auth.lab:1.oidc-access-token", b"theirs")
    write_connection(connection)
    assert store.get("flower.account-auth.lab:1.oidc-access-token") == b"theirs"


def test_tokens_are_for_their_owner_only(home, connection):
    home.mkdir()
    (home / "credentials.yaml").write_text("{}")
    (home / "credentials.yaml").chmod(0o644)
    write_connection(connection)
    for name in ("credentials.yaml", "config.toml"):
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600
    assert sorted(path.name for path in home.iterdir()) == ["config.toml", "credentials.yaml"]


def test_connecting_again_renews_the_tokens(home, connection):
    write_connection(connection)
    config = (home / "config.toml").read_text()
    write_connection(replace(connection, tokens=Tokens("fga_three", "fgr_four")))
    assert (home / "config.toml").read_text() == config
    assert "fga_one" not in (home / "credentials.yaml").read_text()


def test_another_connection_of_the_name_is_replaced_only_when_asked(home, connection):
    write_connection(connection)
    tokens = (home / "credentials.yaml").read_text()
    moved = replace(connection, address="elsewhere:1")
    with pytest.raises(Conflict, match="has a connection 'hospital' already"):
        write_connection(moved)
    assert (home / "credentials.yaml").read_text() == tokens
    assert configured(home)["hospital"]["address"] == ADDRESS
    write_connection(replace(moved, replace=True))
    assert configured(home)["hospital"]["address"] == "elsewhere:1"


def test_a_connection_becomes_the_default_when_asked(home, connection):
    write_connection(connection)
    assert configured(home)["default"] == "local"
    write_connection(replace(connection, default=True))
    assert configured(home)["default"] == "hospital"


def test_without_a_project_the_gateway_chooses(home, connection):
    write_connection(replace(connection, project=""))
    assert "federation" not in configured(home)["hospital"]


@pytest.mark.parametrize(
    "name", ["", "default", "a b", "../x", "a.b", 'x"]\n[superlink.y', "x" * 64]
)
def test_a_name_that_cannot_be_is_refused(home, connection, name):
    with pytest.raises(InvalidConfig, match="cannot be a connection's name"):
        write_connection(replace(connection, name=name))
    assert not home.exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.toml", "not toml ["), ("config.toml", "superlink = 1\n"),
        ("credentials.yaml", "[1, 2]"), ("credentials.yaml", "a: [b"),
        ("credentials.yaml", "!!python/object/apply:os.system ['false']"),
    ],
)  # fmt: skip
def test_a_file_that_is_damaged_is_left_alone(home, connection, name, text):
    home.mkdir()
    (home / name).write_text(text)
    with pytest.raises(InvalidConfig):
        write_connection(connection)
    assert (home / name).read_text() == text
    assert [path.name for path in home.iterdir()] == [name]
