"""Writing a new profile: CA pinned by fingerprint, a copied token, and fresh keys of its own."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import tomli_w

from fedgate.errors import Conflict, InvalidConfig, NotFound
from fedgate_gateway.cli.client import Client
from fedgate_gateway.cli.profile import Profile, load_profile
from fedgate_gateway.config.proxy import check_proxy
from fedgate_gateway.link.terms import fingerprint
from fedgate_gateway.pki.enrol import api_base, fetch_ca, read_ca
from fedgate_gateway.pki.private_files import private_folder, write_private
from fedgate_gateway.pki.signing_keys import load_or_create_signing_key
from fedgate_gateway.sealed.keys import RecipientKey

_SHA256 = re.compile(r"[0-9a-f]{64}")


def create_profile(
    path: Path,
    *,
    api: str,
    ca_fingerprint: str,
    ca_file: Path | None,
    token_file: Path,
    project: str,
    audit_key: str,
    proxy: str,
) -> Profile:
    """The profile that was written; its submitter is the token's name, as the gateway knows it.

    Raises :class:`Conflict` rather than replace a profile, and :class:`Unauthenticated` when the
    gateway shows another CA.
    """
    if path.exists():
        raise Conflict(f"there is a profile {path} already", remedy="move it away first")
    try:
        proxy = check_proxy(proxy)
    except ValueError as error:
        raise InvalidConfig(
            "that is no proxy for the way to the gateway", why=str(error)
        ) from error
    pin = "" if ca_file else _pin(ca_fingerprint)
    try:
        token = token_file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise NotFound(f"cannot read the token file {token_file}", why=str(error)) from error
    base = api_base(api)
    ca = read_ca(ca_file) if ca_file else fetch_ca(base, pin, proxy=proxy)
    folder = private_folder(path.parent)
    key_file = folder / "recipient.key"
    key = RecipientKey.load(key_file) if key_file.exists() else RecipientKey.generate()
    if not key_file.exists():
        key.save(key_file)
    load_or_create_signing_key(folder / "signer.key")
    write_private(folder / "ca.pem", ca)
    write_private(folder / "token", token.encode() + b"\n")
    fields: dict[str, Any] = {
        "api": base.removesuffix("/api/v1"),
        "project": project,
        "audit_key": audit_key,
        "proxy": proxy,
        "enclaves": {},
    }
    draft = Profile(api=fields["api"], ca=folder / "ca.pem", token=folder / "token", proxy=proxy)
    with Client(draft) as client:
        name = str(client.whoami()["name"])
    write_profile(path, submitter=name, **fields)
    return load_profile(path)


def _pin(ca_fingerprint: str) -> str:
    pin = ca_fingerprint.lower().replace(":", "").removeprefix("sha256")
    if not _SHA256.fullmatch(pin):
        raise InvalidConfig(
            "the CA's fingerprint is not a SHA-256 in hex",
            why=ca_fingerprint[:100] or "none was given",
            remedy="ask whoever runs the gateway: `fedgate gateway keys` prints it",
        )
    return pin


def complete_profile(path: Path) -> Profile:
    """Give a profile that has no signing key or submitter both; what it has, it keeps.

    Raises :class:`InvalidConfig` for a profile that cannot be read.
    """
    profile = load_profile(path)
    said: dict[str, Any] = {}
    if not profile.submitter:
        with Client(profile) as client:
            said["submitter"] = str(client.whoami()["name"])
    if profile.signer is None:
        load_or_create_signing_key(path.parent / "signer.key")
        said["signer"] = "signer.key"
    if said:  # before the first table, so that it belongs to none
        write_private(path, tomli_w.dumps(said).encode() + path.read_bytes())
    profile = load_profile(path)
    profile.signing_key()
    return profile


def project_lines(profile: Profile) -> str:
    """What a project's file must say of this profile: its signer, and its recipient."""
    signer = profile.signing_key().public_key().public_bytes_raw()
    told: dict[str, Any] = {
        "submitters": {profile.submitter: {"identity": base64.b64encode(signer).decode()}}
    }
    if profile.recipient is not None:
        told = {"recipients": [fingerprint(profile.recipient_key().public_raw)], **told}
    return tomli_w.dumps(told)


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
    submitter: str = "",
    signer: str = "signer.key",
    proxy: str = "",
    adapters: tuple[str, ...] = ("flower", "flare"),
) -> None:
    """A profile beside its files; see :class:`fedgate_gateway.cli.profile.Profile`."""
    text = "# How the command `fedgate` reaches a gateway, as whom, and which keys it believes.\n"
    fields = {
        "api": api,
        "ca": ca,
        "token": token,
        "recipient": recipient,
        "submitter": submitter,
        "signer": signer,
        "project": project,
        "audit_key": audit_key,
        "adapters": list(adapters),
        **({"proxy": proxy} if proxy else {}),
        "enclaves": enclaves,
    }
    write_private(path, (text + tomli_w.dumps(fields)).encode())
