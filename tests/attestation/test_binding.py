from __future__ import annotations

from dataclasses import fields, replace

import pytest

from fedgate.errors import InvalidMessage
from fedgate_gateway.attestation import Binding, digest_bytes, report_data

BINDING = Binding(
    nonce=bytes(range(32)),
    public_key=b"k" * 1216,
    job="job-1",
    project="demo",
    bundle_digest=b"b" * 32,
    policy_digest=b"p" * 32,
    roster_digest=b"r" * 32,
)


def test_the_report_data_are_64_bytes_and_the_same_everywhere():
    bound = BINDING.report_data()
    assert len(bound) == 64
    assert bound == report_data(**vars(BINDING))
    # Changing this means that old and new programs do not understand each other: raise the domain.
    assert bound.hex().startswith("19be0761bc6532660dd3cbde0cd29aef")


@pytest.mark.parametrize("name", [field.name for field in fields(Binding)])
def test_every_field_is_bound(name: str):
    value = getattr(BINDING, name)
    other = value + "x" if isinstance(value, str) else bytes([value[0] ^ 1]) + value[1:]
    assert replace(BINDING, **{name: other}).report_data() != BINDING.report_data()


def test_no_byte_can_move_from_one_field_to_the_next():
    left = replace(BINDING, job="job-1d", project="emo")
    right = replace(BINDING, job="job-1", project="demo")
    assert left.report_data() != right.report_data()
    swapped = replace(BINDING, bundle_digest=b"p" * 32, policy_digest=b"b" * 32)
    assert swapped.report_data() != BINDING.report_data()


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": b""},
        {"nonce": bytes(31)},
        {"bundle_digest": b""},
        {"policy_digest": bytes(64)},
        {"roster_digest": bytes(31)},
        {"public_key": b""},
        {"public_key": bytes(10_000)},
        {"job": "\ud800"},
    ],
)
def test_a_missing_or_misshapen_field_is_refused(change: dict):
    with pytest.raises(InvalidMessage):
        replace(BINDING, **change).report_data()


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
