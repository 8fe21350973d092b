"""Control letters are few, and everything else is refused."""

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedgate.errors import InvalidMessage, SealBroken
from fedgate.refused_frames import UNDECLARED
from fedgate_gateway.link.control import (
    read_again,
    read_cargo,
    read_control,
    read_frame_name,
    write_control,
)
from fedgate_gateway.sealed import CargoKey


def test_a_control_letter_comes_back_as_it_was() -> None:
    assert read_control(write_control("left", reason="no data")) == ("left", {"reason": "no data"})


@pytest.mark.parametrize(
    "body", [[], ["destroy", {}], ["over", []], ["over"], [["over"], {}], [{}, {}], "over", None]
)
def test_what_is_none_of_them_is_refused(body: object) -> None:
    with pytest.raises(InvalidMessage):
        read_control(msgpack.packb(body))


@pytest.mark.parametrize("frame", ["aux:Patient 7", "aux:", "", None, 7, ["aux:listed"]])
def test_a_refused_frame_is_named_only_as_the_bundle_declared_it(frame: Any) -> None:
    assert read_frame_name({"frame": frame}, ("aux:listed",)) == UNDECLARED
    assert read_frame_name({"frame": "aux:listed"}, ("aux:listed",)) == "aux:listed"


@given(st.binary(max_size=60))
def test_any_bytes_are_one_of_them_or_refused(body: bytes) -> None:
    try:
        read_control(body)
    except InvalidMessage:
        return


@pytest.mark.parametrize(
    "fields",
    [{}, {"cargo": "i" * 16}, {"cargo": b"i" * 15}, {"cargo": 7}, {"cargo": None}],
)
def test_a_word_on_cargo_names_one(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessage):
        read_cargo(fields)


@pytest.mark.parametrize(
    "fields",
    [
        {}, {"key": b"", "shared": 1}, {"key": "k", "shared": True}, {"key": b"", "shared": True},
        {"key": CargoKey.generate(5).to_bytes()},
    ],
)  # fmt: skip
def test_what_comes_again_has_a_key_and_says_whether_it_is_shared(fields: dict[str, Any]) -> None:
    with pytest.raises((InvalidMessage, SealBroken)):
        read_again(fields)
