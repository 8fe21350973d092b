"""Every kind of workflow on a machine that is busy with something else: the same result each time.

What a quiet run gives is compared with what FLARE's simulator gives where a job is deterministic
there. No late, early or repeated message may change a bit.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedgate_gateway.child.local import LocalRun

pytestmark = [pytest.mark.e2e, pytest.mark.torture, pytest.mark.timeout(900)]
_BUSY = "import time\nend = time.monotonic() + 850\nwhile time.monotonic() < end: pass"
_TIMES = 10
#: Those whose server gathers and averages, upstream's ScatterAndGather and its kin: so many times.
_FAMILY, _FAMILY_TIMES = {"classic", "fedavg", "scaffold", "learner"}, 50
_SWARM = (
    "aux_communication:*",
    "download_service__:*",
    "peer_context:cwf.status_reports",
)
#: Job, the frames that it needs, and what it leaves beside its model.
WORKFLOWS = {
    "classic": (
        (),
        ("models/sag.npy", "models/cyclic.npy", "cross_site_val/cross_val_results.json"),
    ),
    "fedavg": ((), ()),
    "scaffold": ((), ()),
    "evaluation": ((), ("answers.txt", "cross_site_val/cross_val_results.json")),
    "statistics": ((), ("statistics/stats.json",)),
    "learner": ((), ()),
    "ring": (_SWARM, ()),
    "swarm": (_SWARM, ()),
    "split": (("aux_communication:*", "download_service__:*"), ()),
    "metrics": (("aux_communication:fed.event",), ()),
    "hierarchical": ((), ("statistics/stats.json",)),
    "psi": ((), tuple(f"../site-{n}/site-{n}/psi/intersection.txt" for n in (1, 2, 3))),
}
#: With more sites than two, where a workflow has a part for each of its sites.
SITES = {"hierarchical": 3, "psi": 3}
#: Those whose result the simulator's own is the same as, to the last bit.
SIMULATED = {
    "classic": "models/sag.npy",
    "scaffold": "models/server.npy",
    "statistics": "statistics/stats.json",
}


@pytest.fixture
def load() -> Iterator[Callable[[], None]]:
    busy: list[subprocess.Popen[bytes]] = []
    yield lambda: busy.extend(subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(6))
    for process in busy:
        process.kill()
        process.wait()


def outcome(done: LocalRun, files: tuple[str, ...]) -> list[object]:
    """The model's bits and what is in the files; keys of JSON stand as answers came in."""
    assert done.error is None
    model = b"" if done.model is None else done.model.to_bytes()
    said = json.dumps(
        dict(done.rounds[-1].metrics), sort_keys=True
    ).encode()  # split learning's loss
    return [model or said, *(content(done.artifacts / file) for file in files)]


def content(file: Path) -> object:
    written = file.read_bytes()
    return json.loads(written) if file.suffix == ".json" else written


def record(done: LocalRun) -> list[tuple[str, list[str], list[str]]]:
    """What is written down of rounds; those that are sent at once begin in any order."""
    return sorted((str(r.kind), sorted(r.sites), sorted(r.answered)) for r in done.rounds)


@pytest.mark.parametrize("job", WORKFLOWS)
def test_the_same_result_each_time(run: Callable[..., LocalRun], load: Callable, job: str):
    frames, files = WORKFLOWS[job]
    sites = SITES.get(job, 2)
    first = run(job, frames=frames, sites=sites)
    quiet = outcome(first, files)
    assert any(quiet)
    load()
    for number in range(_FAMILY_TIMES if job in _FAMILY else _TIMES):
        again = run(job, frames=frames, sites=sites, timeout=120)
        assert outcome(again, files) == quiet, number
        assert record(again) == record(first), number


@pytest.mark.parametrize("job", SIMULATED)
def test_it_is_the_simulators(
    run: Callable[..., LocalRun], simulated: Callable[[str], Path], job: str
):
    done = run(job)
    assert done.error is None
    assert content(done.artifacts / SIMULATED[job]) == content(simulated(job) / SIMULATED[job])
