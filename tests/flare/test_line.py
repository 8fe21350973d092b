"""The links below FLARE's cells: what one site can try there, and where it ends."""

from __future__ import annotations

import struct
from types import SimpleNamespace

import msgpack
import pytest

from fedgate.errors import InvalidMessage
from fedgate.task import Frame, frame_allowed
from fedgate_flare import frames
from fedgate_flare.frames import HeadingReader
from fedgate_flare.line import Line, Link
from fedgate_flare.status import read_reports

ENDPOINTS = {"site-1": "site-1.job-x", "site-2": "site-2.job-x"}


def data(origin="site-1.job-x", to="server.job-x", channel="aux_communication", topic="t", **more):
    headers = {
        "cn__origin": origin, "cn__destination": to, "cn__channel": channel, "cn__topic": topic,
        "cn__msg_type": "req", **more,
    }  # fmt: skip
    packed = msgpack.packb(headers)
    size = 16 + len(packed)
    return struct.pack(">IHBBHHHH", size, len(packed), frames.DATA, 0, 0, 1, 1, 1) + packed


class Peer:
    """The end of a link, with everything that came out of it."""

    def __init__(self, me="server", peer="site-1"):
        self.sent: list[tuple[str, Frame]] = []
        endpoints = ENDPOINTS if me == "server" else {"server": "server"}
        line = Line(me, endpoints, lambda to, frame: self.sent.append((to, frame)))
        self.link = Link(SimpleNamespace(mode=None), None, line, peer)
        self.received: list[bytes] = []
        self.link.register_frame_receiver(
            SimpleNamespace(process_frame=lambda frame: self.received.append(bytes(frame)))
        )

    def take(self, body, channel="aux_communication", topic="t"):
        self.link.accept(Frame(channel, topic, body))


def test_a_true_frame_is_delivered():
    peer = Peer()
    peer.take(data())
    assert len(peer.received) == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (data(origin="site-2.job-x"), "name of another"),
        (data(origin="server.job-x"), "name of another"),
        (data(to="stranger.job-x"), "outside the job"),
        (data(topic="other"), "labelled as another"),
        (data(channel="server_command"), "labelled as another"),
        (b"short", "too short"),
        (data()[:-1], "wrong length"),
        (frames.handshake(frames.HELLO, "site-2.job-x"), "not a data frame"),
        (struct.pack(">IHBBHHHH", 19, 3, 1, 0, 0, 1, 1, 1) + b"\xc1\xc1\xc1", "do not parse"),
        (struct.pack(">IHBBHHHH", 17, 1, 1, 0, 0, 1, 1, 1) + b"\x80", "lacks a header"),
    ],
)
def test_a_forged_frame_ends_at_the_enclave(body, words):
    peer = Peer()
    with pytest.raises(InvalidMessage, match=words):
        peer.take(body)
    assert peer.received == []


@pytest.mark.parametrize("channel", sorted(frames.REPLACED))
def test_channels_that_fedgate_replaces_are_closed_in_both_directions(channel):
    """On them FLARE would take tasks, results and commands past the governed path."""
    peer = Peer()
    with pytest.raises(InvalidMessage, match="not open"):
        peer.take(data(channel=channel), channel=channel)
    peer.link.send_frame(data(channel=channel, origin="server.job-x", to="site-1.job-x"))
    assert peer.sent == []


def test_a_site_takes_no_frame_for_another():
    with pytest.raises(InvalidMessage, match="another site"):
        Peer("site-1", "server").take(data(origin="site-2.job-x", to="site-3.job-x"))


def test_messages_within_a_site_do_not_leave_it():
    peer = Peer("site-1", "server")
    peer.link.send_frame(data(channel="client_api", to="site-1.job-x.trainer"))
    assert peer.sent == []


def test_handshakes_are_answered_on_the_spot():
    peer = Peer("site-1", "server")
    peer.link.send_frame(frames.handshake(frames.HELLO, "site-1.job-x"))
    assert peer.sent == []
    assert frames.kind_of(peer.received[0]) == frames.READY


def test_chunks_and_acknowledgements_count_as_their_stream():
    reader = HeadingReader()
    stream = {"channel": "sm__STREAM", "topic": "sm__DATA"}
    inner = {"sm__ch": "return_only", "sm__tp": "aux_communication:fed.event", "sm__id": "S1"}
    chunk = reader.read(data(**stream, **inner))
    assert (chunk.channel, chunk.topic) == ("aux_communication", "fed.event")
    ack = reader.read(data(channel="sm__STREAM", topic="sm__ACK", sm__id="S1"))
    assert (ack.channel, ack.topic) == ("aux_communication", "fed.event")
    other = reader.read(data(channel="sm__STREAM", topic="sm__ACK", sm__id="S2"))
    assert (other.channel, other.topic) == ("stream", "unknown")


@pytest.mark.parametrize(
    ("name", "rule", "allowed"),
    [
        ("a:b", "a:b", True),
        ("a:b.c", "a:b.*", True),
        ("a:*", "a:*", True),
        ("a:b*", "a:*", True),
        ("a:*", "a:b*", False),
        ("a:b", "*", False),
        ("ab:c", "a*", False),
        ("a:b", "a:c", False),
    ],
)
def test_rules_of_a_guard_cover_names_and_families(name, rule, allowed):
    assert frame_allowed(name, [rule]) is allowed


@pytest.mark.parametrize(
    "body",
    [
        b"", b"\xc1", msgpack.packb([1]), msgpack.packb({"w": 1}), msgpack.packb({"w": {"a": [1]}}),
        msgpack.packb({"w": {"a": float("nan")}}), msgpack.packb({1: {}}),
        msgpack.packb({str(i): {} for i in range(100)}), b"\x00" * 100_000,
    ],
)  # fmt: skip
def test_a_malformed_status_report_is_refused(body):
    with pytest.raises(InvalidMessage):
        read_reports(body)
