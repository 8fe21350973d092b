"""One-time tokens: ``fge_<secret>_<start of the CA certificate's SHA-256>``.

The second half lets the new peer pin the gateway's CA: it needs to trust no network and no other
authority for its first connection. 128 bits of a hash suffice against a second preimage.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass

from fedgate.errors import InvalidMessage

_SECRET_BYTES = 32
_PIN_DIGITS = 32
_FORM = re.compile(r"fge_[a-z2-7]{52}_([0-9a-f]{32})")


@dataclass(frozen=True)
class EnrolmentToken:
    text: str
    #: The first 32 hex digits of the CA certificate's SHA-256.
    pin: str

    @classmethod
    def new(cls, ca_fingerprint: str) -> EnrolmentToken:
        secret = base64.b32encode(secrets.token_bytes(_SECRET_BYTES)).decode().lower().rstrip("=")
        pin = ca_fingerprint[:_PIN_DIGITS]
        return cls(f"fge_{secret}_{pin}", pin)

    @classmethod
    def parse(cls, text: str) -> EnrolmentToken:
        """Raises :class:`InvalidMessage`."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise InvalidMessage(
                "that is not an enrolment token",
                why="it begins with fge_ and was cut or altered, or is another kind of token",
                remedy="copy the whole token that `fedgate site enroll` or the administrator gave",
            )
        return cls(text, match[1])

    @property
    def hash(self) -> bytes:
        """What the gateway stores instead of the token."""
        return hashlib.sha256(self.text.encode()).digest()
