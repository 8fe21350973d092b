"""A gateway that attacks what it relays, as the orders in a file say; otherwise the real one.

``order.json`` lies beside the gateway's configuration and is read again when it changes:

    {"attacks": {SITE: {"carrier": "letter" | "cargo", "way": "to_enclave" | "to_site",
     "what": ATTACK, "kind": "RESULT", "nth": 1}}}   on one letter or cargo of each site, once
    {"bundle": NAME}                        another bundle for this peer
    {"spec": {"recipient": true} | {"site": NAME}}   another job for enclave and sites
    {"spec": {"offer": {FIELD: VALUE, ...}, "start": …, "join": …}}   other fields, in review, or
                                            later, or later for sites alone
    {"replay": NAME}                        this site's handshake again, once it has a session
    {"close": {SITE: {"notice": TEXT, "session": "its own" | "another"}}}
                                            both ends hear that its session is over, once

Everything that passes is kept in ``recorded-letters``, their clear beginnings in
``recorded-headers``, and all that peers send, of whatever kind, in ``recorded-received``.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc

from fedgate.bundle import pack_files
from fedgate_gateway import program
from fedgate_gateway.cli.main import main
from fedgate_gateway.control import scheduler
from fedgate_gateway.link.framing import data_of
from fedgate_gateway.pki import PeerKind
from fedgate_gateway.relay.connections import Connection
from fedgate_gateway.relay.router import Router
from fedgate_gateway.relay.service import LinkService
from fedgate_gateway.relay.spool import CargoSpool
from fedgate_gateway.sealed import Direction, LetterKind, RecipientKey, peek_header
from fedgate_proto.v1 import link_pb2 as pb

#: Bytes of a letter that hold its header, whatever its names.
HEADER = 128
FOLDER = Path(sys.argv[sys.argv.index("--config") + 1]).parent


class Orders:
    """The current order, and what of it was carried out."""

    def __init__(self) -> None:
        self._stamp: object = None
        self.order: dict[str, Any] = {}
        self.done = False
        self.counts: Counter[str] = Counter()

    def look(self) -> dict[str, Any]:
        """The order, as long as it is to be carried out."""
        path = FOLDER / "order.json"
        stamp = path.stat().st_mtime_ns if path.exists() else None
        if stamp != self._stamp:
            self._stamp = stamp
            self.order = json.loads(path.read_text()) if stamp else {}
            self.done = False
            self.counts.clear()
        return {} if self.done else self.order

    def attack(self, site: str, carrier: str, way: str, kind: str = "") -> str:
        """The attack that is now due on what goes this way, "" for none; it is due once."""
        ordered = self.look().get("attacks", {}).get(site, {})
        if (ordered.get("carrier"), ordered.get("way")) != (carrier, way):
            return ""
        if ordered.get("kind", "") != kind:
            return ""
        self.counts[site] += 1
        return str(ordered["what"]) if self.counts[site] == ordered.get("nth", 1) else ""


ORDERS = Orders()


def record(name: str, data: bytes) -> None:
    with (FOLDER / name).open("ab") as file:
        file.write(data)


def recording(make: Callable[..., Any]) -> Callable[..., Any]:
    """A method's handler that keeps each message before anybody reads it."""

    def made(
        behaviour: Any, request_deserializer: Any = None, response_serializer: Any = None
    ) -> Any:
        def kept(raw: bytes) -> Any:
            record("recorded-received", raw)
            return raw if request_deserializer is None else request_deserializer(raw)

        return make(behaviour, kept, response_serializer)

    return made


# -- letters ------------------------------------------------------------------------------------


def changed(letter: pb.Letter, **fields: Any) -> pb.Letter:
    other = pb.Letter()
    other.CopyFrom(letter)
    for name, value in fields.items():
        setattr(other, name, value)
    return other


def way_of(letter: pb.Letter) -> str:
    """Of a letter with data: to the enclave or to the site."""
    if not letter.data:
        return ""
    to_enclave = peek_header(letter.data).direction is Direction.TO_ENCLAVE
    return "to_enclave" if to_enclave else "to_site"


def flipped(data: bytes, position: int) -> bytes:
    found = bytearray(data)
    found[position] ^= 1
    return bytes(found)


