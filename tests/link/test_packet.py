"""Bodies of letters: strict, and never about other cargo than their header names."""

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedgate.errors import SealBroken
from fedgate_gateway.link.packet import Packet
from fedgate_gateway.sealed import CargoKey

KEY = CargoKey.generate(10_000_000)
OTHER = CargoKey.generate(10_000_000)


@pytest.mark.parametrize(
    "packet",
    [
        Packet(b"note"),
        Packet(b"", b""),
        Packet(b"note", b"model"),
        Packet(b"note", KEY, shared=True),
        Packet(KEY),
        Packet(KEY, OTHER),
        Packet(b"note", task="t17"),
    ],
    ids=lambda p: f"{len(p.cargo)}-{type(p.model).__name__}{p.task}",
)
def test_a_packet_comes_back_as_it_was(packet: Packet) -> None:
    assert Packet.read(packet.to_bytes(), packet.cargo) == packet


@pytest.mark.parametrize(
    ("packet", "cargo"),
    [
        (Packet(b"note", KEY), ()),
        (Packet(b"note", KEY), (OTHER.ref,)),
        (Packet(KEY, OTHER), (OTHER.ref, KEY.ref)),
        (Packet(b"note"), (KEY.ref,)),
    ],
)
def test_a_header_that_names_other_cargo_is_refused(packet: Packet, cargo: Any) -> None:
    with pytest.raises(SealBroken, match="other cargo"):
        Packet.read(packet.to_bytes(), cargo)


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        7,
        [None, None, False, ""],
        [[0, "text"], None, False, ""],
        [[2, b"x"], None, False, ""],
        [[0, b"x", 1], None, False, ""],
        [[1, b"short"], None, False, ""],
        [[0, b"x"]],
        [[[0], b"x"], None, False, ""],
        [[0, b"x"], None, False],
        [[0, b"x"], None, False, 7],
        [[0, b"x"], None, False, "t" * 25],
    ],
    ids=str,
)
def test_a_body_that_is_no_packet_is_refused(body: Any) -> None:
    with pytest.raises(SealBroken):
        Packet.read(msgpack.packb(body), ())


@given(st.binary(max_size=100))
def test_any_bytes_are_a_packet_or_refused(body: bytes) -> None:
    try:
        Packet.read(body, ())
    except SealBroken:
        return
