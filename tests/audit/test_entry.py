from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedgate.errors import InvalidMessage
from fedgate_gateway.audit import Entry
from fedgate_gateway.audit.entry import MAX_BYTES, parse_canonical

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
SCALARS = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text()
SCALARS |= st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.dictionaries(st.text(), SCALARS | st.lists(SCALARS, max_size=3), max_size=5)


def test_an_entry_has_exactly_one_encoding():
    entry = Entry(AT, "job.transition", "gateway", {"to": "queued", "from": "in_review"}, "j1")
    assert entry.encode() == (
        b'{"actor":"gateway","at":"2026-01-02T03:04:05.678901Z",'
        b'"data":{"from":"in_review","to":"queued"},"job":"j1","kind":"job.transition","v":1}'
    )


@given(VALUES, st.none() | st.text("jöb-1 /:"))
def test_every_entry_survives_its_encoding(data: dict[str, object], job: str | None):
    entry = Entry(AT, "a", "somebody", data, job)
    assert Entry.decode(entry.encode()) == entry


def test_times_of_other_zones_are_logged_in_utc():
    local = AT.astimezone(timezone(timedelta(hours=5)))
    assert Entry(local, "a", "").encode() == Entry(AT, "a", "").encode()


@pytest.mark.parametrize(
    "data",
    [
        {"x": float("nan")},
        {"x": float("inf")},
        {"x": 2**53},
        {"x": 10**400},
        {"x": b"bytes"},
        {"x": "\ud800"},
        {1: "x"},
        {"x": [[[[[[[[[[1]]]]]]]]]]},
        {"x": "y" * MAX_BYTES},
        {"x": ...},
    ],
    ids=lambda data: repr(data)[:30],
)
def test_what_json_cannot_hold_the_same_everywhere_is_refused(data: dict[str, object]):
    with pytest.raises(InvalidMessage):
        Entry(AT, "a", "", data).encode()


@pytest.mark.parametrize("kind", ["", "Job", "job transition", "job\n", "a" * 65, ".a", "a.", "ä"])
def test_a_kind_is_a_lower_case_name(kind: str):
    with pytest.raises(InvalidMessage):
        Entry(AT, kind, "").encode()


@pytest.mark.parametrize("name", ["a" * 129, "a\0b", "a\nb", "\u202eecila", "\ud800"])
def test_a_name_is_short_and_shows_as_it_is(name: str):
    with pytest.raises(InvalidMessage):
        Entry(AT, "a", name).encode()
    with pytest.raises(InvalidMessage):
        Entry(AT, "a", "", job=name).encode()


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(InvalidMessage):
        Entry(AT.replace(tzinfo=None), "a", "").encode()


GOOD = Entry(AT, "a", "me", {"n": 1}).encode()


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        GOOD + b" ",
        GOOD.replace(b":", b": ", 1),
        GOOD.replace(b'"n":1', b'"n":1,"n":1'),
        GOOD.replace(b'"n":1', b'"n":1.0e0'),
        GOOD.replace(b'"n":1', b'"n":NaN'),
        GOOD.replace(b'"v":1', b'"v":2'),
        GOOD.replace(b'"v":1', b'"v":true'),
        GOOD.replace(b'"kind":"a"', b'"kind":1'),
        GOOD.replace(b'"v":1', b'"v":1,"w":1'),
        GOOD.replace(b"2026-01-02", b"2026-13-02"),
        GOOD.replace(b"Z", b"+00:00"),
        GOOD.replace(b'"kind"', b'"job":null,"kind"'),
        GOOD.replace(b'"me"', b'"\xff"'),
        b"[" * 100_000,
        b"9" * 10_000,
    ],
    ids=lambda raw: raw[:25],
)
def test_any_other_spelling_does_not_decode(encoded: bytes):
    with pytest.raises(InvalidMessage):
        Entry.decode(encoded)


def test_the_good_entry_of_these_tests_is_good():
    assert Entry.decode(GOOD).data == {"n": 1}
    assert parse_canonical(GOOD)["v"] == 1