class Letters:
    def __init__(self) -> None:
        self.seen: list[pb.Letter] = []
        self.held: dict[str, pb.Letter] = {}

    def __call__(self, letter: pb.Letter) -> list[pb.Letter]:
        record("recorded-letters", letter.SerializeToString())
        record("recorded-headers", letter.data[:HEADER])
        if letter.site in ORDERS.look().get("cut", ()):
            return []
        held = self.held.get(letter.site)
        if held is not None and way_of(held) == way_of(letter):
            return [letter, self.held.pop(letter.site)]
        passed = self._attacked(letter)
        if letter.data:
            self.seen.append(changed(letter))
        return passed

    def _attacked(self, letter: pb.Letter) -> list[pb.Letter]:
        if not letter.data:
            return [letter]
        kind = peek_header(letter.data).kind.name
        what = ORDERS.attack(letter.site, "letter", way_of(letter), kind)
        if not what:
            return [letter]
        attack: Callable[[pb.Letter], list[pb.Letter]] = getattr(self, what)
        return attack(letter)

    def flip(self, letter: pb.Letter) -> list[pb.Letter]:
        return [changed(letter, data=flipped(letter.data, -1))]

    def flip_header(self, letter: pb.Letter) -> list[pb.Letter]:
        """Its kind, the byte after the mark, becomes another one."""
        data = bytearray(letter.data)
        data[4] = LetterKind.FRAME
        return [changed(letter, data=bytes(data))]

    def truncate(self, letter: pb.Letter) -> list[pb.Letter]:
        return [changed(letter, data=letter.data[:-1])]

    def garbage(self, letter: pb.Letter) -> list[pb.Letter]:
        return [changed(letter, data=os.urandom(200))]

    def replay(self, letter: pb.Letter) -> list[pb.Letter]:
        return [letter, letter]

    def swap(self, letter: pb.Letter) -> list[pb.Letter]:
        self.held[letter.site] = letter
        return []

    def lie(self, letter: pb.Letter) -> list[pb.Letter]:
        return [changed(letter, expected=10**6)]

    def old(self, letter: pb.Letter) -> list[pb.Letter]:
        """The letter of this place in an earlier job."""
        return [self._foreign(letter, lambda o: o.site == letter.site and o.job != letter.job)]

    def other(self, letter: pb.Letter) -> list[pb.Letter]:
        """Another site's letter of the same job."""
        return [self._foreign(letter, lambda o: o.site != letter.site and o.job == letter.job)]

    def _foreign(self, letter: pb.Letter, of: Callable[[pb.Letter], bool]) -> pb.Letter:
        ours = peek_header(letter.data)
        for other in reversed(self.seen):
            header = peek_header(other.data)
            if of(other) and (header.kind, header.direction) == (ours.kind, ours.direction):
                return changed(letter, data=other.data)
        raise LookupError("there is no such letter to inject")


# -- cargo --------------------------------------------------------------------------------------


