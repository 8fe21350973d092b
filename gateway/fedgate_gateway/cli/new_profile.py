"""Writing a new profile: CA pinned by fingerprint, a copied token, and a fresh recipient key."""

from __future__ import annotations

import re
from pathlib import Path

import tomli_w

from fedgate.errors import Conflict, InvalidConfig, NotFound
from fedgate_gateway.link.terms import fingerprint
from fedgate_gateway.pki.enrol import api_base, fetch_ca
from fedgate_gateway.pki.private_files import private_folder, write_private
from fedgate_gateway.sealed.keys import RecipientKey

_SHA256 = re.compile(r"[0-9a-f]{64}")


def create_profile(
    path: Path, *, api: str, ca_fingerprint: str, token_file: Path, project: str, audit_key: str
) -> str:
    """Returns the fingerprint of the recipient key, ``sha256:<hex>``.

    Raises :class:`Conflict` rather than replace a profile, and :class:`Unauthenticated` when the
    gateway shows another CA.
    """
    if path.exists():
        raise Conflict(f"there is a profile {path} already", remedy="move it away first")
    pin = ca_fingerprint.lower().replace(":", "").removeprefix("sha256")
    if not _SHA256.fullmatch(pin):
        raise InvalidConfig("the fingerprint is not a SHA-256 in hex", why=ca_fingerprint[:100])
    try:
        token = token_file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise NotFound(f"cannot read the token file {token_file}", why=str(error)) from error
    base = api_base(api)
    ca = fetch_ca(base, pin)
    folder = private_folder(path.parent)
    key_file = folder / "recipient.key"
    key = RecipientKey.load(key_file) if key_file.exists() else RecipientKey.generate()
    if not key_file.exists():
        key.save(key_file)
    write_private(folder / "ca.pem", ca)
    write_private(folder / "token", token.encode() + b"\n")
    write_profile(
        path,
        api=base.removesuffix("/api/v1"),
        project=project,
        audit_key=audit_key,
        enclaves={},
    )
    return fingerprint(key.public_raw)


def write_profile(
    path: Path,
    *,
    api: str,
    project: str,
    audit_key: str,
    enclaves: dict[str, str],
    token: str = "token",  # noqa: S107 - a file's name
    ca: str = "ca.pem",
    recipient: str = "recipient.key",
    adapters: tuple[str, ...] = ("flower", "flare"),
) -> None:
    """A profile beside its files; see :class:`fedgate_gateway.cli.profile.Profile`."""
    text = "# How the command `fedgate` reaches a gateway, as whom, and which keys it believes.\n"
    fields = {
        "api": api,
        "ca": ca,
        "token": token,
        "recipient": recipient,
        "project": project,
        "audit_key": audit_key,
        "adapters": list(adapters),
        "enclaves": enclaves,
    }
    write_private(path, (text + tomli_w.dumps(fields)).encode())
