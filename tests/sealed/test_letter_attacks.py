"""What a malicious gateway, or a peer of another session, can do to letters; each is refused."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedgate.errors import SealBroken
from fedgate_gateway.sealed import (
    CargoRef,
    Direction,
    LetterKind,
    Opener,
    Route,
    Sealer,
    peek_header,
)

ROUTE = Route(b"s" * 16, Direction.TO_ENCLAVE, "job-1", "site-1", "enclave-1")
KEY = b"k" * 32


def letters(count: int, key: bytes = KEY, route: Route = ROUTE) -> list[bytes]:
    sealer = Sealer(key, route)
    return [sealer.seal(LetterKind.RESULT, b"body %d" % i) for i in range(count)]


def test_a_replayed_letter_is_refused():
    opener, (first,) = Opener(KEY, ROUTE), letters(1)
    opener.open(first)
    with pytest.raises(SealBroken, match="replayed"):
        opener.open(first)


def test_a_dropped_letter_is_noticed_at_the_next_one():
    opener, (_, second) = Opener(KEY, ROUTE), letters(2)
    with pytest.raises(SealBroken, match="out of order"):
        opener.open(second)


def test_a_letter_moved_to_the_expected_place_does_not_open():
    """The gateway rewrites the sequence number of a later letter."""
    opener, (first, second) = Opener(KEY, ROUTE), letters(2)
    at = 4 + 2 + 16
    moved = second[:at] + first[at : at + 8] + second[at + 8 :]
    assert peek_header(moved).sequence == 0
    with pytest.raises(SealBroken, match="altered"):
        opener.open(moved)


def test_one_bad_letter_ends_the_session_for_good():
    opener, (first, second) = Opener(KEY, ROUTE), letters(2)
    with pytest.raises(SealBroken):
        opener.open(first[:-1] + bytes((first[-1] ^ 1,)))
    for letter in (first, second):
        with pytest.raises(SealBroken, match="has ended"):
            opener.open(letter)
    assert opener.expected == 0


OTHERS = {
    "another session": {"session": b"t" * 16},
    "the other direction": {"direction": Direction.TO_SITE},
    "another job": {"job": "job-2"},
    "not for us": {"receiver": "enclave-2"},
    "not from our peer": {"sender": "site-2"},
}


@pytest.mark.parametrize(("words", "change"), OTHERS.items())
def test_a_letter_of_another_context_is_refused_even_under_the_same_key(words, change):
    (letter,) = letters(1, route=dataclasses.replace(ROUTE, **change))
    with pytest.raises(SealBroken, match=words):
        Opener(KEY, ROUTE).open(letter)


@pytest.mark.parametrize("change", OTHERS.values())
def test_a_letter_relabelled_to_our_context_does_not_open(change):
    """The gateway takes a letter of elsewhere and writes our names into its header."""
    theirs, ours = dataclasses.replace(ROUTE, **change), ROUTE
    (letter,) = letters(1, route=theirs)
    header = peek_header(letter)
    relabelled = dataclasses.replace(
        header,
        session=ours.session,
        direction=ours.direction,
        job=ours.job,
        sender=ours.sender,
        receiver=ours.receiver,
    )
    forged = relabelled.to_bytes() + letter[len(header.to_bytes()) :]
    with pytest.raises(SealBroken, match="altered"):
        Opener(KEY, ROUTE).open(forged)


@pytest.mark.parametrize(
    "lie",
    [
        {"kind": LetterKind.TASK},
        {"cargo": (CargoRef(b"c" * 16, 5),)},
    ],
)  # fmt: skip
def test_a_header_that_lies_about_its_letter_is_refused(lie):
    (letter,) = letters(1)
    header = peek_header(letter)
    body = letter[len(header.to_bytes()) :]
    forged = dataclasses.replace(header, **lie).to_bytes() + body
    assert peek_header(forged) != header
    with pytest.raises(SealBroken, match="altered"):
        Opener(KEY, ROUTE).open(forged)


def test_a_letter_reflected_to_its_sender_is_refused(scene):
    at_site, at_enclave = scene.session()
    sealer, opener = at_site.at_site()
    letter = sealer.seal(LetterKind.RESULT, b"mine")
    with pytest.raises(SealBroken, match="other direction"):
        opener.open(letter)
    assert at_enclave.at_enclave()[1].open(letter)[1] == b"mine"


def test_letters_of_two_sites_and_two_sessions_do_not_mix(scene):
    channels = [scene.session(name) for name in ("site-1", "site-2", "site-1")]
    sent = [site.at_site()[0].seal(LetterKind.RESULT, b"x") for site, _ in channels]
    for i, (_, enclave) in enumerate(channels):
        for j, letter in enumerate(sent):
            opener = enclave.at_enclave()[1]
            if i == j:
                assert opener.open(letter)[1] == b"x"
            else:
                with pytest.raises(SealBroken):
                    opener.open(letter)


@settings(deadline=None)
@given(st.binary(max_size=300), st.data())
def test_any_flipped_bit_is_refused(body, data):
    letter = bytearray(Sealer(KEY, ROUTE).seal(LetterKind.TASK, body))
    bit = data.draw(st.integers(0, len(letter) * 8 - 1))
    letter[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealBroken):
        Opener(KEY, ROUTE).open(bytes(letter))


@settings(deadline=None)
@given(st.binary(max_size=300), st.data())
def test_any_truncation_or_extension_is_refused_already_by_the_gateway(body, data):
    letter = Sealer(KEY, ROUTE).seal(LetterKind.TASK, body)
    bad = data.draw(
        st.one_of(
            st.integers(0, len(letter) - 1).map(lambda n: letter[:n]),
            st.binary(min_size=1, max_size=30).map(lambda more: letter + more),
        )
    )
    for parse in (peek_header, Opener(KEY, ROUTE).open):
        with pytest.raises(SealBroken):
            parse(bad)


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_only_the_exact_order_opens(order):
    """Whatever order letters come in, what opens is a prefix of what was sealed."""
    sent, opener, opened = letters(6), Opener(KEY, ROUTE), []
    for index in order:
        try:
            opened.append(opener.open(sent[index])[0].sequence)
        except SealBroken:
            break
    assert opened == list(range(len(opened)))
    assert opener.expected == len(opened)
    if order == list(range(len(order))):
        assert len(opened) == len(order)


HEADED = st.binary(max_size=400).map(lambda junk: b"FGL\1" + junk)


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=400), HEADED))
def test_junk_never_raises_anything_but_our_own_error(junk):
    for parse in (peek_header, Opener(KEY, ROUTE).open):
        with pytest.raises(SealBroken):
            parse(junk)


@settings(deadline=None)
@given(st.data())
def test_a_header_with_any_bytes_replaced_parses_to_bounded_values_or_is_refused(data):
    """Fuzz near a valid letter: what parses is what its bytes say, encoded in the only way."""
    letter = bytearray(letters(1)[0])
    for _ in range(data.draw(st.integers(1, 4))):
        letter[data.draw(st.integers(0, 70))] = data.draw(st.integers(0, 255))
    try:
        header = peek_header(bytes(letter))
    except SealBroken:
        return
    assert letter.startswith(header.to_bytes())


def test_a_view_that_is_no_string_of_bytes_is_refused():
    for view in (memoryview(bytes(64)).cast("I"), memoryview(bytes(64))[::2]):
        with pytest.raises(SealBroken):
            peek_header(view)
