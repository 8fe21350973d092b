"""FLARE's own network layer over Fedgate's opaque frames: an F3 driver that reaches nobody itself.

F3 loads a driver by the scheme of a URL and gives it no arguments, so the process's one
:class:`Line` is bound to the class. Handshakes and heartbeats of F3 are answered on the spot:
nothing leaves a site before the job sends something.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from fedgate.errors import FedgateError, InvalidMessage
from fedgate.task import Frame
from fedgate_flare import _nvflare_private as private
from fedgate_flare import frames
from fedgate_flare.frames import Heading, HeadingReader
from fedgate_flare.job_folder import SERVER

# ruff: noqa: ARG004 - the signatures of overridden methods are F3's
SCHEME = "fedgate"
URL = f"{SCHEME}://enclave:1"
_LOG = logging.getLogger("fedgate.flare.line")


class Line:
    """The links of this process to its peers: a site has one, the coordinator one for each site.

    ``me``: "server" or the site's name. ``post(peer, frame)`` hands a frame to Fedgate.
    ``endpoints``: peer -> name of its cell.
    """

    def __init__(
        self, me: str, endpoints: Mapping[str, str], post: Callable[[str, Frame], None]
    ) -> None:
        self.me = me
        self.endpoints = endpoints
        self.post = post
        self._links: dict[str, Link] = {}
        self._closed: set[str] = set()
        self._lock = threading.Lock()
        self._told: set[str] = set()
        self.up = threading.Event()

    def attach(self, link: Link) -> None:
        with self._lock:
            self._links[link.peer] = link
            if len(self._links) == len(self.endpoints):
                self.up.set()

    def receive(self, peer: str, frame: Frame) -> None:
        """A frame came from ``peer``; what it must not say ends here, with a line in the log."""
        with self._lock:
            link = self._links.get(peer)
        if link is None:
            return
        try:
            link.accept(frame)
        except FedgateError as error:
            self.tell(f"a frame {frame.channel}:{frame.topic} from {peer} was dropped: {error}")

    def drop(self, peer: str) -> None:
        """A peer is gone: what is sent to it fails at once."""
        with self._lock:
            link = self._links.pop(peer, None)
        if link is not None:
            link.driver.close_connection(link)

    def tell(self, text: str) -> None:
        if text not in self._told and len(self._told) < 1000:  # once is enough for a log
            self._told.add(text)
            _LOG.warning("%s", text)


class Link(private.Connection):  # type: ignore[misc]
    """A connection to one peer, as F3 sees it."""

    def __init__(self, connector: Any, driver: Driver, line: Line, peer: str) -> None:
        super().__init__(connector)
        self.peer = peer
        self.driver = driver
        self._line = line
        self._reader = HeadingReader()

    def get_conn_properties(self) -> dict[str, str]:
        return {"local_addr": self._line.me, "peer_addr": self.peer, "peer_cn": "N/A"}

    def close(self) -> None:
        """Nothing to close: the session belongs to Fedgate."""

    def send_frame(self, frame: Any) -> None:
        data = b"".join(frame) if isinstance(frame, list) else frame
        match frames.kind_of(data):
            case frames.HELLO:
                self.process_frame(frames.handshake(frames.READY, self._line.endpoints[self.peer]))
            case frames.DATA:
                self._send(data)

    def _send(self, data: bytes | bytearray) -> None:
        heading = self._reader.read(data)
        if heading.channel in frames.REPLACED:
            return
        if heading.receiver == self._line.me:
            return  # to a trainer of this site that is not there: nobody else can reach it
        try:
            self._line.post(self.peer, Frame(heading.channel, heading.topic, bytes(data)))
        except FedgateError as error:
            self._line.tell(f"a frame {heading.channel}:{heading.topic} was not sent: {error}")

    def greet(self) -> None:
        """On the passive side: what the peer's HELLO would have said."""
        self.process_frame(frames.handshake(frames.HELLO, self._line.endpoints[self.peer]))

    def accept(self, frame: Frame) -> None:
        if frames.kind_of(frame.body) != frames.DATA:
            raise InvalidMessage("not a data frame")
        heading = self._reader.read(frame.body)
        self._check(frame, heading)
        self.process_frame(frame.body)

    def _check(self, frame: Frame, heading: Heading) -> None:
        """The label must be true, and at the enclave the sender must be who it says it is."""
        if (heading.channel, heading.topic) != (frame.channel, frame.topic):
            raise InvalidMessage(
                "a frame is labelled as another", why=f"{heading.channel}:{heading.topic}"
            )
        if heading.channel in frames.REPLACED:
            raise InvalidMessage("this channel is not open to sites")
        if self._line.me == SERVER:
            if heading.sender != self.peer:
                raise InvalidMessage("a frame in the name of another", why=heading.sender)
            if heading.receiver != SERVER and heading.receiver not in self._line.endpoints:
                raise InvalidMessage("a frame to somebody outside the job", why=heading.receiver)
        elif heading.receiver != self._line.me:
            raise InvalidMessage("a frame for another site", why=heading.receiver)


class Driver(private.BaseDriver):  # type: ignore[misc]
    """Connects to the enclave at a site; waits for the sites at the enclave."""

    line: ClassVar[Line]

    def __init__(self) -> None:
        super().__init__()
        self._over = threading.Event()

    @staticmethod
    def supported_transports() -> list[str]:
        return [SCHEME]

    @staticmethod
    def capabilities() -> dict[str, Any]:
        return {"send_heartbeat": False, "support_ssl": False}

    @staticmethod
    def get_urls(scheme: str, resources: dict[str, Any]) -> tuple[str, str]:
        raise private.CommError(private.CommError.NOT_SUPPORTED, "Fedgate's links are fixed")

    def connect(self, connector: Any) -> None:
        self._open(connector, SERVER)
        self._over.wait()

    def listen(self, connector: Any) -> None:
        for peer in self.line.endpoints:
            self._open(connector, peer).greet()
        self._over.wait()

    def _open(self, connector: Any, peer: str) -> Link:
        self.connector = connector
        link = Link(connector, self, self.line, peer)
        self.add_connection(link)
        self.line.attach(link)
        return link

    def shutdown(self) -> None:
        self._over.set()
