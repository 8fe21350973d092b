"""The ``flwr`` command's own configuration: a connection, and the tokens that go with it.

``$FLWR_HOME/config.toml`` is documented by Flower; ``credentials.yaml`` beside it is where ``flwr
login`` of flwr 1.41 keeps its tokens (``flwr/supercore/credential_store``, ``flwr/cli/constant``).
Both are written without flwr, which may live in another environment; a test reads them with it.
"""

from __future__ import annotations

import base64
import os
import re
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from fedgate.errors import Conflict, InvalidConfig, PluginUnavailable
from fedgate.front_door import Connection
from fedgate_flower.control.runs import federation

CONFIG, CREDENTIALS = "config.toml", "credentials.yaml"
#: What flwr itself puts into a new file, so that `flwr run` without a connection still simulates.
_INITIAL = """\
[superlink]
default = "local"

[superlink.supergrid]
address = "api.flower.ai"

[superlink.local]
address = ":local:"
"""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_STORE = "flower.account-auth.{address}.{what}"


def flwr_home() -> Path:
    """``$FLWR_HOME``, or ``~/.flwr``."""
    named = os.environ.get("FLWR_HOME")
    return Path(named) if named else Path.home() / ".flwr"


def write_connection(connection: Connection) -> Sequence[Path]:
    """Add a connection and its tokens to what is there; returns the files that were written.

    Raises :class:`Conflict` when there is one of this name that says something else, unless it is
    to be replaced, and :class:`InvalidConfig` for files that cannot be read.
    """
    if not _NAME.fullmatch(connection.name) or connection.name == "default":
        raise InvalidConfig(
            f"{connection.name[:100]!r} cannot be a connection's name",
            remedy="use letters, digits, - and _",
        )
    home = flwr_home()
    home.mkdir(parents=True, exist_ok=True)
    config, credentials = home / CONFIG, home / CREDENTIALS
    text = _configured(config, connection)  # both are settled before either is written
    tokens = _credentials(credentials, connection)
    _replace(credentials, tokens)
    _replace(config, text)
    return [config, credentials]


def _configured(path: Path, connection: Connection) -> str:
    text = _read(path) or _INITIAL
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidConfig(f"{path} is not valid TOML", why=str(error)) from error
    ours: dict[str, Any] = {
        "address": connection.address,
        "root-certificates": str(connection.ca),
        "insecure": False,
    }
    if connection.project:
        ours["federation"] = federation(connection.project)
    superlinks = data.setdefault("superlink", {})
    if not isinstance(superlinks, dict):
        raise InvalidConfig(f"[superlink] in {path} is not a table")
    there = superlinks.get(connection.name)
    if there not in (None, ours) and not connection.replace:
        raise Conflict(
            f"{path} has a connection {connection.name!r} already",
            why=f"it leads to {there.get('address') if isinstance(there, dict) else there!r:.100}",
            remedy="choose another name, or replace it with --force",
        )
    superlinks[connection.name] = ours
    if connection.default:
        superlinks["default"] = connection.name
    return _keeping_comments(text, data, {"superlink": {connection.name: ours}})


def _keeping_comments(text: str, wanted: Mapping[str, Any], added: Mapping[str, Any]) -> str:
    """The file as it is, or with an addition at its end, if that says what is wanted."""
    for candidate in (text, f"{text.rstrip()}\n\n{tomli_w.dumps(added)}"):
        try:
            if tomllib.loads(candidate) == wanted:
                return candidate
        except tomllib.TOMLDecodeError:  # what is added is there already
            continue
    return tomli_w.dumps(wanted)


def _credentials(path: Path, connection: Connection) -> str:
    try:
        import yaml  # comes with flwr
    except ImportError as error:
        raise PluginUnavailable(
            "flwr's credentials cannot be written here",
            why="PyYAML, which flwr keeps them with, is not installed",
            remedy="pip install 'fedgate[flower]'",
        ) from error
    try:
        data: Any = yaml.safe_load(_read(path)) or {}
    except yaml.YAMLError as error:
        raise InvalidConfig(f"{path} is not valid YAML", remedy="move it away") from error
    if not isinstance(data, dict):
        raise InvalidConfig(f"{path} is not what flwr writes", remedy="move it away")
    for what, value in (
        ("authn-type", "oidc"),
        ("oidc-access-token", connection.tokens.access),
        ("oidc-refresh-token", connection.tokens.refresh),
    ):
        key = _STORE.format(address=connection.address, what=what)
        data[key] = base64.b64encode(value.encode()).decode()
    return str(yaml.safe_dump(data))


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"cannot read {path}", why=str(error)) from error


def _replace(path: Path, text: str) -> None:
    """Whole or not at all, and readable by its owner only."""
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
