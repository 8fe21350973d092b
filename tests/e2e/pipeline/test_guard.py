"""A submitter who wrote both sides of a job, and wants the sites' files: nothing but numbers in the
shape of the model that was sent leaves, whatever kind of task the coordinator calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedgate.bundle import pack_files
from fedgate.codes import Code
from fedgate.errors import Denied

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
#: A coordinator of its own, inside the plain framework: it chooses kinds, and keeps what comes.
_THIEF = r'''
import inspect
import numpy as np
from fedgate import Model, Result, Task, TaskKind
from fedgate_plain import adapter

ROWS = b"Muster,1971,C50.9\n" * 400
BLOB = np.frombuffer(ROWS, np.uint8)
SENT = {"w": np.ones(3, np.float32)}
#: What is tried: kind of the task, and what the worker answers.
TRIES = {
    "a file in an evaluation": ("evaluate", dict(arrays={"csv": BLOB.astype(np.float32)})),
    "the model in an evaluation": ("evaluate", dict(arrays=SENT)),
    "a file in an answer": ("query", dict(arrays={"csv": BLOB.astype(np.float32)})),
    "a file as bytes": ("train", dict(arrays={"w": BLOB})),
    "a tensor more": ("train", dict(arrays={**SENT, "csv": BLOB.astype(np.float32)})),
    "a larger tensor": ("train", dict(arrays={"w": BLOB.astype(np.float32)})),
    "a file in a custom task": ("custom", dict(arrays={"csv": BLOB.astype(np.float32)})),
    "a file in the body": ("evaluate", dict(body=ROWS * 20)),
    "rows as names of metrics": ("evaluate", dict(metrics={f"m{n}": 1.0 for n in range(1000)})),
    "a row as a name": ("train", dict(metrics={"Muster,1971": 1.0})),
    "a row as examples": ("train", dict(examples=1 << 60)),
    "an honest update": ("train", dict(arrays=SENT, metrics={"loss": 1.0}, examples=3)),
    "an honest score": ("evaluate", dict(metrics={"score": 1.0}, examples=3)),
}

def initial(config):
    """Called by the framework's coordinator, whose federation it takes."""
    federation = inspect.currentframe().f_back.f_locals["federation"]
    sites = [s.name for s in federation.sites()]
    for round, (what, (kind, _)) in enumerate(TRIES.items(), 1):
        results = list(federation.dispatch(
            Task(f"{round}-{site}", site, TaskKind(kind), round, what, Model.from_numpy(SENT))
            for site in sites
        ))
        whys = {r.error.reason for r in results if r.error}
        print("TRIED", what, "->", sum(r.ok for r in results), whys, flush=True)
    return SENT

def handle(self, task):
    said = dict(TRIES[task.name or "an honest update"][1])
    if task.kind is TaskKind.EVALUATE and not task.name:
        said = dict(metrics={"score": 1.0})
    arrays = said.pop("arrays", None)
    return Result(task.id, task.site, None if arrays is None else Model.from_numpy(arrays), **said)

