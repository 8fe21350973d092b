"""The gateway passes on what belongs together, by names that mTLS vouches for, and nothing else."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from fedgate.errors import InvalidMessage, SealBroken
from fedgate_gateway.pki import PeerKind
from fedgate_gateway.relay.connections import Connection, Connections
from fedgate_gateway.relay.router import Route, Router
from fedgate_gateway.sealed import LetterKind, SessionKeys
from fedgate_proto.v1 import link_pb2 as pb


class Net:
    """A router with two jobs: job-1 of sites a and b, job-2 of site c, each at its own enclave."""

    def __init__(self) -> None:
        self.connections = Connections()
        self.router = Router(self.connections, CollectorRegistry())
        self.peers = {}
        for kind, name in (
            (PeerKind.SITE, "a"), (PeerKind.SITE, "b"), (PeerKind.SITE, "c"),
            (PeerKind.ENCLAVE, "e1"), (PeerKind.ENCLAVE, "e2"), (PeerKind.SITE, "e1"),
        ):  # fmt: skip
            connection = Connection(kind, name, pb.PeerHello())
            self.connections.add(connection)
            self.peers[(str(kind), name)] = connection
        self.router.routes["job-1"] = Route("job-1", "e1", frozenset({"a", "b"}))
        self.router.routes["job-2"] = Route("job-2", "e2", frozenset({"c"}))

    def peer(self, kind: str, name: str) -> Connection:
        return self.peers[(kind, name)]

    def relay(self, kind: str, name: str, **body: object) -> None:
        self.router.relay(self.peer(kind, name), pb.PeerMessage(**body))

    def got(self) -> dict[str, int]:
        return {
            f"{kind} {name}": c.queue.qsize()
            for (kind, name), c in self.peers.items()
            if c.queue.qsize()
        }


def letter(site: str = "a", job: str = "job-1", *, inwards: bool = True) -> pb.Letter:
    keys = SessionKeys.derive(
        b"s" * 32, b"t" * 32, session=b"i" * 16, job=job, site=site, enclave="e1"
    )
    sealer, _ = keys.at_site() if inwards else keys.at_enclave()
    data = sealer.seal(LetterKind.TASK, b"body")
    return pb.Letter(job=job, site=site, session=keys.session, data=data)


def test_a_sites_letter_goes_to_its_jobs_enclave_alone() -> None:
    net = Net()
    net.relay("site", "a", letter=letter())
    assert net.got() == {"enclave e1": 1}
    assert net.router.traffic["job-1"].to_enclave == len(letter().data)


def test_an_enclaves_letter_goes_to_the_site_it_names() -> None:
    net = Net()
    net.relay("enclave", "e1", letter=letter("b", inwards=False))
    assert net.got() == {"site b": 1}
    assert net.router.traffic["job-1"].to_sites > 0


@pytest.mark.parametrize("kind", ["handshake", "letter", "resume", "session_closed"])
def test_a_site_cannot_speak_in_anothers_name(kind: str) -> None:
    net = Net()
    body = {
        "handshake": pb.Handshake(job="job-1", site="b"), "letter": letter("b"),
        "resume": pb.Resume(job="job-1", site="b"),
        "session_closed": pb.SessionClosed(job="job-1", site="b"),
    }[kind]  # fmt: skip
    with pytest.raises(InvalidMessage, match="in the name of"):
        net.relay("site", "a", **{kind: body})
    assert net.got() == {}


@pytest.mark.parametrize(
    ("kind", "name"), [("site", "c"), ("enclave", "e2"), ("site", "e1"), ("enclave", "e1")]
)
def test_a_peer_outside_a_job_reaches_nobody_of_it(kind: str, name: str) -> None:
    """Also a site that has the enclave's name, and an enclave in another enclave's job."""
    net = Net()
    job = "job-2" if name == "e1" and kind == "enclave" else "job-1"
    net.relay(kind, name, letter=letter(name if kind == "site" else "c", job))
    net.relay(kind, name, handshake=pb.Handshake(job=job, site=name))
    assert net.got() == {}


def test_an_enclave_reaches_no_site_outside_its_job() -> None:
    net = Net()
    net.relay("enclave", "e1", letter=letter("c", inwards=False))
    net.relay("enclave", "e1", handshake=pb.Handshake(job="job-1", site="c"))
    assert net.got() == {}


@pytest.mark.parametrize(
    ("kind", "name", "sent"),
    [
        ("site", "a", letter("a", inwards=False)),
        ("enclave", "e1", letter("a", inwards=True)),
        ("site", "a", pb.Letter(job="job-1", site="a", data=letter("a", "job-2").data)),
    ],
    ids=["outwards letter inwards", "inwards letter outwards", "another job's letter"],
)
def test_a_letter_that_contradicts_its_way_is_not_passed_on(
    kind: str, name: str, sent: pb.Letter
) -> None:
    net = Net()
    with pytest.raises(InvalidMessage, match="contradicts"):
        net.relay(kind, name, letter=sent)
    assert net.got() == {}


@pytest.mark.parametrize("data", [b"x", b"FGL", letter().data[:-1], letter().data + b"x"])
def test_what_is_no_letter_is_not_passed_on(data: bytes) -> None:
    net = Net()
    with pytest.raises(SealBroken):
        net.relay("site", "a", letter=pb.Letter(job="job-1", site="a", data=data))
    assert net.got() == {}


def test_a_job_that_is_over_is_silent() -> None:
    net = Net()
    del net.router.routes["job-1"]
    net.relay("site", "a", letter=letter())
    assert net.got() == {}
    assert "job-1" not in net.router.traffic


def test_a_letter_to_a_peer_that_is_away_is_dropped_for_its_session_to_repeat() -> None:
    net = Net()
    net.connections.remove(net.peer("enclave", "e1"))
    net.relay("site", "a", letter=letter())
    assert net.got() == {}


def test_only_the_newest_connection_of_a_peer_counts() -> None:
    net = Net()
    old = net.peer("site", "a")
    new = Connection(PeerKind.SITE, "a", pb.PeerHello())
    net.connections.add(new)
    assert asyncio.run(old.next()) is None  # its stream ends
    net.relay("enclave", "e1", letter=letter(inwards=False))
    assert (old.queue.qsize(), new.queue.qsize()) == (0, 1)
    assert not net.connections.remove(old)
    assert net.connections.site("a") is new


def test_a_peer_that_does_not_read_loses_its_connection_and_nobody_elses() -> None:
    net = Net()
    for _ in range(20_001):
        net.peer("site", "a").send(pb.GatewayMessage(heartbeat=pb.Heartbeat()))
    assert asyncio.run(net.peer("site", "a").next()) is None
    assert net.peer("site", "b").queue.qsize() == 0


def test_a_site_and_an_enclave_of_one_name_are_two_peers() -> None:
    net = Net()
    net.relay("site", "a", letter=letter())
    assert net.got() == {"enclave e1": 1}
