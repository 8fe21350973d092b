"""Cargo on its way through the gateway: every receiver at its own pace, within bounds."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedgate.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidMessage,
    LimitReached,
    NotFound,
    Unavailable,
)
from fedgate_gateway.config import GatewayLimits
from fedgate_gateway.relay import spool as module
from fedgate_gateway.relay.spool import Cargo, CargoSpool, spool_budget

ID, OTHER = b"i" * 16, b"o" * 16
FRAME = 1000


def make(folder: Path, *, cargo: int = 1 << 20, **shares: int) -> CargoSpool:
    settings = {f"spool_{kind}_bytes": n for kind, n in shares.items() if kind != "total"}
    limits = GatewayLimits(spool_bytes=shares.get("total", 1 << 22), **settings)
    return CargoSpool(folder / "spool", cargo_bytes=cargo, budget=spool_budget(limits))


def begin(
    spool: CargoSpool,
    frames: int = 4,
    *,
    id: bytes = ID,
    job: str = "job-1",
    to: tuple[str, ...] = ("a", "b"),
    sender: str = "enclave-1",
) -> Cargo:
    return spool.begin(job, id, frames * FRAME, frozenset(to), sender)


def frame(number: int, fill: bytes = b"x") -> bytes:
    return number.to_bytes(4, "big") + fill * (FRAME - 4)


def add(spool: CargoSpool, cargo: Cargo, *numbers: int) -> None:
    for number in numbers:
        spool.append(cargo, frame(number), FRAME)


async def read(
    spool: CargoSpool, receiver: str = "a", first: int = 0, *, job: str = "job-1",
    patience: float = 0.2,
) -> list[int]:  # fmt: skip
    return [
        int.from_bytes(f[:4], "big")
        async for f in spool.read(job, ID, receiver, first, patience=patience)
    ]


def run(test: Callable[[], Any]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))


def test_readers_follow_the_writer_each_at_its_own_pace(tmp_path: Path) -> None:
    async def test() -> None:
        spool = make(tmp_path)
        cargo = begin(spool)
        fast = asyncio.create_task(read(spool, "a", patience=5))
        await asyncio.sleep(0)
        for number in range(4):
            add(spool, cargo, number)
            await asyncio.sleep(0)
        spool.end(cargo)
        assert await fast == [0, 1, 2, 3]
        assert await read(spool, "b") == [0, 1, 2, 3]

    run(test)


def test_a_reader_may_come_before_the_upload(tmp_path: Path) -> None:
    async def test() -> None:
        spool = make(tmp_path)
        reader = asyncio.create_task(read(spool, patience=5))
        await asyncio.sleep(0.01)
        cargo = begin(spool)
        add(spool, cargo, 0, 1, 2, 3)
        spool.end(cargo)
        assert await reader == [0, 1, 2, 3]

    run(test)


def test_a_reader_that_lost_its_connection_continues_where_it_was(tmp_path: Path) -> None:
    async def test() -> None:
        spool = make(tmp_path)
        cargo = begin(spool)
        add(spool, cargo, 0, 1, 2, 3)
        stream = spool.read("job-1", ID, "a", 0, patience=1)
        assert int.from_bytes((await anext(stream))[:4], "big") == 0
        await stream.aclose()
        spool.end(cargo)
        assert await read(spool, "a", 1) == [1, 2, 3]

    run(test)


def test_a_slow_reader_gets_from_the_disk_what_the_window_no_longer_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WINDOW_BYTES", 2 * FRAME)

    async def test() -> None:
        spool = make(tmp_path)
        cargo = begin(spool, 10)
        stream = spool.read("job-1", ID, "a", 0, patience=1)
        add(spool, cargo, 0)
        got = [await anext(stream)]
        add(spool, cargo, *range(1, 10))
        assert len(cargo.window) == 2
        spool.end(cargo)
        got += [f async for f in stream]
        assert got == [frame(n) for n in range(10)]

    run(test)


def test_cargo_goes_once_all_its_receivers_acknowledged_it_and_its_room_is_free_again(
    tmp_path: Path,
) -> None:
    async def test() -> None:
        spool = make(tmp_path, total=4 * FRAME)
        cargo = begin(spool)
        add(spool, cargo, 0, 1, 2, 3)
        spool.end(cargo)
        for receiver in "abab":  # what was written out may not have arrived: it is there again
            assert await read(spool, receiver) == [0, 1, 2, 3]
        for _ in range(2):
            spool.taken("job-1", ID, "a")
        spool.taken("job-1", ID, "c")
        spool.taken("job-2", ID, "b")
        other = begin(spool, 1, id=OTHER)
        with pytest.raises(LimitReached, match="spool_bytes"):
            add(spool, other, 0)
        spool.taken("job-1", ID, "b")
        add(spool, other, 0)
        with pytest.raises(NotFound):
            await read(spool, "a")

    run(test)


def test_an_upload_that_nobody_needs_any_more_is_given_up(tmp_path: Path) -> None:
    async def test() -> None:
        spool = make(tmp_path)
        cargo = begin(spool)
        add(spool, cargo, 0)
        for receiver in "ab":
            spool.taken("job-1", ID, receiver)
        with pytest.raises(Unavailable, match="given up"):
            add(spool, cargo, 1)

    run(test)


def test_whoever_goes_on_with_a_cargo_that_is_gone_is_told_at_once(tmp_path: Path) -> None:
    async def test() -> None:
        with pytest.raises(NotFound):
            await read(make(tmp_path), first=1, patience=600)

    run(test)


def test_a_reader_that_is_overtaken_by_its_own_second_reading_is_told(tmp_path: Path) -> None:
    async def test() -> None:
        spool = make(tmp_path)
        cargo = begin(spool, to=("a",))
        add(spool, cargo, 0, 1, 2, 3)
        spool.end(cargo)
        slow = spool.read("job-1", ID, "a", 0, patience=1)
        await anext(slow)
        assert await read(spool, "a") == [0, 1, 2, 3]
        spool.taken("job-1", ID, "a")
        with pytest.raises(NotFound):
            await anext(slow)

    run(test)


@pytest.mark.parametrize(("receiver", "job"), [("c", "job-1"), ("enclave", "job-1")])
def test_cargo_is_nobody_elses(tmp_path: Path, receiver: str, job: str) -> None:
    async def test() -> None:
        spool = make(tmp_path)
        add(spool, begin(spool), 0)
        with pytest.raises(NotFound):
            await read(spool, receiver, job=job)

    run(test)


def test_the_same_id_in_another_job_is_another_cargo(tmp_path: Path) -> None:
    async def test() -> None:
        spool = make(tmp_path)
        add(spool, begin(spool), 0)
        with pytest.raises(NotFound):
            await read(spool, job="job-2", patience=0.05)
        begin(spool, job="job-2")
        with pytest.raises(Conflict):
            begin(spool)

    run(test)


def test_a_sender_that_breaks_off_is_told_to_readers_after_what_came(tmp_path: Path) -> None:
    async def test() -> None:
        spool = make(tmp_path)
        cargo = begin(spool)
        reader = asyncio.create_task(read(spool, patience=5))
        await asyncio.sleep(0)
        add(spool, cargo, 0)
        await asyncio.sleep(0)
        spool.fail(cargo, "its sender broke off")
        with pytest.raises(Unavailable, match="broke off"):
            await reader

    run(test)


def test_a_sender_that_stops_without_a_word_is_not_waited_for_longer_than_patience(
    tmp_path: Path,
) -> None:
    async def test() -> None:
        spool = make(tmp_path)
        add(spool, begin(spool), 0)
        with pytest.raises(DeadlineExceeded):
            await read(spool, patience=0.05)

    run(test)


@pytest.mark.parametrize("frames", [0, 3])
def test_an_upload_that_ends_early_is_refused_and_its_readers_are_told(
    tmp_path: Path, frames: int
) -> None:
    async def test() -> None:
        spool = make(tmp_path)
        cargo = begin(spool)
        reader = asyncio.create_task(read(spool, patience=5))
        await asyncio.sleep(0)
        add(spool, cargo, *range(frames))
        with pytest.raises(InvalidMessage, match="shorter"):
            spool.end(cargo)
        with pytest.raises(Unavailable):
            await reader

    run(test)


def test_an_upload_beyond_its_announced_size_is_refused(tmp_path: Path) -> None:
    spool = make(tmp_path)
    cargo = begin(spool, 2)
    add(spool, cargo, 0, 1)
    with pytest.raises(InvalidMessage, match="larger"):
        add(spool, cargo, 2)
    with pytest.raises(Unavailable):
        add(spool, cargo, 3)
    assert begin(spool, 2)  # its room is free


@pytest.mark.parametrize(
    ("id", "size", "receivers"),
    [(b"short", 10, {"a"}), (ID, 10, set()), (ID, -1, {"a"})],
)
def test_an_announcement_that_makes_no_sense_is_refused(
    tmp_path: Path, id: bytes, size: int, receivers: set[str]
) -> None:
    with pytest.raises(InvalidMessage):
        make(tmp_path).begin("job-1", id, size, frozenset(receivers), "s")


def test_one_cargo_is_bounded_by_what_it_announces(tmp_path: Path) -> None:
    with pytest.raises(InvalidMessage, match="cargo_bytes"):
        begin(make(tmp_path, cargo=3 * FRAME), 4)


@pytest.mark.parametrize("kind", ["total", "project", "job", "site"])
def test_room_is_charged_for_what_came_and_not_for_what_was_announced(
    tmp_path: Path, kind: str
) -> None:
    spool = make(tmp_path, **{kind: 5 * FRAME})
    whose = {"project": "p", "site": "a"}
    size, to = 1 << 20, frozenset({"b"})
    cargo = [spool.begin("job-1", bytes([n]) * 16, size, to, "a", **whose) for n in range(20)]
    add(spool, cargo[0], 0, 1)
    add(spool, cargo[1], 0, 1, 2)
    setting = "spool_bytes" if kind == "total" else f"spool_{kind}_bytes"
    with pytest.raises(LimitReached, match=setting):
        add(spool, cargo[2], 0)
    spool.fail(cargo[0], "it ended")
    add(spool, cargo[2], 0)
    if kind != "total":
        others = {"project": "q", "site": "c"}
        add(spool, spool.begin("job-2", ID, size, to, "c", **others), 0, 1, 2, 3)


def test_an_upload_waits_for_room_and_fails_with_the_limits_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        spool = make(tmp_path, job=4 * FRAME)
        first, second = begin(spool, 4), begin(spool, 1, id=OTHER)
        add(spool, first, 0, 1, 2, 3)
        writing = asyncio.create_task(spool.write(second, frame(0), FRAME))
        await asyncio.sleep(0.02)
        assert not writing.done()
        spool.fail(first, "it ended")
        await writing
        monkeypatch.setattr(module, "_PATIENCE", 0.0)
        third = begin(spool, 4)
        add(spool, third, 0, 1, 2)
        with pytest.raises(LimitReached, match="spool_job_bytes"):
            await spool.write(third, frame(3), FRAME)
        assert third.failed
        add(spool, second)  # the other one is as it was

    run(test)


def test_who_has_less_than_an_equal_part_is_not_kept_out_by_who_has_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_REST_SECONDS", 0.05)
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.02)

    async def test() -> None:
        spool = make(tmp_path, total=8 * FRAME)
        hogs = [begin(spool, 4, id=bytes([n]) * 16, job="job-1", to=("a",)) for n in range(2)]
        for hog in hogs:
            add(spool, hog, 0, 1, 2, 3)
        late = begin(spool, 4, job="job-2")
        await spool.write(late, frame(0), FRAME)
        assert [bool(hog.failed) for hog in hogs] == [True, False]  # as much as it takes
        for number in (1, 2, 3):
            await spool.write(late, frame(number), FRAME)
        spool.end(late)

    run(test)


def test_cargo_in_crumbs_is_refused(tmp_path: Path) -> None:
    spool = make(tmp_path)
    cargo = begin(spool, 10)
    for number in range(16):
        spool.append(cargo, bytes([number]), 1)
    with pytest.raises(InvalidMessage, match="small pieces"):
        spool.append(cargo, b"x", 1)


def test_a_peer_may_not_use_up_the_gateways_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_OF_A_SENDER", 5)
    spool = make(tmp_path)
    for number in range(5):
        spool.begin("job-1", number.to_bytes(16, "big"), 0, frozenset({"a"}), "site-1")
    with pytest.raises(Unavailable, match="too many"):
        spool.begin("job-1", ID, 0, frozenset({"a"}), "site-1")
    spool.begin("job-1", ID, 0, frozenset({"a"}), "site-2")


def test_what_nobody_fetches_makes_room_when_it_is_needed_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = make(tmp_path, total=5 * FRAME)
    cargo = begin(spool, 3)
    add(spool, cargo, 0, 1, 2)
    spool.end(cargo)
    monkeypatch.setattr(module, "_STALE_SECONDS", -1.0)

    async def test() -> None:
        await spool.write(begin(spool, 2, id=OTHER), frame(0), FRAME)
        assert not cargo.failed
        other = begin(spool, 2, id=b"n" * 16)
        for number in range(2):
            await spool.write(other, frame(number), FRAME)
        assert cargo.failed

    run(test)


def test_a_job_that_is_over_is_forgotten_in_the_middle_of_its_transfers(tmp_path: Path) -> None:
    async def test() -> None:
        spool = make(tmp_path)
        cargo, other = begin(spool), begin(spool, job="job-2")
        add(spool, cargo, 0, 1)
        stream = spool.read("job-1", ID, "a", 0, patience=1)
        await anext(stream)
        spool.forget_job("job-1")
        with pytest.raises(Unavailable, match="over"):
            await anext(stream)
        with pytest.raises(Unavailable, match="over"):
            add(spool, cargo, 2)
        with pytest.raises(Unavailable, match="over"):
            spool.end(cargo)
        add(spool, other, 0)

    run(test)


def test_a_recycled_file_shows_nothing_of_the_cargo_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WINDOW_BYTES", 0)  # read from the disk

    async def test() -> None:
        spool = make(tmp_path)
        first = begin(spool, to=("a",))
        fd = first.fd
        for number in range(4):
            spool.append(first, frame(number, b"S"), FRAME)
        spool.end(first)
        spool.taken("job-1", ID, "a")
        second = begin(spool, 2, job="job-2", to=("z",))
        assert second.fd == fd
        spool.append(second, frame(7, b"n"), FRAME)
        spool.append(second, frame(8, b"n"), FRAME)
        spool.end(second)
        got = [f async for f in spool.read("job-2", ID, "z", 0, patience=1)]
        assert got == [frame(7, b"n"), frame(8, b"n")]

    run(test)


def test_files_of_the_spool_have_no_name_that_anybody_could_open(tmp_path: Path) -> None:
    spool = make(tmp_path)
    add(spool, begin(spool), 0)
    assert list((tmp_path / "spool").iterdir()) == []
    assert (tmp_path / "spool").stat().st_mode & 0o077 == 0


def test_closing_gives_back_every_descriptor(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    async def test() -> None:
        spool = make(tmp_path)
        for number in range(8):
            cargo = begin(spool, id=number.to_bytes(16, "big"), to=("a",))
            add(spool, cargo, 0)
            if number % 2:
                spool.fail(cargo, "x")
        spool.close()

    run(test)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
