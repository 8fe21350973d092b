"""Cargo: chunked sealing under a data key; order, ends and context hold."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedgate.errors import SealBroken
from fedgate_gateway.sealed import CargoKey, CargoOpener, CargoSealer

CHUNK = 64


def pattern(size: int) -> bytes:
    return bytes(i * 7 % 251 for i in range(size))


def seal(key: CargoKey, job: str = "job", plain: bytes | None = None) -> list[bytes]:
    plain = pattern(key.size) if plain is None else plain
    sealer = CargoSealer(key, job)
    sealed = [
        sealer.seal_chunk(i, plain[i * key.chunk : (i + 1) * key.chunk]) for i in range(key.chunks)
    ]
    sealer.finish()
    return sealed


def open_all(key: CargoKey, sealed: list[bytes], job: str = "job") -> bytes:
    opener = CargoOpener(key, job)
    plain = b"".join(opener.open_chunk(i, chunk) for i, chunk in enumerate(sealed))
    opener.finish()
    return plain


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 128, 1000])
def test_what_was_sealed_comes_back(size):
    key = CargoKey.generate(size, CHUNK)
    sealed = seal(key)
    assert open_all(key, sealed) == pattern(size)
    assert sum(map(len, sealed)) == key.sealed_size == key.ref.size
    assert len(sealed) == key.chunks == -(-size // CHUNK)


def test_a_cargo_key_survives_its_encoding_and_hides_in_repr():
    key = CargoKey.generate(123456789)
    assert CargoKey.from_bytes(key.to_bytes()) == key
    assert "key=" not in repr(key)


def test_large_buffers_are_sealed_and_opened_in_place_without_copies():
    plain = np.arange(300_000, dtype=np.float64)
    view = memoryview(plain).cast("B")
    key = CargoKey.generate(view.nbytes)
    sealer, opener = CargoSealer(key, "job"), CargoOpener(key, "job")
    buffer, out = memoryview(bytearray(key.chunk + 16)), memoryview(bytearray(view.nbytes))
    for i in range(key.chunks):
        at = slice(i * key.chunk, (i + 1) * key.chunk)
        written = sealer.seal_chunk_into(i, view[at], buffer)
        assert written == key.plain_size(i) + 16
        assert opener.open_chunk_into(i, buffer[:written], out[at]) == key.plain_size(i)
    sealer.finish()
    opener.finish()
    assert np.array_equal(np.frombuffer(out, np.float64), plain)


def test_a_chunk_is_never_sealed_twice():
    """The memory may have changed since: two plaintexts under one nonce would give the key away."""
    key = CargoKey.generate(200, CHUNK)
    sealer = CargoSealer(key, "job")
    sealer.seal_chunk(0, bytes(64))
    with pytest.raises(SealBroken, match="out of order"):
        sealer.seal_chunk(0, b"\1" * 64)
    with pytest.raises(TypeError):
        copy.deepcopy(sealer)


@pytest.mark.parametrize(("index", "size"), [(1, 64), (0, 63), (0, 65)])
def test_a_sealer_takes_only_the_next_chunk_in_its_exact_size(index, size):
    sealer = CargoSealer(CargoKey.generate(200, CHUNK), "job")
    with pytest.raises(SealBroken):
        sealer.seal_chunk(index, bytes(size))
    with pytest.raises(SealBroken):
        sealer.finish()


def test_a_sealer_that_stopped_early_says_so():
    sealer = CargoSealer(CargoKey.generate(200, CHUNK), "job")
    sealer.seal_chunk(0, bytes(64))
    with pytest.raises(SealBroken, match="truncated"):
        sealer.finish()


def test_buffers_that_do_not_fit_are_refused():
    key = CargoKey.generate(64, CHUNK)
    with pytest.raises(SealBroken, match="too small"):
        CargoSealer(key, "job").seal_chunk_into(0, memoryview(bytes(64)), memoryview(bytearray(79)))
    (sealed,) = seal(key)
    for out in (memoryview(bytearray(63)), memoryview(bytes(64))):
        with pytest.raises(SealBroken):
            CargoOpener(key, "job").open_chunk_into(0, memoryview(sealed), out)


def test_plaintext_of_a_chunk_that_does_not_authenticate_is_not_left_behind():
    key = CargoKey.generate(4096, 4096)
    (sealed,) = seal(key, plain=b"\xaa" * 4096)
    out = memoryview(bytearray(4096))
    with pytest.raises(SealBroken):
        CargoOpener(key, "job").open_chunk_into(0, memoryview(sealed[:-1] + b"\0"), out)
    assert not any(out)


# attacks


def test_a_truncated_cargo_is_noticed_at_the_end():
    key = CargoKey.generate(200, CHUNK)
    with pytest.raises(SealBroken, match="truncated"):
        open_all(key, seal(key)[:-1])
    with pytest.raises(SealBroken, match="truncated"):
        open_all(key, [])


def test_a_whole_chunk_too_many_is_refused():
    key = CargoKey.generate(128, CHUNK)
    sealed = seal(key)
    with pytest.raises(SealBroken, match="longer"):
        open_all(key, [*sealed, sealed[-1]])


@pytest.mark.parametrize("order", [[1, 0, 2], [0, 0, 1], [0, 2, 1], [2, 1, 0]])
def test_reordered_or_repeated_chunks_are_refused(order):
    key = CargoKey.generate(192, CHUNK)
    sealed = seal(key)
    with pytest.raises(SealBroken):
        open_all(key, [sealed[i] for i in order])


@pytest.mark.parametrize(
    "other",
    [
        {"id": b"i" * 16},
        {"size": 193},
        {"size": 128},
        {"chunk": 65},
        {"chunk": 96},
        {"key": b"k" * 32},
    ],
)
def test_chunks_of_a_cargo_that_differs_in_anything_do_not_open(other):
    """Same data key unless that is what differs: id, size and chunk size are all bound."""
    base = {"id": b"c" * 16, "key": b"d" * 32, "size": 192, "chunk": CHUNK}
    theirs = seal(CargoKey(**{**base, **other}))
    with pytest.raises(SealBroken):
        open_all(CargoKey(**base), theirs)


@pytest.mark.parametrize(
    ("ours", "theirs"), [({"size": 192}, {"size": 193}), ({"chunk": 96}, {"chunk": 97})]
)
def test_not_even_the_first_chunk_opens_when_it_has_the_same_length(ours, theirs):
    """Size and chunk size are bound into every chunk, not only visible in lengths."""
    base = {"id": b"c" * 16, "key": b"d" * 32, "size": 50 if "chunk" in ours else 0, "chunk": CHUNK}
    first = seal(CargoKey(**{**base, **theirs}))[0]
    with pytest.raises(SealBroken, match="altered"):
        CargoOpener(CargoKey(**{**base, **ours}), "job").open_chunk(0, first)


def test_a_cargo_of_another_job_does_not_open():
    key = CargoKey.generate(100, CHUNK)
    with pytest.raises(SealBroken, match="altered"):
        open_all(key, seal(key, job="job-1"), job="job-2")


def test_an_inner_chunk_cannot_pass_for_the_last_one():
    """Same id and key, shorter size: without the last flag and the size, a prefix would open."""
    base = {"id": b"c" * 16, "key": b"d" * 32, "chunk": CHUNK}
    sealed = seal(CargoKey(size=192, **base))
    with pytest.raises(SealBroken):
        open_all(CargoKey(size=64, **base), sealed[:1])


def test_after_one_bad_chunk_nothing_opens_any_more():
    key = CargoKey.generate(128, CHUNK)
    sealed, opener = seal(key), CargoOpener(key, "job")
    with pytest.raises(SealBroken):
        opener.open_chunk(0, bytes(80))
    with pytest.raises(SealBroken, match="is broken"):
        opener.open_chunk(0, sealed[0])
    with pytest.raises(SealBroken, match="is broken"):
        opener.finish()


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 400), st.data())
def test_any_flipped_bit_in_any_chunk_is_refused(size, data):
    key = CargoKey.generate(size, CHUNK)
    sealed = seal(key)
    at = data.draw(st.integers(0, len(sealed) - 1))
    chunk = bytearray(sealed[at])
    bit = data.draw(st.integers(0, len(chunk) * 8 - 1))
    chunk[bit // 8] ^= 1 << bit % 8
    sealed[at] = bytes(chunk)
    with pytest.raises(SealBroken):
        open_all(key, sealed)


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 400), st.data())
def test_any_chunk_of_another_length_is_refused(size, data):
    key = CargoKey.generate(size, CHUNK)
    sealed = seal(key)
    at = data.draw(st.integers(0, len(sealed) - 1))
    length = data.draw(st.integers(0, 120).filter(lambda n: n != len(sealed[at])))
    sealed[at] = (sealed[at] + bytes(120))[:length]
    with pytest.raises(SealBroken):
        open_all(key, sealed)


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=100), st.binary(min_size=61, max_size=61)))
def test_junk_is_a_cargo_key_within_bounds_or_refused(junk):
    try:
        key = CargoKey.from_bytes(junk)
    except SealBroken:
        return
    assert key.to_bytes() == junk
    assert 64 <= key.chunk <= 16 << 20
    assert key.sealed_size <= 1 << 46


@pytest.mark.parametrize(
    "bad",
    [
        {"size": -1},
        {"size": 1 << 47},
        {"chunk": 0},
        {"chunk": 63},
        {"chunk": (16 << 20) + 1},
        {"size": 1 << 45},
    ],
)
def test_a_cargo_out_of_bounds_cannot_be_described(bad):
    with pytest.raises(SealBroken):
        CargoKey(**{"id": b"c" * 16, "key": b"d" * 32, "size": 1, "chunk": 64, **bad})


def test_no_two_chunks_share_a_nonce(monkeypatch):
    seen = []
    key = CargoKey.generate(640, CHUNK)
    sealer = CargoSealer(key, "job")
    honest = sealer._aead

    class Recorder:
        def encrypt_into(self, nonce, *rest):
            seen.append(nonce)
            return honest.encrypt_into(nonce, *rest)

    monkeypatch.setattr(sealer, "_aead", Recorder())
    for i in range(key.chunks):
        sealer.seal_chunk(i, bytes(64))
    assert len(set(seen)) == len(seen) == 10
    assert [n[-1] for n in seen] == [0] * 9 + [1]
