"""Cargo that is kept sealed opens in ranges, and only as what its sender sealed."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedgate.errors import InvalidModel, SealBroken, Unavailable
from fedgate.model import Model
from fedgate_gateway.link.kept import KeptCargo
from fedgate_gateway.sealed import CargoKey, CargoSealer


def keep(plain: bytes, folder: Path, *, chunk: int = 256) -> KeptCargo:
    kept = KeptCargo(CargoKey.generate(len(plain), chunk), "job-1", folder)
    sealer = CargoSealer(kept.key, "job-1")
    for index in range(kept.key.chunks):
        piece = memoryview(plain)[index * chunk : index * chunk + kept.key.plain_size(index)]
        kept.add(index, memoryview(sealer.seal_chunk(index, piece)), piece)
    return kept


PLAIN = Model.from_numpy(
    {"a": np.arange(700, dtype=np.float32), "b": np.arange(9, dtype=np.int64)}
).to_bytes()


@given(st.data())
def test_any_range_reads_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    kept = keep(PLAIN, tmp_path_factory.getbasetemp())
    begin = data.draw(st.integers(0, len(PLAIN)))
    end = data.draw(st.integers(begin, len(PLAIN)))
    out = bytearray(end - begin)
    kept.read_into(begin, end, memoryview(out))
    assert out == PLAIN[begin:end]
    kept.close()


def test_the_header_is_known_without_reading_the_file(tmp_path: Path) -> None:
    kept = keep(PLAIN, tmp_path)
    length = int.from_bytes(PLAIN[:8], "little")
    assert bytes(kept.header) == PLAIN[: 8 + length]


def test_a_disk_that_alters_what_it_keeps_is_noticed(tmp_path: Path) -> None:
    kept = keep(PLAIN, tmp_path)
    byte = os.pread(kept._fd, 1, 300)[0]
    os.pwrite(kept._fd, bytes([byte ^ 1]), 300)
    with pytest.raises(SealBroken):
        kept.read_into(0, len(PLAIN), memoryview(bytearray(len(PLAIN))))


def test_a_disk_that_swaps_two_chunks_is_noticed(tmp_path: Path) -> None:
    kept = keep(PLAIN, tmp_path)
    first, second = os.pread(kept._fd, 272, 0), os.pread(kept._fd, 272, 272)
    os.pwrite(kept._fd, second + first, 0)
    with pytest.raises(SealBroken):
        kept.read_into(0, 512, memoryview(bytearray(512)))


def test_nothing_of_the_model_lies_in_the_file_in_clear(tmp_path: Path) -> None:
    kept = keep(PLAIN, tmp_path)
    stored = os.pread(kept._fd, 10 * len(PLAIN), 0)
    assert np.arange(100, 140, dtype=np.float32).tobytes() in PLAIN
    assert np.arange(100, 140, dtype=np.float32).tobytes() not in stored


def test_ranges_outside_the_cargo_are_refused(tmp_path: Path) -> None:
    kept = keep(PLAIN, tmp_path)
    for begin, end in ((-1, 4), (8, 4), (0, len(PLAIN) + 1)):
        with pytest.raises(SealBroken):
            kept.read_into(begin, end, memoryview(bytearray(2 * len(PLAIN))))


def test_a_header_of_impossible_length_is_refused_as_it_comes(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel):
        keep((1 << 40).to_bytes(8, "little") + bytes(500), tmp_path)


def test_a_full_disk_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(Unavailable, match="No space left"):
        keep(PLAIN, tmp_path)


def test_a_disk_that_takes_only_a_part_is_noticed_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pwrite", lambda _fd, data, _at: len(data) - 1)
    with pytest.raises(Unavailable):
        keep(PLAIN, tmp_path)


def test_a_folder_that_cannot_be_used_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable):
        KeptCargo(CargoKey.generate(10, 256), "job-1", tmp_path / "file")
