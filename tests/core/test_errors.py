"""Errors: what happened, why, what to do; and they survive a process boundary."""

import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedgate import errors
from fedgate.errors import FedgateError, InvalidBundle, error_from_dict

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, FedgateError)
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_survives_json_with_its_class(kind):
    error = kind("what", why="why", remedy="remedy")
    back = error_from_dict(json.loads(json.dumps(error.to_dict())))
    assert type(back) is kind
    assert back.to_dict() == error.to_dict()


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_survives_pickle_and_copy(kind):
    error = kind("what", why="why", remedy="remedy")
    for back in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(back) is kind
        assert back.to_dict() == error.to_dict()


def test_every_code_is_its_own_and_is_spelled_alike():
    codes = [kind.code for kind in KINDS]
    assert len(set(codes)) == len(codes)
    assert all(code == code.lower() and " " not in code for code in codes)


@pytest.mark.parametrize("kind", KINDS)
def test_exit_codes_and_statuses_are_ones_that_exist(kind):
    assert 1 <= kind.exit_code <= 125
    assert 400 <= kind.status <= 599


def test_a_person_reads_what_why_and_remedy():
    assert (
        str(FedgateError("It broke", why="of this", remedy="do that"))
        == "It broke: of this (do that)"
    )
    assert str(FedgateError("It broke")) == "It broke"


def test_a_subclass_without_a_code_of_its_own_does_not_take_its_parents_place():
    class OfAPlugin(InvalidBundle):
        def __init__(self) -> None:
            super().__init__("needs no arguments")

    assert type(error_from_dict(OfAPlugin().to_dict())) is InvalidBundle


@given(
    st.dictionaries(
        st.sampled_from(["code", "what", "why", "remedy", "more"]),
        st.none() | st.integers() | st.text() | st.lists(st.text()),
    )
)
def test_anything_a_foreign_process_says_becomes_an_error_of_ours(data):
    error = error_from_dict(data)
    assert isinstance(error, FedgateError)
    assert all(isinstance(value, str) for value in error.to_dict().values())
    assert str(error) or data.get("what") == ""