class Spool(CargoSpool):
    """Attacks what one receiver reads; the others get what was sent."""

    kept: bytes = b""

    async def read(
        self, job: str, id: bytes, receiver: str, first: int, *, patience: float
    ) -> AsyncIterator[bytes]:
        frames = super().read(job, id, receiver, first, patience=patience)
        if ORDERS.look().get("attacks"):
            cargo = await self._find(job, id, patience)
            way = "to_enclave" if receiver == "enclave" else "to_site"
            site = cargo.sender if way == "to_enclave" else receiver
            if what := ORDERS.attack(site, "cargo", way):
                async for frame in getattr(self, what)(frames):
                    yield frame
                return
        async for frame in frames:
            Spool.kept = Spool.kept or frame
            yield frame

    async def flip(self, frames: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        index = 0
        async for frame in frames:
            yield flipped(frame, len(frame) // 2) if index == 1 else frame
            index += 1

    async def truncate(self, frames: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        yield await anext(frames)

    async def shorten(self, frames: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        yield pb.Chunk(data=bytes(data_of(await anext(frames)))[:-1]).SerializeToString()
        async for frame in frames:
            yield frame

    async def swap(self, frames: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        first, second = await anext(frames), await anext(frames)
        yield second
        yield first
        async for frame in frames:
            yield frame

    async def repeat(self, frames: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        first = await anext(frames)
        yield first
        yield first
        async for frame in frames:
            yield frame

    async def foreign(self, frames: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The first chunk of an earlier cargo in place of ours."""
        await anext(frames)
        yield self.kept
        async for frame in frames:
            yield frame

    async def extend(self, frames: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for frame in frames:
            yield frame
        yield frame


# -- lies -----------------------------------------------------------------------------------------


class Service(LinkService):
    async def fetch_bundle(self, request: Any, context: Any) -> AsyncIterator[pb.Chunk]:
        _, name = await self._peer(context)
        if ORDERS.look().get("bundle") == name:
            files = {"plain.toml": b'name = "n"\nmodule = "w.py"\nrounds = 1\n', "w.py": b"evil"}
            yield pb.Chunk(data=pack_files(files))
            return
        async for chunk in super().fetch_bundle(request, context):
            yield chunk


_real_spec = scheduler.job_spec


def lying_spec(job: Any, bundle: Any, sites: Any, request: bytes) -> pb.JobSpec:
    spec = _real_spec(job, bundle, sites, request)
    lie = ORDERS.look().get("spec", {})
    if job.enclave and lie.get("recipient"):
        spec.recipient = RecipientKey.generate().public_raw
    if job.enclave and lie.get("site"):
        spec.sites.append(lie["site"])
    _change(spec, lie.get("start" if job.enclave else "offer", {}))
    return spec


def _change(spec: pb.JobSpec, fields: dict[str, Any]) -> None:
    for field, value in fields.items():
        if field in ("datasets", "sites"):
            del getattr(spec, field)[:]
            getattr(spec, field).extend(value)
        elif field in ("recipient", "request"):
            setattr(spec, field, base64.b64decode(value))
        else:
            setattr(spec, field, value)


_real_send = Connection.send


def lying_send(self: Connection, message: pb.GatewayMessage) -> None:
    """Sites join another job than the enclave runs."""
    lie = ORDERS.look().get("spec", {}).get("join", {})
    if lie and message.HasField("join"):
        message = pb.GatewayMessage.FromString(message.SerializeToString())
        _change(message.join, lie)
    _real_send(self, message)


class Replaying(Router):
    handshake: list[pb.Handshake]

    def relay(self, connection: Any, message: pb.PeerMessage) -> None:
        kind = message.WhichOneof("body")
        order = ORDERS.look()
        if kind == "letter" and connection.kind is PeerKind.SITE and message.letter.data:
            self._close(message.letter, order.get("close", {}).get(connection.name))
        if connection.kind is PeerKind.SITE and connection.name == order.get("replay"):
            if kind == "handshake":
                self.handshake = [*getattr(self, "handshake", []), message.handshake]
            elif kind == "letter" and (steps := self._steps(message.letter.job)):
                ORDERS.done = True
                enclave = self.connections.enclave(self.routes[message.letter.job].enclave)
                for step in steps:
                    enclave.send(pb.GatewayMessage(handshake=step))
        super().relay(connection, message)

    def _close(self, letter: pb.Letter, lie: dict[str, str] | None) -> None:
        """In its first result's place."""
        if lie is None or peek_header(letter.data).kind is not LetterKind.RESULT:
            return
        ORDERS.counts[letter.site] += 1
        if ORDERS.counts[letter.site] > 1:
            return
        own = lie["session"] == "its own"
        closed = pb.SessionClosed(
            job=letter.job, site=letter.site, notice=lie["notice"],
            session=letter.session if own else os.urandom(len(letter.session)),
        )  # fmt: skip
        enclave = self.connections.enclave(self.routes[letter.job].enclave)
        for end in (enclave, self.connections.site(letter.site)):
            end.send(pb.GatewayMessage(session_closed=closed))

    def _steps(self, job: str) -> list[Any]:
        """Of this job: a late letter of the one before must not spend the order."""
        return [step for step in getattr(self, "handshake", []) if step.job == job]


for handler in ("stream_stream", "unary_stream", "stream_unary", "unary_unary"):
    name = f"{handler}_rpc_method_handler"
    setattr(grpc, name, recording(getattr(grpc, name)))
program.run_gateway = functools.partial(program.run_gateway, tamper=Letters())
program.CargoSpool = Spool  # type: ignore[misc]
program.LinkService = Service  # type: ignore[misc]
program.Router = Replaying  # type: ignore[misc]
scheduler.job_spec = lying_spec
Connection.send = lying_send  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
