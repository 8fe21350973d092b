"""Any of the programs with encryption switched off: what is "sealed" stays as it is.

So that a search that finds nothing in sealed traffic is known to be able to find something.
"""

from __future__ import annotations

import hashlib
import runpy
import sys
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag

from fedgate_gateway.cli.main import main
from fedgate_gateway.sealed import cargo, letter


class NoCipher:
    """The interface of AESGCM: a checksum of key, nonce and everything in place of its tag."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def _tag(self, nonce: bytes, data: Any, bound: Any) -> bytes:
        parts = (self._key, nonce, bytes(data), bytes(bound or b""))
        return hashlib.sha256(b"".join(parts)).digest()[:16]

    def encrypt(self, nonce: bytes, data: Any, bound: Any) -> bytes:
        return bytes(data) + self._tag(nonce, data, bound)

    def decrypt(self, nonce: bytes, data: Any, bound: Any) -> bytes:
        plain = bytes(data)[:-16]
        if self._tag(nonce, plain, bound) != bytes(data)[-16:]:
            raise InvalidTag
        return plain

    def encrypt_into(self, nonce: bytes, data: Any, bound: Any, out: Any) -> int:
        sealed = self.encrypt(nonce, data, bound)
        out[: len(sealed)] = sealed
        return len(sealed)

    def decrypt_into(self, nonce: bytes, data: Any, bound: Any, out: Any) -> int:
        plain = self.decrypt(nonce, data, bound)
        out[: len(plain)] = plain
        return len(plain)


letter.AESGCM = cargo.AESGCM = NoCipher  # type: ignore[misc,assignment]

if __name__ == "__main__":
    if sys.argv[1] == "gateway":
        runpy.run_path(str(Path(__file__).with_name("hostile_gateway.py")), run_name="__main__")
    else:
        main()
