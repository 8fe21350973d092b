"""Boxes: released outputs that only the submitter opens, and only as what they are."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedgate.errors import SealBroken
from fedgate_gateway.sealed import (
    BoxContext,
    BoxFacts,
    IdentityKey,
    RecipientKey,
    open_box,
    open_stream,
    seal_stream,
    sealed_size,
)

KEY = RecipientKey.generate()
SIGNER = IdentityKey.generate()
CONTEXT = BoxContext("job-1", "model.safetensors", "sha256:00")


def box(plain: bytes, *, signer: IdentityKey | None = SIGNER, context=CONTEXT, chunk=64) -> bytes:
    return b"".join(
        seal_stream([plain], len(plain), KEY.public_raw, context, signer=signer, chunk=chunk)
    )


def unbox(sealed: bytes, *, key=KEY, context=CONTEXT, signer=SIGNER.public_raw) -> bytes:
    return b"".join(open_stream([sealed], key, context, signer_public=signer))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.lists(st.integers(0, 90), max_size=8), st.booleans())
def test_a_box_comes_back_however_it_is_cut_into_pieces(plain, cuts, signed):
    signer = SIGNER if signed else None
    parts = seal_stream(
        _cut(plain, cuts), len(plain), KEY.public_raw, CONTEXT, signer=signer, chunk=64
    )
    sealed = b"".join(parts)
    assert len(sealed) == sealed_size(len(plain), signed=signed, chunk=64)
    opened = open_stream(
        _cut(sealed, cuts), KEY, CONTEXT, signer_public=SIGNER.public_raw if signed else None
    )
    assert b"".join(opened) == plain


def test_a_large_output_streams_chunk_by_chunk():
    plain = os.urandom(3_000_001)
    pieces = list(seal_stream([plain], len(plain), KEY.public_raw, CONTEXT))
    assert max(map(len, pieces)) <= (1 << 20) + 16
    assert b"".join(open_stream(pieces, KEY, CONTEXT)) == plain


def test_a_box_of_the_first_release_is_refused_by_its_version():
    """It had no facts: FGB 1, signed, wrapped key, signature, chunks."""
    first = b"FGB\x01\x01" + os.urandom(1197 + 64 + 80)
    with pytest.raises(SealBroken, match="the box has format version 1") as refused:
        unbox(first)
    assert "version 2" in refused.value.why
    assert "the release of Fedgate that wrote it" in refused.value.remedy


def test_the_plaintext_is_nowhere_in_the_box():
    assert b"known weights" not in box(b"known weights" * 20)


@pytest.mark.parametrize("wrong", [-1, 1])
def test_an_output_that_is_not_as_long_as_announced_is_refused(wrong):
    with pytest.raises(SealBroken):
        list(seal_stream([bytes(100)], 100 + wrong, KEY.public_raw, CONTEXT, chunk=64))


def test_another_key_does_not_open_it():
    with pytest.raises(SealBroken):
        unbox(box(b"model"), key=RecipientKey.generate())


@pytest.mark.parametrize(
    "other",
    [
        BoxContext("job-2", CONTEXT.output, CONTEXT.bundle),
        BoxContext(CONTEXT.job, "log.txt", CONTEXT.bundle),
        BoxContext(CONTEXT.job, CONTEXT.output, "sha256:01"),
        BoxContext("job-1model.safetensors", "", CONTEXT.bundle),
        BoxContext(CONTEXT.job, CONTEXT.output, CONTEXT.bundle, "sha256:02"),
    ],
)
@pytest.mark.parametrize("signer", [SIGNER, None])
def test_a_box_swapped_for_another_output_does_not_open(other, signer):
    """The gateway hands out the box of another job, output or bundle."""
    with pytest.raises(SealBroken):
        unbox(box(b"model", signer=signer), context=other, signer=signer and signer.public_raw)


def test_a_box_that_the_gateway_made_itself_is_refused():
    """Anyone can seal to the public key; the enclave's signature is what they lack."""
    with pytest.raises(SealBroken, match="signature"):
        unbox(box(b"poisoned model", signer=IdentityKey.generate()))
    with pytest.raises(SealBroken, match="not signed"):
        unbox(box(b"poisoned model", signer=None))


def test_a_box_says_its_round_and_cohort_and_nobody_can_change_that():
    facts = BoxFacts(7, ("site-1", "site-2"))
    sealed = b"".join(
        seal_stream([b"model"], 5, KEY.public_raw, CONTEXT, facts=facts, signer=SIGNER)
    )
    assert len(sealed) == sealed_size(5, signed=True, facts=facts)
    opened = open_box([sealed], KEY, CONTEXT, signer_public=SIGNER.public_raw)
    assert (opened.facts, b"".join(opened.pieces)) == (facts, b"model")
    for old, new in ((b"site-2", b"site-3"), (bytes((0, 0, 0, 7)), bytes((0, 0, 0, 8)))):
        assert sealed.count(old) == 1
        for signer in (SIGNER.public_raw, None):
            with pytest.raises(SealBroken):
                open_box([sealed.replace(old, new)], KEY, CONTEXT, signer_public=signer)


@pytest.mark.parametrize("facts", [BoxFacts(1 << 32), BoxFacts(1, ("x",) * 257), BoxFacts(-1)])
def test_facts_are_bounded(facts):
    with pytest.raises(SealBroken):
        list(seal_stream([b""], 0, KEY.public_raw, CONTEXT, facts=facts))


def test_a_signature_does_not_carry_over_to_other_chunks():
    one, two = box(b"a" * 100), box(b"b" * 100)
    head = sealed_size(0, signed=True)
    with pytest.raises(SealBroken):
        unbox(one[:head] + two[head:])


def test_a_recipient_key_that_is_none_is_refused():
    with pytest.raises(SealBroken):
        list(seal_stream([b""], 0, b"short", CONTEXT))


@settings(max_examples=100, deadline=None)
@given(st.data(), st.booleans())
def test_any_flipped_bit_is_refused(data, signed):
    signer = SIGNER if signed else None
    sealed = bytearray(box(bytes(150), signer=signer))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealBroken):
        unbox(bytes(sealed), signer=signer and signer.public_raw)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_truncation_or_extension_is_refused(data):
    sealed = box(bytes(150))
    bad = data.draw(
        st.one_of(
            st.integers(0, len(sealed) - 1).map(lambda n: sealed[:n]),
            st.binary(min_size=1, max_size=100).map(lambda more: sealed + more),
        )
    )
    with pytest.raises(SealBroken):
        unbox(bad)


def test_swapped_chunks_are_refused():
    sealed, head = box(bytes(64) + b"\1" * 64), sealed_size(0, signed=True)
    first, second = sealed[head : head + 80], sealed[head + 80 :]
    with pytest.raises(SealBroken):
        unbox(sealed[:head] + second + first)


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=2000), st.binary(max_size=2000).map(lambda b: b"FGB\1" + b)))
def test_junk_never_raises_anything_but_our_own_error(junk):
    with pytest.raises(SealBroken):
        unbox(junk, signer=None)


def _cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]
