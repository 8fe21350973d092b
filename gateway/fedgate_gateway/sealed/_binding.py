"""Hashes that bind several values unambiguously: a domain first, then each value with its length.

Without the lengths ``("ab", "c")`` and ``("a", "bc")`` would hash alike; without the domain a hash
made for one purpose could stand in for another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator


def bind256(domain: bytes, *values: bytes) -> bytes:
    """SHA-256 over ``domain`` and ``values``, each with a u64 big-endian length in front; 32 B."""
    return hashlib.sha256(b"".join(_framed(domain, values))).digest()


def bind512(domain: bytes, *values: bytes) -> bytes:
    """SHA-512 over the same; 64 B, which is the size of a TEE's report data."""
    return hashlib.sha512(b"".join(_framed(domain, values))).digest()


def _framed(domain: bytes, values: tuple[bytes, ...]) -> Iterator[bytes]:
    for value in (domain, *values):
        yield len(value).to_bytes(8, "big")
        yield value
