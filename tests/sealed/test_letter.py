"""Letters between honest parties, and their clear header."""

import copy
import pickle
import sys
import threading

import pytest

from fedgate.errors import SealBroken
from fedgate_gateway.sealed import (
    MAX_BODY,
    CargoKey,
    CargoRef,
    Direction,
    LetterKind,
    Opener,
    Route,
    Sealer,
    peek_header,
)
from fedgate_gateway.sealed import letter as letter_module

ROUTE = Route(b"s" * 16, Direction.TO_ENCLAVE, "job-1", "site-1", "enclave-1")
KEY = b"k" * 32


def test_header_and_body_come_back_as_they_were_sealed():
    cargo = (CargoRef(b"c" * 16, 123), CargoKey.generate(10**9).ref)
    letter = Sealer(KEY, ROUTE).seal(LetterKind.RESULT, b"body", cargo=cargo)
    header, body = Opener(KEY, ROUTE).open(letter)
    assert body == b"body"
    assert header.cargo == cargo
    assert (header.sender, header.receiver, header.job) == ("site-1", "enclave-1", "job-1")
    assert header == peek_header(letter)


def test_a_body_may_be_empty_or_as_large_as_the_limit_and_no_larger():
    sealer, opener = Sealer(KEY, ROUTE), Opener(KEY, ROUTE)
    assert opener.open(sealer.seal(LetterKind.CONTROL, b""))[1] == b""
    assert len(opener.open(sealer.seal(LetterKind.TASK, bytes(MAX_BODY)))[1]) == MAX_BODY
    with pytest.raises(SealBroken, match="too large"):
        sealer.seal(LetterKind.TASK, bytes(MAX_BODY + 1))
    assert sealer.next == 2, "a letter that could not be sealed uses no number up"


def test_bodies_may_be_any_buffer():
    sealer, opener = Sealer(KEY, ROUTE), Opener(KEY, ROUTE)
    for body in (b"abc", bytearray(b"abc"), memoryview(b"abc")):
        assert opener.open(memoryview(sealer.seal(LetterKind.TASK, body)))[1] == b"abc"


def test_the_gateway_can_read_a_header_but_no_body():
    letter = Sealer(KEY, ROUTE).seal(LetterKind.RESULT, b"plaintext weights")
    assert peek_header(letter).body == len(b"plaintext weights")
    assert b"plaintext" not in letter
    assert b"site-1" in letter


def test_equal_bodies_seal_to_different_bytes():
    sealer = Sealer(KEY, ROUTE)
    letters = [sealer.seal(LetterKind.TASK, b"same body") for _ in range(3)]
    assert len({letter[-25:-16] for letter in letters}) == 3, "ciphertext, without the tag"


def test_no_two_letters_share_a_nonce_even_from_many_threads():
    sealer, letters = Sealer(KEY, ROUTE), []
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [
            threading.Thread(
                target=lambda: letters.extend(
                    sealer.seal(LetterKind.TASK, b"x") for _ in range(200)
                )
            )
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert sorted(peek_header(letter).sequence for letter in letters) == list(range(800))


def test_a_sealer_and_an_opener_cannot_be_copied():
    for thing in (Sealer(KEY, ROUTE), Opener(KEY, ROUTE)):
        for way in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError):
                way(thing)


def test_a_session_whose_sequence_numbers_are_used_up_seals_no_more(monkeypatch):
    monkeypatch.setattr(letter_module, "MAX_LETTERS", 2)
    sealer = Sealer(KEY, ROUTE)
    sealer.seal(LetterKind.TASK, b"0")
    sealer.seal(LetterKind.TASK, b"1")
    for _ in range(2):
        with pytest.raises(SealBroken, match="no sequence numbers left"):
            sealer.seal(LetterKind.TASK, b"2")


@pytest.mark.parametrize(
    "bad",
    [
        {"cargo": (CargoRef(b"short", 1),)},
        {"cargo": (CargoRef(b"c" * 16, -1),)}, {"cargo": (CargoRef(b"c" * 16, 1 << 50),)},
        {"cargo": (CargoRef(b"c" * 16, 1),) * 65},
    ],
)  # fmt: skip
def test_header_fields_out_of_bounds_are_refused_and_use_no_number_up(bad):
    sealer = Sealer(KEY, ROUTE)
    with pytest.raises(SealBroken):
        sealer.seal(LetterKind.TASK, b"", **bad)
    assert sealer.next == 0


@pytest.mark.parametrize("key", [b"", b"k" * 16, b"k" * 33])
def test_a_session_key_has_32_bytes(key):
    for kind in (Sealer, Opener):
        with pytest.raises(SealBroken):
            kind(key, ROUTE)
