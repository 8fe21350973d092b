"""An enclave collects files once a job has succeeded, and takes none that it did not ask for."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from fedgate.codes import Code
from fedgate.errors import Denied, InvalidMessage, Unavailable
from fedgate.notice import Notice
from fedgate_gateway.config import Release
from fedgate_gateway.enclave import site_files as module
from fedgate_gateway.enclave.job_log import JobLog
from fedgate_gateway.enclave.release import ReleaseGate
from fedgate_gateway.enclave.site_files import SiteFiles
from fedgate_gateway.link.control import read_control, write_files, write_kept
from fedgate_gateway.sealed import BoxFacts, CargoKey, CargoSealer, IdentityKey

JOB = "job-1"
OPEN = Release(site_files="one-site-sealed", site_file_bytes=2000)


class Bench:
    """Two sites, their sessions and arrivals, the gateway behind the gate, and the log."""

    def __init__(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rules: Release = OPEN
    ) -> None:
        self.out: dict[str, tuple[bytes, BoxFacts]] = {}
        self.audit: list[tuple[str, str]] = []
        self.asked: list[str] = []
        self.log = JobLog(lambda _line: None)
        self.plain: dict[bytes, bytes] = {}
        self.gate = ReleaseGate(
            self, JOB, "b", "r", rules, b"", IdentityKey.generate(), BoxFacts(),  # type: ignore[arg-type]
        )  # fmt: skip
        monkeypatch.setattr(self.gate, "_put", self._put)
        monkeypatch.setattr(module.cargo, "keep", self._keep)
        self.files = SiteFiles(
            JOB, link=self, sessions=self, reports=self, log=self.log,  # type: ignore[arg-type]
            arrivals=lambda _site: self,  # type: ignore[arg-type, return-value]
            recipient="", folder=tmp_path / "kept",
        )  # fmt: skip

    async def _put(
        self, kind: str, data: memoryview, how: str, *, name: str, facts: BoxFacts
    ) -> None:
        assert (kind, how) == ("site_files", "sealed")
        self.out[name] = (bytes(data), facts)

    async def _keep(self, _link: Any, job: str, kept: Any) -> None:
        plain = self.plain[kept.key.id]
        sealed = CargoSealer(kept.key, job).seal_chunk(0, plain)
        kept.add(0, memoryview(sealed), memoryview(plain))

    async def bring(self, key: CargoKey, take: Any) -> Any:
        return await take(key, False)

    def get(self, site: str) -> Any:
        """A site's session, whose channel notes what is posted."""
        bench = self

        class Channel:
            channel: Any = None

            def post(self, _kind: Any, body: bytes) -> None:
                assert read_control(body)[0] == "collect"
                bench.asked.append(site)

        Channel.channel = Channel()
        return Channel() if site != "gone" else None

    def site_files_released(self, site: str, size: int, *, whole: bool, recipient: str) -> None:
        self.audit.append(("released", f"{site} {size} {whole}"))

    def site_files_lost(self, site: str, notice: Notice) -> None:
        assert notice.code is Code.FILES_LOST
        self.audit.append(("lost", site))

    def answers(self, site: str, plain: bytes) -> None:
        key = CargoKey.generate(len(plain))
        self.plain[key.id] = plain
        self.heard(site, write_files(key, whole=True))

    def heard(self, site: str, body: bytes) -> None:
        self.files.heard(site, *read_control(body))

    def collect(self, *sites: str, then: Any) -> None:
        async def go() -> None:
            work = asyncio.ensure_future(self.files.collect(sites, self.gate))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            then()
            await work

        asyncio.run(go())


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_each_sites_files_go_by_themselves_and_their_box_says_whose(bench: Bench) -> None:
    def then() -> None:
        bench.answers("a", b"archive of a")
        bench.heard("b", write_kept(Notice(Code.FILES_NOT_PERMITTED, {"files": 4})))

    bench.collect("a", "b", "gone", then=then)
    assert bench.asked == ["a", "b"]
    assert bench.out == {"site-files.a.zip": (b"archive of a", BoxFacts(cohort=("a",)))}
    assert bench.audit == [("released", "a 12 True")]
    assert b"b: the site keeps the files" in bench.log.read(10_000)


def test_files_that_nobody_asked_for_end_the_session(bench: Bench) -> None:
    with pytest.raises(Denied) as refused:
        bench.answers("a", b"archive of a")
    assert refused.value.notice == Notice(Code.FILES_UNASKED)
    with pytest.raises(Denied):
        bench.heard("a", write_kept(None))
    assert bench.out == {}


@pytest.mark.parametrize("rules", [Release(), OPEN.model_copy(update={"site_file_bytes": 11})])
def test_the_gate_lets_out_what_the_project_says_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rules: Release
) -> None:
    """Whatever went before: it goes by the project file that this enclave holds."""
    bench = Bench(tmp_path, monkeypatch, rules)
    bench.collect("a", then=lambda: bench.answers("a", b"archive of a"))
    assert bench.out == {}
    assert bench.audit == [("lost", "a")]
    with pytest.raises(Denied):
        asyncio.run(bench.gate.site_files("a", memoryview(b"archive of a")))


def test_a_site_that_goes_costs_its_own_files_alone(bench: Bench) -> None:
    def then() -> None:
        bench.files.lost("a")
        bench.answers("a", b"too late")
        bench.answers("b", b"archive of b")

    bench.collect("a", "b", then=then)
    assert list(bench.out) == ["site-files.b.zip"]
    assert sorted(bench.audit) == [("lost", "a"), ("released", "b 12 True")]


def test_a_cancelled_job_releases_no_more(bench: Bench) -> None:
    with pytest.raises(Unavailable, match="cancelled"):
        bench.collect("a", then=lambda: bench.files.stop(Unavailable("cancelled")))
    assert bench.out == {}
    with pytest.raises(Unavailable, match="cancelled"):
        bench.collect("a", then=lambda: None)


def test_an_answer_that_is_none_is_refused(bench: Bench) -> None:
    def then() -> None:
        for what, fields in (("files", {}), ("files", {"key": b"x", "whole": 1}), ("kept", {})):
            with pytest.raises(InvalidMessage):
                bench.files.heard("a", what, fields)
        bench.heard("a", write_kept(None))

    bench.collect("a", then=then)
    assert bench.out == {}
