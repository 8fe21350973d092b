"""Who is connected right now, and how to send something to it."""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from fedgate.guard_rules import GuardRules
from fedgate_gateway.control.availability import Offer
from fedgate_gateway.link.guard_rules import read_guard
from fedgate_gateway.pki import PeerKind
from fedgate_proto.v1 import link_pb2 as pb

log = logging.getLogger(__name__)
#: Messages of the gateway itself that a peer may leave unread.
_QUEUE = 20_000
#: What a session may leave unread, with so many bytes for each message besides its own. More than
#: two outboxes (``sealed.outbox``): one that resumes sends everything again.
_SESSION_BYTES, _MESSAGE_BYTES = 160 << 20, 4096
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_serial = itertools.count(1)


@dataclass(eq=False)
class Connection:
    """One control stream of one peer."""

    kind: PeerKind
    name: str
    hello: pb.PeerHello
    queue: asyncio.Queue[tuple[pb.GatewayMessage | None, str, int]] = field(
        default_factory=asyncio.Queue
    )
    serial: int = field(default_factory=lambda: next(_serial))
    _unread: Counter[str] = field(default_factory=Counter)  # by session; "": our own, counted

    def send(self, message: pb.GatewayMessage) -> None:
        """A message of the gateway's own. A peer that reads none of them loses its link."""
        if self._unread[""] >= _QUEUE:
            log.warning("%s %s does not read; closing its link", self.kind, self.name)
            self.close()
        else:
            self._put(message, "", 1)

    def relay(self, message: pb.GatewayMessage, session: str) -> None:
        """A message of one session. Of too many unread ones it loses some, and breaks for it; the
        peer's other sessions do not.
        """
        cost = message.ByteSize() + _MESSAGE_BYTES
        if self._unread[session] + cost > _SESSION_BYTES:
            log.warning("%s %s: too much of %s is unread", self.kind, self.name, session)
        else:
            self._put(message, session, cost)

    def _put(self, message: pb.GatewayMessage | None, session: str, cost: int) -> None:
        self._unread[session] += cost
        self.queue.put_nowait((message, session, cost))

    async def next(self) -> pb.GatewayMessage | None:
        """What is to be sent now; None at the end."""
        message, session, cost = await self.queue.get()
        self._unread[session] -= cost
        if self._unread[session] <= 0:
            del self._unread[session]
        return message

    def close(self) -> None:
        """End the stream; what is queued is lost, and sessions resume on the next one."""
        while not self.queue.empty():
            self.queue.get_nowait()
        self._unread.clear()
        self._put(None, "", 1)


class Connections:
    """At most one connection of each peer: the newest."""

    def __init__(self) -> None:
        self._by_peer: dict[tuple[PeerKind, str], Connection] = {}

    def add(self, connection: Connection) -> None:
        old = self._by_peer.get((connection.kind, connection.name))
        if old is not None:
            old.close()
        self._by_peer[(connection.kind, connection.name)] = connection

    def remove(self, connection: Connection) -> bool:
        """True if it was the peer's current one, so that the peer is offline now."""
        key = (connection.kind, connection.name)
        if self._by_peer.get(key) is not connection:
            return False
        del self._by_peer[key]
        return True

    def close(self, kind: PeerKind, name: str) -> None:
        """End a peer's connection, as when its certificate no longer counts."""
        connection = self._by_peer.get((kind, name))
        if connection is not None:
            connection.close()

    def peer(self, kind: PeerKind, name: str) -> Connection | None:
        return self._by_peer.get((kind, name))

    def site(self, name: str) -> Connection | None:
        return self._by_peer.get((PeerKind.SITE, name))

    def offer(self, name: str) -> Offer | None:
        """What a site says that it has; None while it is not linked."""
        connection = self.site(name)
        if connection is None:
            return None
        hello = connection.hello
        enclaves = [c.hello.project_files for c in self.enclaves()]
        differing = {
            project
            for project, digest in hello.project_files.items()
            if digest not in (known := [e[project] for e in enclaves if project in e]) and known
        }
        return Offer(
            frozenset(f.name for f in hello.frameworks),
            frozenset(hello.datasets),
            frozenset(differing),
        )

    def project_files(self, kind: PeerKind, name: str) -> Mapping[str, str]:
        """Project -> digest of the file that a linked peer has, as it says."""
        connection = self.peer(kind, name)
        files = {} if connection is None else connection.hello.project_files
        return {p: digest for p, digest in files.items() if _DIGEST.fullmatch(digest)}

    def runs(self, framework: str) -> bool:
        """Is an enclave linked that runs this framework?"""
        return any(framework in {f.name for f in c.hello.frameworks} for c in self.enclaves())

    def site_guard(self, name: str) -> GuardRules | None:
        """What a linked site's guard lets out; None where it does not say."""
        connection = self.site(name)
        if connection is None or not connection.hello.HasField("guard"):
            return None
        return read_guard(connection.hello.guard)

    def enclave(self, name: str) -> Connection | None:
        return self._by_peer.get((PeerKind.ENCLAVE, name))

    def enclaves(self) -> Iterator[Connection]:
        return iter([c for (kind, _), c in self._by_peer.items() if kind is PeerKind.ENCLAVE])

    def online(self, kind: PeerKind, name: str) -> bool:
        return (kind, name) in self._by_peer

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._by_peer.values()))
