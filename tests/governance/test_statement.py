"""A signed statement has one encoding, one signer, and a size."""

import base64
import json

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from fedgate.errors import InvalidMessage, SealBroken
from fedgate_gateway.governance.statement import (
    ENVELOPE_BYTES,
    Statement,
    key_id,
    read_envelope,
    sign_statement,
)

KEY = Ed25519PrivateKey.generate()
PUBLIC = KEY.public_key().public_bytes_raw()
SUBJECT = "sha256:" + "ab" * 32
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


def envelope(**predicate: object) -> bytes:
    return sign_statement(Statement("urn:test", SUBJECT, predicate), KEY)


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=5))
def test_what_was_signed_comes_back_and_verifies(predicate: dict[str, object]) -> None:
    try:
        data = sign_statement(Statement("urn:test", SUBJECT, predicate), KEY)
    except InvalidMessage:  # text that is no Unicode
        return
    read = read_envelope(data)
    assert read.statement == Statement("urn:test", SUBJECT, predicate)
    assert read.key_id == key_id(PUBLIC)
    read.verify(PUBLIC)
    with pytest.raises(SealBroken):
        read.verify(Ed25519PrivateKey.generate().public_key().public_bytes_raw())


def test_the_signature_is_dsses_and_the_payload_is_in_totos() -> None:
    """Other tools can check it: the bytes below are the specifications'."""
    outer = json.loads(envelope(a=1))
    payload = base64.b64decode(outer["payload"])
    kind = b"application/vnd.in-toto+json"
    KEY.public_key().verify(
        base64.b64decode(outer["signatures"][0]["sig"]),
        b"DSSEv1 28 " + kind + b" " + str(len(payload)).encode() + b" " + payload,
    )
    assert json.loads(payload) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": "ab" * 32}}],
        "predicateType": "urn:test",
        "predicate": {"a": 1},
    }


@given(st.data())
def test_no_bit_can_change(data: st.DataObject) -> None:
    whole = bytearray(envelope(note="text", number=7))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        read = read_envelope(bytes(whole))
        read.verify(PUBLIC)
    except (InvalidMessage, SealBroken):
        return
    assert read.key_id != key_id(PUBLIC), "only the hint may change, and then it names nobody"


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode) | JSON.map(json.dumps))
def test_anything_else_is_refused(data: bytes | str) -> None:
    with pytest.raises(InvalidMessage):
        read_envelope(data.encode() if isinstance(data, str) else data)


def altered(change: dict[str, object], inner: dict[str, object] | None = None) -> bytes:
    """An envelope over a payload with other fields, signed properly."""
    outer = json.loads(envelope(a=1))
    payload = json.loads(base64.b64decode(outer["payload"])) | (inner or {})
    outer["payload"] = base64.b64encode(rfc8785.dumps(payload)).decode()
    return rfc8785.dumps(outer | change)


@pytest.mark.parametrize(
    ("change", "inner"),
    [
        ({"more": 1}, {}),
        ({"payloadType": "text/plain"}, {}),
        ({"signatures": []}, {}),
        ({"signatures": [{"keyid": "a", "sig": ""}] * 2}, {}),
        ({"signatures": [{"sig": ""}]}, {}),
        ({"signatures": {"keyid": "a"}}, {}),
        ({"payload": "!"}, {}),
        ({"payload": 7}, {}),
        ({}, {"more": 1}),
        ({}, {"_type": "https://in-toto.io/Statement/v0.1"}),
        ({}, {"subject": []}),
        ({}, {"subject": [{"digest": {"sha256": "a", "sha512": "b"}}]}),
        ({}, {"subject": [{"digest": {"sha256": 1}}]}),
        ({}, {"predicate": []}),
        ({}, {"predicateType": None}),
    ],
    ids=str,
)
def test_a_field_more_or_less_or_of_another_kind_is_refused(
    change: dict[str, object], inner: dict[str, object]
) -> None:
    with pytest.raises(InvalidMessage):
        read_envelope(altered(change, inner))


def test_there_is_one_encoding() -> None:
    """Blanks, an order, a double key or stray bits of base64 would carry what nobody signed."""
    data = envelope(a=1)
    outer = json.loads(data)
    loose = base64.b64encode(b" " + base64.b64decode(outer["payload"])).decode()
    for other in (
        data + b"\n",
        json.dumps(outer).encode(),
        data.replace(b'{"payload"', b'{"payload":"","payload"'),
        rfc8785.dumps(outer | {"payload": loose}),
        json.dumps(outer, separators=(",", ":")).encode("utf-16"),
    ):
        with pytest.raises(InvalidMessage):
            read_envelope(other)


@pytest.mark.parametrize("data", [b"[" * 100_000, b"9" * 100_000, b" " * (ENVELOPE_BYTES + 1)])
def test_deep_long_and_large_ones_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidMessage):
        read_envelope(data)


def test_what_cannot_be_read_is_not_signed() -> None:
    for predicate in ({"a": float("nan")}, {"a": 2**60}, {"a": "x" * ENVELOPE_BYTES}, {"a": {1}}):
        with pytest.raises(InvalidMessage):
            envelope(**predicate)


def test_a_key_under_which_anything_verifies_is_refused() -> None:
    read = read_envelope(envelope(a=1))
    with pytest.raises(SealBroken):
        read.verify(bytes(32))
