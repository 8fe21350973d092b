"""A gateway outlives its PostgreSQL and its object store, and a job in the middle loses nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fedgate.errors import Unavailable

pytestmark = [pytest.mark.e2e, pytest.mark.torture, pytest.mark.timeout(300)]
SECONDS = 11.0


@pytest.fixture(scope="module")
def bench(make_bench: Callable[..., Any], postgresql: Any, s3: Any) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3.environment.items():
            patch.setenv(name, value)
        settings = f'database = "{postgresql.url}"\nobjects = "{s3.url}"\n'
        yield make_bench(sites=2, settings=settings)


def trained(bench: Any, job: str) -> list[int]:
    """Rounds in the log, in which both sites answered."""
    found = [entry["data"] for entry in bench.audit(job, "round.finished")]
    return [e["round"] for e in found if e["task"] == "train" and not e["failed"]]


def said(bench: Any, words: str) -> int:
    return bench.federation.programs["gateway"].log.read_text().count(words)


def healthy(bench: Any) -> bool:
    url = bench.federation.client._http.base_url
    return bool(httpx.get(f"{url}/healthz", verify=False, timeout=10).is_success)


def test_without_its_database_for_11_seconds_no_round_is_lost(
    bench: Any, postgresql: Any, make_noise: Any, fedgate: Any, tmp_path: Path
) -> None:
    rounds = 60
    archive, weights = make_noise(rounds, pause=0.25)
    pid = bench.federation.programs["gateway"].pid
    job = bench.submit(archive, min_sites=2)
    bench.until(lambda: len(trained(bench, job)) > 3)
    before = len(trained(bench, job))
    postgresql.kill()
    bench.until(lambda: not bench.federation.client.ready())
    time.sleep(SECONDS)
    assert healthy(bench)
    postgresql.start()
    bench.until(bench.federation.client.ready)
    assert bench.job(job)["state"] == "running"
    told = bench.wait(job, 120)
    assert told["state"] == "succeeded", told
    bench.until(lambda: len(trained(bench, job)) == rounds)
    assert trained(bench, job) == list(range(1, rounds + 1)), before
    assert bench.weights(job, tmp_path).tobytes() == weights.tobytes()
    assert len(bench.audit(job, "session.opened")) == 2, "nobody came anew"
    assert bench.audit(job, "site.lost") == []
    assert bench.federation.programs["gateway"].pid == pid
    assert bench.federation.programs["gateway"].alive
    assert (said(bench, "the database does not answer"), said(bench, "answers again")) == (1, 1)
    assert (said(bench, "Traceback"), said(bench, " ERROR ")) == (0, 0)
    exported = tmp_path / "log.jsonl"
    profile = bench.federation.profile_path
    assert fedgate(profile, "audit", "export", exported).code == 0
    assert fedgate(profile, "audit", "verify", exported).code == 0


def test_without_its_object_store_a_job_trains_and_releases_once_it_is_back(
    bench: Any, s3: Any, make_noise: Any, tmp_path: Path
) -> None:
    again = said(bench, "answers again")
    archive, weights = make_noise(3, pause=0.5)
    job = bench.submit(archive, min_sites=2)
    bench.until(lambda: trained(bench, job))
    s3.stop()
    bench.until(lambda: not bench.federation.client.ready())
    bench.until(lambda: len(trained(bench, job)) == 3)
    with pytest.raises(Unavailable, match="the object store does not answer"):
        bench.submit(make_noise(4)[0])
    time.sleep(SECONDS)  # longer than the enclave needs to hand over what it releases
    assert healthy(bench)
    assert bench.job(job)["state"] == "running"
    s3.start()
    told = bench.wait(job)
    assert told["state"] == "succeeded", told
    bench.until(bench.federation.client.ready)
    assert bench.weights(job, tmp_path).tobytes() == weights.tobytes()
    told = said(bench, "the object store does not answer"), said(bench, "answers again") - again
    assert told == (1, 1)
    assert said(bench, "Traceback") == 0
