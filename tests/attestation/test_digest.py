from __future__ import annotations

import pytest

from fedgate.errors import InvalidMessage
from fedgate_gateway.attestation import digest_bytes


def test_a_bundle_digest_is_read_strictly():
    assert digest_bytes("sha256:" + "ab" * 32) == b"\xab" * 32
    for text in (
        "",
        "ab" * 32,
        "sha512:" + "ab" * 32,
        "sha256:" + "AB" * 32,
        "sha256:" + "zz" * 32,
    ):
        with pytest.raises(InvalidMessage):
            digest_bytes(text)
    with pytest.raises(InvalidMessage):
        digest_bytes("sha256:" + "ab " * 21 + "a")
