"""What a child may write, and what its parent sees of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedgate.codes import Code
from fedgate.errors import InvalidMessage, WorkloadFailed
from fedgate.notice import Notice
from fedgate_gateway.child import scratch
from fedgate_gateway.child.scratch import Scratch, used
from fedgate_gateway.child.wire import Message

MIB = 1 << 20


def in_memory() -> Scratch:
    return Scratch(Path("/nowhere"), MIB, in_memory=True)


def test_bytes_are_counted_at_any_depth_and_links_are_not_followed(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(bytes(MIB))
    (tmp_path / "all").symlink_to("/usr", target_is_directory=True)
    assert MIB <= used([tmp_path], 1 << 40) < MIB + 100_000
    assert used([tmp_path / "not there"], 1 << 40) == 0


def test_a_file_with_holes_counts_what_it_holds(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    assert used([tmp_path], 1 << 50) < 100_000


def test_a_flood_of_empty_files_counts_and_counting_stops_where_it_is_enough(
    tmp_path: Path,
) -> None:
    for number in range(300):
        (tmp_path / str(number)).touch()
    assert used([tmp_path], 1 << 40) >= 300 * 4096
    assert used([tmp_path], 10_000) < 20_000


def test_a_folder_in_memory_is_seen_by_the_descriptor_that_the_child_shows(tmp_path: Path) -> None:
    (tmp_path / "model.npy").write_text("weights")
    folder = in_memory()
    assert folder.expected
    assert not folder.path.exists()
    folder.take(Message({"t": "scratch"}, fd=os.open(tmp_path, os.O_PATH)))
    assert [path.name for path in folder.path.iterdir()] == ["model.npy"]
    shown = folder.path
    folder.wipe()
    assert not shown.exists()


@pytest.mark.parametrize("header", ["ready", "part", "failed"])
def test_a_child_that_says_something_else_first_is_not_listened_to(header: str) -> None:
    with pytest.raises(InvalidMessage):
        in_memory().take(Message({"t": header}))


def test_nothing_but_a_folder_is_taken_and_only_once(tmp_path: Path) -> None:
    folder = in_memory()
    (tmp_path / "file").touch()
    with (tmp_path / "file").open() as file, pytest.raises(InvalidMessage):
        folder.take(Message({"t": "scratch"}, fd=file.fileno()))
    with pytest.raises(InvalidMessage):
        folder.take(Message({"t": "scratch"}))
    folder.take(Message({"t": "scratch"}, fd=os.open(tmp_path, os.O_PATH)))
    again = os.open("/", os.O_PATH)
    with pytest.raises(InvalidMessage):
        folder.take(Message({"t": "scratch"}, fd=again))
    os.close(again)
    folder.wipe()


def test_of_a_shared_folder_only_what_is_added_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "_LOOK", 0.05)
    mine, shared = tmp_path / "mine", tmp_path / "shared"
    for folder in (mine, shared):
        folder.mkdir()
    (shared / "of the owner").write_bytes(bytes(3 * MIB))

    async def go() -> None:
        watched = asyncio.create_task(
            Scratch(mine, 2 * MIB, in_memory=False, shared=shared).outgrown()
        )
        await asyncio.sleep(0.3)
        assert not watched.done()
        (shared / "of the worker").write_bytes(bytes(3 * MIB))
        assert await asyncio.wait_for(watched, 60)

    asyncio.run(go())


@pytest.mark.e2e
def test_a_worker_that_shows_a_folder_is_ended(impostor: Callable[..., Any]) -> None:
    """Only a coordinator in a sandbox has one to show, and only its own first message may."""

    async def go() -> object:
        code = "say({'t': 'scratch'}, fd=os.open('/', os.O_PATH)); time.sleep(60)"
        return await impostor(code).end()

    assert isinstance(asyncio.run(go()), InvalidMessage)


@pytest.mark.e2e
def test_a_worker_that_fills_its_folders_is_ended_with_the_reason(
    impostor: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "_LOOK", 0.05)
    code = "open('rubbish', 'wb').write(bytes(3 << 20)); time.sleep(60)"

    async def go() -> object:
        return await impostor(code, scratch_bytes=2 * MIB).end()

    error = asyncio.run(go())
    assert isinstance(error, WorkloadFailed)
    assert "the worker wrote more than it may" in str(error)
    assert error.notice == Notice(Code.SCRATCH_FULL, {"bytes": 2 * MIB})
