"""in-toto statements in DSSE envelopes: one signer, one encoding, strict.

* Statement: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
* Envelope: https://github.com/secure-systems-lab/dsse/blob/master/envelope.md; what is
  signed is the pre-authentication encoding of its ``protocol.md``
* Canonical JSON: RFC 8785. Payload and envelope have one encoding each, so nothing can be smuggled
  in blanks or double keys, and a digest names one statement.

Signatures are Ed25519. A key's id is "sha256:<hex>" of its raw 32 bytes; the specification calls it
a hint, and it is no more than that here: the signature is verified under the key that the verifier
knows by that id.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedgate.errors import InvalidMessage
from fedgate_gateway.sealed.keys import verify_signature

#: The largest envelope that is read.
ENVELOPE_BYTES: Final = 256 * 1024
_PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
_STATEMENT: Final = "https://in-toto.io/Statement/v1"
_KEY_BYTES: Final = 32


@dataclass(frozen=True)
class Statement:
    """``predicate`` says something of type ``kind`` about ``subject``, "sha256:<hex>"."""

    kind: str
    subject: str
    predicate: Mapping[str, Any]


@dataclass(frozen=True)
class Envelope:
    """A statement with its signature, which nobody has verified yet."""

    statement: Statement
    payload: bytes
    signature: bytes
    #: Which key claims to have made it.
    key_id: str

    @property
    def digest(self) -> str:
        """Of the payload, "sha256:<hex>": the same whoever signed it."""
        return "sha256:" + hashlib.sha256(self.payload).hexdigest()

    def verify(self, public_raw: bytes) -> None:
        """Raises :class:`SealBroken` unless the signature is that key's."""
        verify_signature(public_raw, self.signature, _pre_authentication(self.payload))


def key_id(public_raw: bytes) -> str:
    """Raises :class:`InvalidMessage` for what is no raw Ed25519 key."""
    if len(public_raw) != _KEY_BYTES:
        raise InvalidMessage("not an Ed25519 public key", why=f"{len(public_raw)} bytes, not 32")
    return "sha256:" + hashlib.sha256(public_raw).hexdigest()


def sign_statement(statement: Statement, key: Ed25519PrivateKey) -> bytes:
    """The envelope; raises :class:`InvalidMessage` for what JSON cannot hold, or is too large."""
    subject = statement.subject.removeprefix("sha256:")
    payload = _canonical(
        {
            "_type": _STATEMENT,
            "subject": [{"digest": {"sha256": subject}}],
            "predicateType": statement.kind,
            "predicate": dict(statement.predicate),
        }
    )
    signature = key.sign(_pre_authentication(payload))
    signer = key_id(key.public_key().public_bytes_raw())
    envelope = _canonical(
        {
            "payloadType": _PAYLOAD_TYPE,
            "payload": base64.b64encode(payload).decode(),
            "signatures": [{"keyid": signer, "sig": base64.b64encode(signature).decode()}],
        }
    )
    if len(envelope) > ENVELOPE_BYTES:
        raise InvalidMessage(
            "the statement is too large", why=f"{len(envelope)} bytes, at most {ENVELOPE_BYTES}"
        )
    return envelope


def read_envelope(data: bytes) -> Envelope:
    """Raises :class:`InvalidMessage` for anything that :func:`sign_statement` does not write."""
    if len(data) > ENVELOPE_BYTES:
        raise InvalidMessage(
            "the signed statement is too large", why=f"{len(data)} bytes, at most {ENVELOPE_BYTES}"
        )
    try:
        outer = _fields(_read(data), {"payloadType", "payload", "signatures"}, "envelope")
        _equal(outer["payloadType"], _PAYLOAD_TYPE, "payloadType")
        (signature,) = outer["signatures"]
        signature = _fields(signature, {"keyid", "sig"}, "signature")
        if not isinstance(signature["keyid"], str):
            raise TypeError("the key's id is no text")
        payload = _decoded(outer["payload"])
        inner = _fields(
            _read(payload), {"_type", "subject", "predicateType", "predicate"}, "statement"
        )
        _equal(inner["_type"], _STATEMENT, "_type")
        (subject,) = inner["subject"]
        digest = _fields(_fields(subject, {"digest"}, "subject")["digest"], {"sha256"}, "digest")
        if not isinstance(inner["predicateType"], str) or not isinstance(digest["sha256"], str):
            raise TypeError("the predicate's type or the digest is no text")
        if not isinstance(inner["predicate"], dict):
            raise TypeError("the predicate is no object")
        return Envelope(
            Statement(inner["predicateType"], "sha256:" + digest["sha256"], inner["predicate"]),
            payload,
            _decoded(signature["sig"]),
            signature["keyid"],
        )
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidMessage("not a signed statement", why=str(error)[:200]) from error


def _pre_authentication(payload: bytes) -> bytes:
    kind = _PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _canonical(value: Any) -> bytes:
    try:
        return rfc8785.dumps(value)
    except (ValueError, RecursionError) as error:
        raise InvalidMessage("that cannot be signed", why=str(error)[:200]) from error


def _read(data: bytes) -> Any:
    value = json.loads(data)
    if rfc8785.dumps(value) != data:
        raise ValueError("its JSON is not canonical (RFC 8785)")
    return value


def _fields(value: Any, names: set[str], what: str) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != names:
        raise ValueError(f"the {what} must have exactly {', '.join(sorted(names))}")
    return value


def _equal(value: Any, expected: str, what: str) -> None:
    if value != expected:
        raise ValueError(f"{what} is not {expected}")


def _decoded(text: Any) -> bytes:
    if not isinstance(text, str):
        raise TypeError("base64 is text")
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from error
    if base64.b64encode(raw).decode() != text:
        raise ValueError("base64 with stray bits")
    return raw
