"""Digests as people write them, and as bytes."""

from __future__ import annotations

from fedgate.errors import InvalidMessage


def digest_bytes(text: str) -> bytes:
    """``sha256:<hex>`` as 32 bytes; raises :class:`InvalidMessage`."""
    algorithm, _, encoded = text.partition(":")
    if algorithm != "sha256" or len(encoded) != 64 or encoded != encoded.lower():
        raise InvalidMessage(f"{text!r:.100} is not a SHA-256 digest")
    try:
        raw = bytes.fromhex(encoded)
    except ValueError as error:
        raise InvalidMessage(f"{text!r:.100} is not a SHA-256 digest", why=str(error)) from error
    if len(raw) != 32:  # fromhex skips blanks
        raise InvalidMessage(f"{text!r:.100} is not a SHA-256 digest")
    return raw
