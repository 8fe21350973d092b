"""A profile: which gateway, as whom, and which keys are believed."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fedgate.errors import InvalidConfig, NotFound
from fedgate_gateway.config.base import ConfigPath, Section, load_config
from fedgate_gateway.config.proxy import Proxy

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from fedgate_gateway.sealed.keys import RecipientKey

PROFILE_FILE = "profile.toml"


class Profile(Section):
    """``profile.toml``. Everything that a gateway could lie about is pinned here."""

    #: The gateway's API, ``https://host:port``.
    api: str
    #: The only CA that is trusted, as a PEM file: the gateway's own, or that of whoever ends TLS in
    #: front of its API.
    ca: ConfigPath
    #: HTTP proxy on the way to the gateway, http://[user:password@]host:port; empty: none, whatever
    #: the environment says.
    proxy: Proxy = ""
    #: A file of mode 0600 that holds the access token.
    token: ConfigPath
    #: The key that released outputs are sealed to; a file of mode 0600.
    recipient: ConfigPath | None = None
    #: Who signs requests: the name of the token, as the project's file lists it under [submitters].
    submitter: str = ""
    #: The Ed25519 key that signs them (PKCS#8, PEM); a file of mode 0600.
    signer: ConfigPath | None = None
    #: Enclave -> its Ed25519 identity key, base64; outputs must be signed by it.
    enclaves: Mapping[str, str] = {}
    #: The audit log's verifier key, ``name+id+key``.
    audit_key: str = ""
    #: The project of jobs that name none.
    project: str = ""
    #: The enclave of jobs that name none; needed where a project has several.
    enclave: str = ""
    #: Kinds of outputs ("model", "artifacts", "metrics", "log") that are accepted although nobody
    #: signed them, because the project releases them in clear. Whoever runs the gateway can
    #: change those.
    clear: tuple[str, ...] = ()
    #: Adapters that may look at a directory before it is submitted; loading one runs its code.
    adapters: tuple[str, ...] = ("flower", "flare")

    def read_token(self) -> str:
        """Raises :class:`InvalidConfig` where others could read it too."""
        try:
            if self.token.stat().st_mode & 0o077:
                raise InvalidConfig(
                    f"the token file {self.token} is open to others",
                    why="whoever reads it can act in your name",
                    remedy=f"chmod 600 {self.token}",
                )
            return self.token.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidConfig(
                f"cannot read the token file {self.token}",
                why=str(error),
                remedy="put the token of the gateway's administrator there, with mode 0600",
            ) from error

    def recipient_key(self) -> RecipientKey:
        """Raises :class:`InvalidConfig` when there is none."""
        from fedgate_gateway.sealed.keys import RecipientKey

        if self.recipient is None:
            raise InvalidConfig(
                "the profile names no recipient key",
                why="sealed outputs open with that key only",
                remedy="set `recipient` in the profile",
            )
        return RecipientKey.load(self.recipient)

    def signing_key(self) -> Ed25519PrivateKey:
        """Raises :class:`InvalidConfig` when there is none."""
        from fedgate_gateway.pki.signing_keys import load_signing_key

        if self.signer is None:
            raise InvalidConfig(
                "the profile names no signing key",
                why="sites run only what its submitter signed",
                remedy="make one with `fedgate profile signer`, and have the project list it",
            )
        return load_signing_key(self.signer)

    def enclave_identity(self, name: str) -> bytes:
        """The pinned key of an enclave; raises :class:`NotFound` rather than believe anybody."""
        text = self.enclaves.get(name)
        if text is None:
            raise NotFound(
                f"the profile does not know the enclave {name!r}",
                why="without its identity key nobody can tell who sealed an output; "
                f"known are: {', '.join(sorted(self.enclaves)) or 'none'}",
                remedy="add its key, as the project file names it, to [enclaves] in the profile",
            )
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidConfig(
                f"the key of enclave {name!r} in the profile is not base64", why=str(error)
            ) from error


def home() -> Path:
    """``$FEDGATE_HOME``, or ``fedgate`` in the user's folder for configuration."""
    named = os.environ.get("FEDGATE_HOME")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "fedgate"


def profile_path(given: Path | None) -> Path:
    return given if given is not None else home() / PROFILE_FILE


def load_profile(given: Path | None) -> Profile:
    """Raises :class:`InvalidConfig` when there is none, or when it is wrong."""
    path = profile_path(given)
    if not path.exists():
        raise InvalidConfig(
            f"there is no profile {path}",
            why="it says how to reach the gateway, and as whom",
            remedy="`fedgate dev` writes one: set FEDGATE_PROFILE to its profile.toml; "
            "or make one with `fedgate profile init`",
        )
    return load_config(Profile, path)