adapter.PlainWorker.handle = handle
'''
RULES = {
    "a file in an evaluation": "guard.evaluate.arrays",
    "the model in an evaluation": "guard.evaluate.arrays",
    "a file in an answer": "guard.query.arrays",
    "a file as bytes": "guard.train.arrays",
    "a tensor more": "guard.train.arrays",
    "a larger tensor": "guard.train.arrays",
    "a file in a custom task": "guard.custom.arrays",
    "a file in the body": "guard.evaluate.body_bytes",
    "rows as names of metrics": "guard.evaluate.metrics",
    "a row as a name": "guard.train.metrics",
    "a row as examples": "guard.train.metrics",
}


def thief(**more: str) -> bytes:
    text = 'name = "thief"\nmodule = "work.py"\nrounds = 1\n' + "".join(more.values())
    return pack_files({"plain.toml": text.encode(), "work.py": _THIEF.encode()})


@pytest.fixture(scope="module")
def bench(federation: Any, bench_of: Callable[[Any], Any]) -> Any:
    """What `fedgate dev` writes, as it is."""
    return bench_of(federation)


def test_nothing_leaves_in_another_kind_dtype_shape_or_place(bench: Any, opened_log: Any) -> None:
    job = bench.submit(thief())
    told = bench.wait(job)
    assert told["state"] == "succeeded", told
    printed = opened_log(bench.federation, job)
    tried = dict(line[6:].split(" -> ") for line in printed.splitlines() if line[:6] == "TRIED ")
    assert {what: said for what, said in tried.items() if what not in RULES} == {
        "an honest update": "2 set()",
        "an honest score": "2 set()",
    }
    for what, rule in RULES.items():
        assert tried[what].startswith("0 "), (what, tried[what])
        assert f'by {rule}"' in tried[what], (what, tried[what])
    refused = bench.audit(job, "egress.refused")
    assert len(refused) == 2 * len(RULES)
    assert "csv" not in str(refused)
    assert "Muster" not in str(refused)
    logs = [p.read_text() for p in bench.folder.rglob("*.log") if job in p.name]
    assert any("'csv' is" in text for text in logs)  # the owner reads all of it


def test_who_needs_more_says_so_and_is_refused_with_the_line_that_would_allow_it(
    bench: Any,
) -> None:
    with pytest.raises(Denied) as refused:
        bench.submit(thief(guard="guard = ['evaluate.arrays = \"unchecked\"']\n"))
    assert 'site-1: [guard.evaluate] arrays = "unchecked"' in refused.value.why
    assert "site.toml" in refused.value.remedy


#: Leaves files at its site: results, and what it would like to take along or to fill it with.
_LEAVES = r"""
from pathlib import Path
import numpy as np

def initial(config):
    return {"w": np.ones(3, np.float32)}

def train(model, data, config):
    return model, 1, {"loss": 1.0}

def evaluate(model, data, config):
    site = Path(data["numbers"]).stem
    with open("huge", "wb") as file:  # which costs nothing, and would fill any disk
        file.truncate(100 << 30)
    Path("psi").mkdir()
    Path("psi/common.csv").write_text("Muster,1971,C50.9\n" * 100)
    Path("Patient Muster.txt").write_text(site)
    Path("numbers").symlink_to(data["numbers"])
    (Path.cwd().parent / "beside").write_text("Muster")
    if site == "site-2":  # more than its owner lets go
        for number in range(100):
            Path(f"{number}.txt").touch()
    return 1, {"score": 1.0}
"""


def leaves() -> bytes:
    toml = b'name = "leaves"\nmodule = "work.py"\nrounds = 1\n'
    return pack_files({"plain.toml": toml, "work.py": _LEAVES.encode()})


def files(bench: Any, job: str) -> dict[str, tuple[str, str]]:
    """State and code of each site's, as `job show` and whoever watches are told."""
    found = [e for e in bench.events(job, "site-state") if e["state"].startswith("files-")]
    shown = {s["site"]: s["state"] for s in bench.federation.client.job(job)["sites"]}
    assert shown == {e["site"]: e["state"] for e in found}
    return {e["site"]: (e["state"], e.get("code", "")) for e in found}


def test_files_left_at_a_site_go_to_the_submitter_alone_and_only_as_its_owner_says(
    bench: Any, tmp_path: Path
) -> None:
    job = bench.submit(leaves(), datasets=["numbers"], site_files=True)
    told = bench.wait(job)
    assert told["state"] == "succeeded", told
    bench.until(lambda: len(bench.audit(job, "site-files.kept")) == 1)
    assert files(bench, job) == {
        "site-1": ("files-released", Code.FILES_LEFT_OUT),  # the huge one
        "site-2": ("files-kept", Code.FILES_NOT_PERMITTED),
    }
    (site_2,) = [s for s in bench.federation.client.job(job)["sites"] if s["site"] == "site-2"]
    assert "its owner's policy, at most so many: 128" in site_2["why"]
    assert bench.site_files(job, tmp_path) == {
        "site-1": {
            "psi/common.csv": b"Muster,1971,C50.9\n" * 100,
            "Patient Muster.txt": b"site-1",
        }
    }
    # Everybody reads in the log that it was one site's, and nobody what it was.
    (output,) = [e["data"] for e in bench.audit(job, "job.output") if "site" in e["data"]]
    assert (output["kind"], output["site"], output["sealed"]) == ("site_files", "site-1", True)
    (entry,) = bench.audit(job, "site-files.released")
    assert entry["data"]["site"] == "site-1"
    gateway = bench.federation.layout.state("gateway")
    kept = b"".join(p.read_bytes() for p in gateway.rglob("*") if p.is_file())
    assert b"Muster" not in kept
    assert b"common.csv" not in kept
