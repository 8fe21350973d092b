"""Control letters are few, and everything else is refused."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedgate.errors import InvalidMessage
from fedgate_gateway.link.control import read_control, write_control


def test_a_control_letter_comes_back_as_it_was() -> None:
    assert read_control(write_control("left", reason="no data")) == ("left", {"reason": "no data"})


@pytest.mark.parametrize(
    "body", [[], ["destroy", {}], ["over", []], ["over"], [["over"], {}], [{}, {}], "over", None]
)
def test_what_is_none_of_them_is_refused(body: object) -> None:
    with pytest.raises(InvalidMessage):
        read_control(msgpack.packb(body))


@given(st.binary(max_size=60))
def test_any_bytes_are_one_of_them_or_refused(body: bytes) -> None:
    try:
        read_control(body)
    except InvalidMessage:
        return
