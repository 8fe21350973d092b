"""A result that cannot get out fails its task at once: nobody waits for the task's deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from fedgate.codes import Code
from fedgate.errors import FedgateError
from fedgate.notice import Notice
from fedgate.task import Failure, Result
from fedgate_gateway.child import notes
from fedgate_gateway.link import cargo
from fedgate_gateway.link.packet import INLINE_MODEL, Packet
from fedgate_gateway.sealed import LetterKind, SessionKeys
from fedgate_gateway.site.egress import Egress


class Site:
    """An egress whose session records what is posted, and whose guard does what it is told."""

    def __init__(self, check: Callable[..., None] = lambda *_: None) -> None:
        self.posted: list[tuple[LetterKind, bytes]] = []
        self.reported: list[tuple[str, Notice]] = []
        self.released = 0
        keys = SessionKeys.derive(
            b"s" * 32, b"t" * 32, session=b"i" * 16, job="job-1", site="a", enclave="e"
        )
        self.channel: Any = SimpleNamespace(keys=keys, broken=None, post=self._post)
        guard: Any = SimpleNamespace(check_result=check)
        link: Any = SimpleNamespace()
        self.egress = Egress(
            "job-1", "a", guard=guard, link=link, channel=lambda: self.channel,
            report=lambda kind, notice, **_: self.reported.append((kind, notice)),
            tell=lambda _text: None, on_flood=lambda _error: None, known=(),
        )  # fmt: skip

    def _post(self, kind: LetterKind, body: bytes, *, cargo: Any = ()) -> None:
        self.posted.append((kind, body))

    def _release(self) -> None:
        self.released += 1

    async def answer(self, model: bytes | None = None) -> None:
        result = Result("t1", "a")
        part = None if model is None else SimpleNamespace(view=memoryview(model))
        incoming: Any = SimpleNamespace(
            note=notes.result_note(result), model=part, release=self._release
        )
        self.egress.result(incoming, result)
        await self.egress.settled()
        assert self.released == 1
        self.egress.close()

    def failures(self) -> list[tuple[str, Failure, str]]:
        told = []
        for kind, body in self.posted:
            if kind is LetterKind.RESULT:
                result = notes.read_result(bytes(Packet.read(body, ()).note), None)  # type: ignore[arg-type]
                if result.error is not None:
                    told.append((result.task, result.error.failure, result.error.reason))
        return told


def run(test: Any) -> None:
    asyncio.run(asyncio.wait_for(test, 10))


@pytest.mark.parametrize("model", [None, b"small", bytes(INLINE_MODEL + 1)])
def test_a_guard_that_fails_lets_nothing_out_and_says_so(model: bytes | None) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("Patient 17")

    site = Site(fail)
    run(site.answer(model))
    ((task, failure, reason),) = site.failures()
    assert (task, failure) == ("t1", Failure.REFUSED)
    assert "Patient" not in reason
    assert site.reported == [("egress.refused", Notice(Code.INTERNAL))]
    assert len(site.posted) == 1


def test_a_model_that_finds_no_memory_fails_its_task(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        site = Site()

        def take(_size: int) -> Any:
            raise OSError("no memory")

        monkeypatch.setattr(site.egress._snapshots, "take", take)
        await site.answer(b"model")
        assert [f[:2] for f in site.failures()] == [("t1", Failure.REFUSED)]

    run(test())


def test_what_cannot_be_sealed_fails_its_task(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        site = Site()
        taken, real = iter([True]), site.channel.post

        def post(*args: Any, **more: Any) -> None:
            if next(taken, False):
                raise ValueError("whatever")
            real(*args, **more)

        site.channel.post = post
        await site.answer(b"model")
        ((task, failure, reason),) = site.failures()
        assert (task, failure) == ("t1", Failure.UNAVAILABLE)
        assert reason == Notice(Code.INTERNAL).sentence

    run(test())


def test_an_upload_that_fails_in_an_unknown_way_is_said_to_be_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def upload(*_: Any, **__: Any) -> None:
        raise KeyError("whatever")

    monkeypatch.setattr(cargo, "upload", upload)

    async def test() -> None:
        site = Site()
        await site.answer(bytes(INLINE_MODEL + 1))
        assert [kind for kind, _ in site.posted] == [LetterKind.RESULT, LetterKind.CONTROL]
        assert b"gone" in site.posted[1][1]

    run(test())


def test_a_refusal_of_the_guard_is_its_own_words() -> None:
    def refuse(*_: Any) -> None:
        raise FedgateError("no", notice=Notice(Code.GUARD_FINITE))

    site = Site(refuse)
    run(site.answer())
    assert "guard.finite" in site.failures()[0][2]
    assert site.reported == [("egress.refused", Notice(Code.GUARD_FINITE))]
