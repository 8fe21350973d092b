"""Sessions at an enclave: only keys on the roster get one, and each costs at most its own site."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from fedgate.codes import Code
from fedgate.errors import FedgateError
from fedgate_gateway.attestation import digest_bytes
from fedgate_gateway.attestation.simulated import SimulatedAttester
from fedgate_gateway.config import ProjectConfig
from fedgate_gateway.enclave.sessions import Sessions
from fedgate_gateway.link.channel import Channel
from fedgate_gateway.link.closing import closing
from fedgate_gateway.link.terms import project_terms
from fedgate_gateway.sealed import EnclaveKey, IdentityKey, LetterKind, SiteHandshake
from fedgate_proto.v1 import link_pb2 as pb

BUNDLE = "sha256:" + "ab" * 32


class Enclave:
    """Real sessions of job-1 with the sites a and b; the test carries their messages."""

    def __init__(self) -> None:
        self.own = IdentityKey.generate()
        self.identities = {name: IdentityKey.generate() for name in ("a", "b")}
        project = ProjectConfig(name="demo", members={})
        terms = project_terms(
            project, job="job-1", bundle=BUNDLE,
            sites=("a", "b"), min_sites=1, recipient=b"", request=BUNDLE, sandbox="process",
        )  # fmt: skip
        self.project = digest_bytes(terms.project_file)
        self.sent: list[pb.PeerMessage] = []
        self.told: list[tuple[Any, ...]] = []
        self.work: set[asyncio.Task[None]] = set()
        self.sessions = Sessions(
            job="job-1", enclave="e", identity=self.own, key=EnclaveKey.generate(), terms=terms,
            roster={n: k.public_raw for n, k in self.identities.items()},
            project_digest=self.project, bundle_digest=bytes.fromhex("ab" * 32),
            attester=SimulatedAttester(), events=self, send=self.sent.append,
            spawn=lambda work: self.work.add(asyncio.get_running_loop().create_task(work)),
        )  # fmt: skip

    # -- SessionEvents
    def session_opened(self, site: str, keys: Any) -> None:
        self.told.append(("opened", site))

    def session_resumed(self, site: str) -> None:
        self.told.append(("resumed", site))

    def session_ended(self, site: str, error: FedgateError) -> None:
        self.told.append(("ended", site, str(error)))

    def refused(self, site: str, error: FedgateError) -> None:
        self.told.append(("refused", site, str(error)))

    def letter(self, site: str, header: Any, body: bytes) -> None:
        self.told.append(("letter", site, body))

    # -- as the gateway
    def pop(self, kind: str) -> Any:
        found = [m for m in self.sent if m.WhichOneof("body") == kind]
        assert len(found) == 1, self.sent
        self.sent.clear()
        return getattr(found[0], kind)

    def give(self, site: str, step: str, data: bytes) -> None:
        step_number = pb.Handshake.Step.Value(step)
        self.sessions.handshake(pb.Handshake(job="job-1", site=site, step=step_number, data=data))

    async def hello(self, site: str, data: bytes) -> bytes:
        self.give(site, "HELLO", data)
        await asyncio.gather(*self.work)
        return bytes(self.pop("handshake").data)

    # -- as a site
    def handshake(self, site: str = "a", identity: IdentityKey | None = None) -> SiteHandshake:
        return SiteHandshake(
            job="job-1", site=site, enclave="e", enclave_identity=self.own.public_raw,
            identity=identity or self.identities[site],
            project_digest=self.project, bundle_digest=bytes.fromhex("ab" * 32),
        )  # fmt: skip

    async def open(self, site: str = "a") -> Channel:
        handshake = self.handshake(site)
        answer = handshake.read_answer(await self.hello(site, handshake.hello()))
        finish, keys = handshake.finish(answer)
        self.give(site, "FINISH", finish)
        return Channel(
            keys, keys.at_site(), send=self.sessions.receive,
            on_letter=lambda *_: None, on_broken=lambda _: None,
        )  # fmt: skip


def run(test: Callable[[Enclave], Any]) -> None:
    async def go() -> None:
        await asyncio.wait_for(test(Enclave()), 60)

    asyncio.run(go())


def test_a_site_of_the_roster_gets_a_session_and_is_heard() -> None:
    async def test(e: Enclave) -> None:
        channel = await e.open()
        channel.post(LetterKind.RESULT, b"hello")
        assert e.told == [("opened", "a"), ("letter", "a", b"hello")]
        assert e.sessions.get("a")

    run(test)


def test_a_site_that_the_gateway_made_up_is_refused() -> None:
    async def test(e: Enclave) -> None:
        fake = e.handshake("fake", IdentityKey.generate())
        e.give("fake", "HELLO", fake.hello())
        assert "not on the roster" in e.told[0][2]
        assert closing(e.pop("session_closed")).code is Code.NOT_ON_ROSTER

    run(test)


def test_another_key_in_the_name_of_a_site_is_refused_and_hears_which_session() -> None:
    async def test(e: Enclave) -> None:
        fake = e.handshake("a", IdentityKey.generate())
        answer = fake.read_answer(await e.hello("a", fake.hello()))
        finish, _ = fake.finish(answer)
        e.give("a", "FINISH", finish)
        assert [t[:2] for t in e.told] == [("refused", "a")]
        assert e.sessions.get("a") is None
        assert e.pop("session_closed").session == fake.session

    run(test)


def test_a_recorded_handshake_opens_nothing_when_it_is_played_again() -> None:
    async def test(e: Enclave) -> None:
        handshake = e.handshake()
        hello = handshake.hello()
        finish, _ = handshake.finish(handshake.read_answer(await e.hello("a", hello)))
        e.give("a", "FINISH", finish)
        first = e.sessions.get("a")
        e.give("a", "FINISH", finish)
        await asyncio.sleep(0)
        e.sent.clear()
        await e.hello("a", hello)
        e.give("a", "FINISH", finish)
        assert [t[0] for t in e.told] == ["opened", "refused", "refused"]
        assert e.sessions.get("a") is first  # the real session goes on
        assert not [m for m in e.sent if m.session_closed.session]  # and nobody is told otherwise

    run(test)


def test_a_site_cannot_take_the_place_of_anothers_handshake() -> None:
    async def test(e: Enclave) -> None:
        ours = e.handshake("a")
        answer = ours.read_answer(await e.hello("a", ours.hello()))
        e.give("b", "HELLO", e.handshake("a").hello())  # b's connection, a's name
        assert "another site" in e.told[0][2]
        e.give("a", "FINISH", ours.finish(answer)[0])
        assert e.sessions.get("a")

    run(test)


def test_a_finish_of_another_site_or_out_of_the_blue_opens_nothing() -> None:
    async def test(e: Enclave) -> None:
        a, b = e.handshake("a"), e.handshake("b")
        finish_a = a.finish(a.read_answer(await e.hello("a", a.hello())))[0]
        e.work.clear()
        await e.hello("b", b.hello())
        e.give("b", "FINISH", finish_a)
        e.give("b", "FINISH", b"x" * 40)
        assert [t[:2] for t in e.told] == [("refused", "b")] * 2

    run(test)


@pytest.mark.parametrize("step", ["HELLO", "ANSWER", "FINISH", "STEP_UNSPECIFIED"])
def test_garbage_is_refused_at_every_step(step: str) -> None:
    async def test(e: Enclave) -> None:
        for data in (b"", b"x", bytes(5000)):
            e.give("a", step, data)
        assert [t[0] for t in e.told] == ["refused"] * 3

    run(test)


def test_an_altered_letter_ends_its_session_and_no_other() -> None:
    async def test(e: Enclave) -> None:
        a, b = await e.open("a"), await e.open("b")
        e.told.clear()
        held: list[pb.Letter] = []
        a._send = held.append
        a.post(LetterKind.RESULT, b"weights")
        held[0].data = held[0].data[:-1] + bytes([held[0].data[-1] ^ 1])
        e.sent.clear()
        e.sessions.receive(held[0])
        b.post(LetterKind.RESULT, b"fine")
        assert e.told[0][:2] == ("ended", "a")
        assert "altered" in e.told[0][2]
        assert e.told[1] == ("letter", "b", b"fine")
        assert e.pop("session_closed").site == "a"
        assert (e.sessions.get("a"), bool(e.sessions.get("b"))) == (None, True)

    run(test)


def test_a_letter_of_one_site_given_as_anothers_ends_nothing_but_is_not_heard() -> None:
    async def test(e: Enclave) -> None:
        a, _ = await e.open("a"), await e.open("b")
        held: list[pb.Letter] = []
        a._send = held.append
        a.post(LetterKind.RESULT, b"weights")
        held[0].site = "b"
        e.sessions.receive(held[0])
        assert not [t for t in e.told if t[0] in ("letter", "ended")]

    run(test)


def test_a_new_session_of_a_site_replaces_its_old_one() -> None:
    async def test(e: Enclave) -> None:
        old = await e.open()
        e.work.clear()
        new = await e.open()
        old.post(LetterKind.RESULT, b"old")
        new.post(LetterKind.RESULT, b"new")
        assert [t for t in e.told if t[0] == "letter"] == [("letter", "a", b"new")]

    run(test)


def test_a_session_resumes_and_an_unknown_one_is_told_so() -> None:
    async def test(e: Enclave) -> None:
        channel = await e.open()
        channel.post(LetterKind.CONTROL, b"confirm")
        e.sent.clear()
        e.sessions.resume(channel.start_resume())
        channel.resumed(e.pop("resumed"))
        channel.post(LetterKind.RESULT, b"after")
        assert e.told[-2:] == [("resumed", "a"), ("letter", "a", b"after")]
        e.sessions.resume(pb.Resume(job="job-1", site="a", session=b"?" * 16, epoch=9))
        assert closing(e.pop("session_closed")).code is Code.UNKNOWN_SESSION

    run(test)


def test_a_site_that_ends_its_session_or_will_not_open_one_is_not_waited_for() -> None:
    async def test(e: Enclave) -> None:
        channel = await e.open("a")
        closed = pb.SessionClosed(
            job="job-1", site="a", session=channel.keys.session, notice='{"code":"altered"}'
        )
        e.sessions.closed_by_site(closed)
        e.sessions.closed_by_site(closed)
        e.sessions.closed_by_site(
            pb.SessionClosed(job="job-1", site="b", session=b"never opened", notice="any text")
        )
        e.sessions.closed_by_site(pb.SessionClosed(job="job-1", site="nobody", notice="x"))
        ended = [t for t in e.told if t[0] == "ended"]
        assert [t[1] for t in ended] == ["a", "b"]
        assert "altered" in ended[0][2]
        assert "any text" not in ended[1][2]

    run(test)


def test_a_close_without_a_session_does_not_end_one_that_is_open() -> None:
    async def test(e: Enclave) -> None:
        await e.open("a")
        e.sessions.closed_by_site(pb.SessionClosed(job="job-1", site="a", notice="x"))
        assert e.sessions.get("a")

    run(test)
