"""No text and no number that a workload chooses is anywhere at the gateway in clear.

Workloads of every framework plant words, numbers and weights in whatever they can influence, at
coordinator and sites, while all is well and in every way to fail. What the gateway received, keeps,
shows, logs and has in its memory is searched for them; so are log and disk of the enclave. With
encryption switched off the same search finds them, so it could have.
"""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
WORKLOADS = Path(__file__).parent / "workloads"
LARGE = 300_000  # numbers: 1.2 MB are cargo of two chunks
#: Job -> how it ends.
ENDS = {
    "plain": "succeeded", "plain badly": "failed", "flower": "succeeded", "flower badly": "failed",
    "flare": "succeeded", "flare badly": "failed",
}  # fmt: skip


#: Places that the workloads name in a word of their own, and some that they put together.
WRITTEN = {
    place
    for file in WORKLOADS.glob("*.py")
    for place in re.findall(r"""\bword\("([^"]+)"\)""", file.read_text())
}
SAID = {
    f"{place} {what}"
    for place, whats in {
        "plain site": ("exception cause", "key", "exit", "beyond", "thread text", "record",
                       "result's name", "content"),
        "plain coordinator": ("error code", "message", "thread text", "errors", "record"),
        "flower client": ("exception class", "key", "exit", "beyond", "last words", "record"),
        "flower server": ("exit", "thread text", "record"),
        "flare site": ("exception note", "key", "record"),
        "flare server": ("exception module", "thread text", "record"),
        "flare constructor": ("exception text",),
    }.items()
    for what in whats
}  # fmt: skip


def start(bench: Any, workloads: Any) -> dict[str, str]:
    plain, flower, flare = (workloads[name] for name in ("plain", "flower", "flare"))
    return {
        "plain": bench.submit(plain("well", rounds=9, size=LARGE, pause=8), task_seconds=6.0),
        "plain badly": bench.submit(plain("badly", rounds=9)),
        "flower": bench.submit(flower()),
        "flower badly": bench.submit(flower(), config={"ends": "badly"}),
        "flare": bench.submit(flare("well")),
        "flare badly": bench.submit(flare("badly")),
    }


def one_site_is_enough(folder: Path) -> None:
    for file in (*folder.glob("projects/*.toml"), folder / "gateway.toml"):
        file.write_text(file.read_text().replace("minimum_cohort = 2", "minimum_cohort = 1"))
    for file in folder.glob("policies/site-*.cedar"):
        rule = "context.release.minimum_cohort >= 2"
        file.write_text(file.read_text().replace(rule, "true"))
    for config in folder.glob("*.toml"):
        if config.name.startswith(("site-", "enclave-")):
            config.write_text("max_jobs = 8\n" + config.read_text())


def planted_at(bench: Any, job: str, log: str) -> set[str]:
    """Where the workload says that it has planted something."""
    federation = bench.federation
    files = [federation.layout.state(site) / "logs" / f"{job}.log" for site in federation.sites]
    texts = [log, *(file.read_text() for file in files)]
    return {found for text in texts for found in re.findall(r"planted in (.*)", text)}


def test_what_a_workload_chooses_is_nowhere_at_the_gateway(
    make_bench: Callable[..., Any],
    workloads: Any,
    search: Any,
    everything: Callable[..., dict[str, bytes]],
    opened_log: Any,
) -> None:
    bench = make_bench(
        sites=2, gateway="hostile_gateway", adapters=("plain", "flower", "flare"),
        edit=one_site_is_enough,
    )  # fmt: skip
    jobs = start(bench, workloads)
    ended = {name: bench.wait(job, 120)["state"] for name, job in jobs.items()}
    logs = {name: opened_log(bench.federation, job) for name, job in jobs.items()}
    assert ended == ENDS, {name: logs[name][-1500:] for name in ENDS if ended[name] != ENDS[name]}
    found = everything(bench, list(jobs.values()))
    hits = {where: hit for where, data in found.items() if (hit := search(data))}
    headers = (bench.folder / "recorded-headers").read_bytes()
    hits |= {f"header {name}": hit for name, hit in search(headers, short=True).items()}
    assert hits == {}
    # The workloads did all that, and the gateway was looked at as it is.
    done = set().union(*(planted_at(bench, jobs[name], log) for name, log in logs.items()))
    assert {*WRITTEN, *SAID} - done == set()
    for name in ("recorded-received", "recorded-headers", "file gateway.db", "shown: /metrics"):
        assert found[name], name
    assert any(jobs["plain"].encode() in data for name, data in found.items() if "memory" in name)
    rounds = [entry["data"]["round"] for entry in bench.audit(jobs["plain"], "round.finished")]
    assert sorted(rounds) == sorted([*range(1, 10)] * 2)  # ours, whatever the workload calls them
    for job in jobs.values():
        assert b"event: state" in found[f"shown: /api/v1/jobs/{job}/events"]
        assert bench.federation.client.job(job)["clear"] == ["metrics"]


def test_the_same_search_finds_it_where_encryption_is_switched_off(
    make_bench: Callable[..., Any],
    workloads: Any,
    search: Any,
    everything: Callable[..., dict[str, bytes]],
) -> None:
    bench = make_bench(sites=2, every="unsealed", edit=one_site_is_enough)
    job = bench.submit(workloads["plain"]("well", rounds=2, size=LARGE))
    assert bench.wait(job, 60)["state"] == "succeeded"
    found = everything(bench, [job])
    letters, received = search(found["recorded-letters"]), search(found["recorded-received"])
    assert {"text", "the number as >d", "the round as MessagePack"} <= set(letters), letters
    assert {"text", "planted model", "planted update"} <= set(received)
    released = {k for name, data in found.items() if "objects" in name for k in search(data)}
    assert {"text", "planted update"} <= released


def test_the_search_knows_every_way_to_write_it(search: Any) -> None:
    made: dict[str, Any] = {}
    exec((WORKLOADS / "plants.py").read_text(), made)
    word, number, called = made["WORD"], made["NUMBER"], made["ROUND"]
    text = f"Patient {word} has it"
    weights = made["planted"]("planted model", 300).tobytes()
    written = [
        text.encode(), text.upper().encode(), text.encode().hex().encode(), weights[5:60],
        *(text.encode(f"utf-{n}-{order}") for n in (16, 32) for order in ("le", "be")),
        *(base64.b64encode(text[n:].encode()) for n in range(3)),
        json.dumps({"a": float(number)}).encode(), b"%x" % number, b"%d" % (called + 3),
        *(struct.pack(form, number) for form in ("<q", ">q", "<d", ">d")),
        msgpack.packb(called), msgpack.packb(float(called)),
    ]  # fmt: skip
    for data in written:
        assert search(b"\0" + data + b"\0"), data
    assert search(struct.pack(">I", called), short=True)
    assert search(b"nothing of all that" * 100, short=True) == {}
