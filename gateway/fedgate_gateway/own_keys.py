"""The public parts of a gateway's keys, read from its data folder."""

from __future__ import annotations

import base64
from pathlib import Path

from fedgate.errors import NotFound
from fedgate_gateway.audit.signer import LogSigner
from fedgate_gateway.pki.names import fingerprint, load_certificate
from fedgate_gateway.pki.signing_keys import load_signing_key

REQUEST_KEY = "request.key"
_AUDIT_KEY, _CA = "audit.key", "pki/ca.pem"


def public_keys(data: Path) -> dict[str, str]:
    """What others pin; raises :class:`NotFound` before the gateway's first start."""
    if missing := [name for name in (REQUEST_KEY, _AUDIT_KEY, _CA) if not (data / name).exists()]:
        raise NotFound(
            f"there is no {missing[0]} in {data}",
            why="a gateway makes its keys when it starts for the first time",
            remedy="start it once, as the user that runs it",
        )
    request = load_signing_key(data / REQUEST_KEY).public_key().public_bytes_raw()
    return {
        "ca_fingerprint": fingerprint(load_certificate((data / _CA).read_bytes())),
        "audit_key": str(LogSigner.open(data / _AUDIT_KEY).verifier),
        "request_key": base64.b64encode(request).decode(),
    }
