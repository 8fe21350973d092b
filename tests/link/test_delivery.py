"""What is sent stays with its sender until each receiver has it, and goes out again where lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from fedgate.errors import FedgateError, InvalidMessage, Unavailable
from fedgate_gateway.link import cargo, delivery
from fedgate_gateway.link.control import read_again, read_cargo, read_control
from fedgate_gateway.link.delivery import Deliveries, Recipient
from fedgate_gateway.sealed import CargoKey, LetterKind, SessionKeys

PLAIN = memoryview(b"p" * 100)


class Bench:
    """Two sites, and uploads that do what the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.uploads: list[tuple[CargoKey, tuple[str, ...]]] = []
        self.does: Callable[[CargoKey], Any] = lambda _key: asyncio.sleep(0)
        self.letters: dict[str, list[tuple[LetterKind, bytes]]] = {"a": [], "b": []}
        self.failed: dict[str, FedgateError] = {}
        self.wanted = {"a": True, "b": True}
        monkeypatch.setattr(cargo, "upload", self._upload)
        monkeypatch.setattr(delivery, "_PAUSE", 0.001)
        monkeypatch.setattr(delivery, "_LOOK_SECONDS", 0.02)
        self.deliveries = Deliveries("job-1", SimpleNamespace())  # type: ignore[arg-type]

    async def _upload(self, link, job, key, plain, *, receivers=(), witnesses=()) -> None:
        self.uploads.append((key, tuple(receivers)))
        for witness in witnesses:
            witness.add(b"sealed chunk")
        await self.does(key)

    def to(self, site: str) -> Recipient:
        keys = SessionKeys.derive(
            b"s" * 32, b"t" * 32, session=b"i" * 16, job="job-1", site=site, enclave="e"
        )

        def post(kind: LetterKind, body: bytes, *, cargo: Any = ()) -> None:
            self.letters[site].append((kind, body))

        channel: Any = SimpleNamespace(keys=keys, post=post, broken=None)
        return Recipient(
            site, channel,
            failed=lambda error: self.failed.setdefault(site, error),
            wanted=lambda: self.wanted[site],
        )  # fmt: skip

    def deliver(self, key: CargoKey, *sites: str) -> asyncio.Task[None]:
        return asyncio.create_task(
            self.deliveries.deliver(key, PLAIN, [self.to(s) for s in sites], shared=len(sites) > 1)
        )

    def heard(self, site: str, key: CargoKey, *, got: bool) -> None:
        self.deliveries.heard(site, key.id, got=got)

    def controls(self, site: str) -> list[tuple[str, dict[str, Any]]]:
        return [read_control(b) for kind, b in self.letters[site] if kind is LetterKind.CONTROL]

    async def nth_upload(self, number: int) -> tuple[CargoKey, tuple[str, ...]]:
        while len(self.uploads) < number:
            await asyncio.sleep(0.001)
        return self.uploads[number - 1]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def run(test: Callable[[], Any]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))


def test_it_is_kept_until_everybody_has_it(bench: Bench) -> None:
    async def test() -> None:
        key = CargoKey.generate(100)
        sending = bench.deliver(key, "a", "b")
        await bench.nth_upload(1)
        bench.heard("a", key, got=True)
        await asyncio.sleep(0.05)
        assert not sending.done()
        bench.heard("b", key, got=True)
        await sending
        assert bench.deliveries._waiting == {}
        assert [kind for kind, _ in bench.letters["a"]] == [LetterKind.CARGO]  # its witness

    run(test)


def test_only_who_lost_it_gets_it_again_under_a_fresh_key(bench: Bench) -> None:
    async def test() -> None:
        key = CargoKey.generate(100)
        sending = bench.deliver(key, "a", "b")
        await bench.nth_upload(1)
        bench.heard("a", key, got=False)
        fresh, receivers = await bench.nth_upload(2)
        assert receivers == ("a",)
        assert (fresh.id, fresh.key) != (key.id, key.key)
        ((what, fields),) = bench.controls("a")
        assert (what, read_cargo(fields), read_again(fields)) == ("again", key.id, (fresh, False))
        assert bench.controls("b") == []
        bench.heard("a", key, got=False)  # late news of the first
        bench.heard("b", fresh, got=True)  # not b's to say
        bench.heard("a", fresh, got=True)
        await asyncio.sleep(0.05)
        assert not sending.done()
        bench.heard("b", key, got=True)
        await sending

    run(test)


def test_a_broken_upload_is_made_again_for_everybody_at_once(bench: Bench) -> None:
    async def test() -> None:
        async def break_first(key: CargoKey) -> None:
            if len(bench.uploads) == 1:
                raise Unavailable("reset")

        bench.does = break_first
        sending = bench.deliver(CargoKey.generate(100), "a", "b")
        fresh, receivers = await bench.nth_upload(2)
        assert receivers == ("a", "b")
        assert [read_again(f) for _, f in bench.controls("b")] == [(fresh, True)]
        for site in "ab":
            bench.heard(site, fresh, got=True)
        await sending

    run(test)


def test_who_has_it_after_all_does_not_get_it_again(bench: Bench) -> None:
    """The last byte arrived, and the receipt did not."""

    async def test() -> None:
        async def hang(key: CargoKey) -> None:
            if len(bench.uploads) == 1:
                raise Unavailable("reset")
            await asyncio.sleep(60)

        bench.does = hang
        key = CargoKey.generate(100)
        sending = bench.deliver(key, "a")
        await bench.nth_upload(2)
        bench.heard("a", key, got=True)
        await sending
        assert bench.failed == {}

    run(test)


def test_a_receiver_that_gave_up_first_is_not_sent_the_rest(bench: Bench) -> None:
    async def test() -> None:
        async def hang(key: CargoKey) -> None:
            if len(bench.uploads) == 1:
                await asyncio.sleep(60)

        bench.does = hang
        key = CargoKey.generate(100)
        sending = bench.deliver(key, "a")
        await bench.nth_upload(1)
        bench.heard("a", key, got=False)
        fresh, _ = await bench.nth_upload(2)
        bench.heard("a", fresh, got=True)
        await sending

    run(test)


@pytest.mark.parametrize(
    ("error", "times"), [(Unavailable("away"), delivery.ATTEMPTS), (InvalidMessage("large"), 1)]
)
def test_what_cannot_be_sent_is_gone_and_its_receiver_is_told(
    bench: Bench, error: FedgateError, times: int
) -> None:
    async def test() -> None:
        async def fail(key: CargoKey) -> None:
            raise error

        bench.does = fail
        await bench.deliver(CargoKey.generate(100), "a")
        assert len(bench.uploads) == times
        assert [what for what, _ in bench.controls("a")] == ["again"] * (times - 1) + ["gone"]
        assert bench.failed == {"a": error}

    run(test)


def test_a_receiver_that_loses_everything_costs_a_bounded_number_of_attempts(
    bench: Bench,
) -> None:
    async def test() -> None:
        sending = bench.deliver(CargoKey.generate(100), "a")
        while not sending.done():
            for key, _ in bench.uploads[-1:]:
                bench.heard("a", key, got=False)
            await asyncio.sleep(0.01)
        assert len(bench.uploads) == delivery.ATTEMPTS
        assert set(bench.failed) == {"a"}

    run(test)


def test_nothing_is_kept_for_who_says_nothing_once_nobody_waits_for_it(bench: Bench) -> None:
    async def test() -> None:
        sending = bench.deliver(CargoKey.generate(100), "a")
        await bench.nth_upload(1)
        await asyncio.sleep(0.05)
        assert not sending.done()
        bench.wanted["a"] = False
        await sending

    run(test)
