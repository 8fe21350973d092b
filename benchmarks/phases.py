"""Where the time of a round goes: a run with functions timed inside every process.

The coordinator hands out tasks (*down*), workers answer (*work*), results come back (*up*), and
the coordinator does the rest of its round (*coordinator*). Within these, seconds are summed over
what is timed: they overlap where processes work at the same time, which is the point of the design.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import ours
from benchmarks.work import Run, Work

PROBE = Path(__file__).parent / "probe"


@dataclass(frozen=True)
class Note:
    """One timed call in one process."""

    name: str
    begin: float
    seconds: float
    process: str

    @property
    def end(self) -> float:
        return self.begin + self.seconds


@contextlib.contextmanager
def probing(folder: Path) -> Iterator[dict[str, str]]:
    """Programs started inside are timed; yields what their children need."""
    folder.mkdir(parents=True)
    wanted = {"PYTHONPATH": str(PROBE), "FEDGATE_PROBE": str(folder)}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield wanted
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def measure(work: Work, folder: Path) -> dict[str, float]:
    """Phase -> median seconds a round. Children run unsandboxed, so that they can write notes."""
    notes = folder / "notes"
    with (
        probing(notes) as environment,
        ours.federation(folder, sandbox="process", environment=environment) as made,
    ):
        run = ours.run(work, folder, made)
    return analyse(run, read(notes))


def read(folder: Path) -> list[Note]:
    found = []
    for path in folder.glob("*.jsonl"):
        for line in path.read_text().splitlines():
            name, begin, seconds = json.loads(line)
            found.append(Note(name, begin, seconds, path.stem))
    return sorted(found, key=lambda note: note.begin)


def analyse(run: Run, notes: list[Note]) -> dict[str, float]:
    """The medians over all rounds but the first, which pays for fresh memory."""
    rounds = list(zip(run.stamps, run.stamps[1:], strict=False))[1:]
    series: dict[str, list[float]] = defaultdict(list)
    for begin, end in rounds:
        inside = [note for note in notes if begin <= note.begin < end]
        for phase, seconds in one_round(begin, end, inside).items():
            series[phase].append(seconds)
    return {phase: statistics.median(values) for phase, values in series.items()}


def one_round(begin: float, end: float, notes: list[Note]) -> dict[str, float]:
    by_name: dict[str, list[Note]] = defaultdict(list)
    for note in notes:
        by_name[note.name].append(note)

    def total(name: str) -> float:
        return sum(note.seconds for note in by_name[name])

    found = {
        "round": end - begin,
        "aggregate": total("aggregate"),
        "encode": total("encode") + total("fill"),
        "decode": total("decode"),
        "seal": total("seal"),
        "witness": total("witness"),
        "open": total("open"),
    }
    # relay: what a transfer takes beyond sealing and opening, which it overlaps with
    transfers = _covered([*by_name["upload"], *by_name["download"]])
    found["transfers (wall)"] = transfers
    sent = [note.end for note in by_name["to-parent:task"]]
    back = [note.begin for note in by_name["deliver"]]
    if sent and back:
        waiting = _waiting(sent, back)
        found["coordinator child busy (framework, encode, decode, aggregate)"] = (
            end - begin - waiting
        )
        found["coordinator child waits for sites"] = waiting
    found["worker child busy (framework, decode, encode)"] = _worker(by_name)
    return found


def _covered(spans: list[Note]) -> float:
    """Seconds in which at least one of the spans was under way."""
    covered, reached = 0.0, 0.0
    for span in sorted(spans, key=lambda s: s.begin):
        covered += max(0.0, span.end - max(span.begin, reached))
        reached = max(reached, span.end)
    return covered


def _waiting(sent: list[float], back: list[float]) -> float:
    """From the last task of each burst to the last result before the next burst."""
    moments = sorted([(t, "sent") for t in sent] + [(t, "back") for t in back])
    waiting, since, last_back = 0.0, None, None
    for moment, what in moments:
        if what == "sent":
            if since is not None and last_back is not None:
                waiting += last_back - since
                last_back = None
            since = moment
        elif since is not None:
            last_back = moment
    if since is not None and last_back is not None:
        waiting += last_back - since
    return waiting


def _worker(by_name: dict[str, list[Note]]) -> float:
    """Mean over the sites of the seconds between a task's going in and its result's coming out."""
    spans: dict[str, float] = defaultdict(float)
    for note in by_name["from-child:result"]:
        before = [
            task.begin
            for task in by_name["to-child:task"]
            if task.process == note.process and task.begin < note.begin
        ]
        if before:
            spans[note.process] += note.begin - max(before)
    return statistics.mean(spans.values()) if spans else 0.0
