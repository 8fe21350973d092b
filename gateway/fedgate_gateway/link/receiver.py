"""Receiving packets of one session in order: letters at once, cargo fetched before the next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fedgate.errors import FedgateError, InvalidMessage, SealBroken
from fedgate_gateway.child.memory import Buffer, Pool
from fedgate_gateway.link import cargo
from fedgate_gateway.link.client import LinkClient
from fedgate_gateway.link.packet import Packet
from fedgate_gateway.sealed import CargoKey, CargoWitness, LetterHeader, SessionKeys

#: Packets that wait behind one whose cargo is on its way.
_QUEUE = 1000
_WITNESS_SECONDS = 60
#: Witnesses that may arrive before their cargo has.
_WITNESSES = 64


@dataclass
class Received:
    header: LetterHeader
    note: bytes
    model: bytes | Buffer | None
    #: Bytes of ciphertext that brought it.
    size: int


class Receiver:
    """``pool`` gives the memory that models are opened into: that of the child they are for."""

    def __init__(
        self,
        job: str,
        link: LinkClient,
        keys: SessionKeys,
        *,
        pool: Callable[[], Pool],
        limit: int,
        on_packet: Callable[[Received], Awaitable[None] | None],
        on_broken: Callable[[FedgateError], None],
    ) -> None:
        self._job = job
        self._link = link
        self._keys = keys
        self._pool = pool
        self._limit = limit
        self._on_packet = on_packet
        self._on_broken = on_broken
        self._queue: asyncio.Queue[tuple[LetterHeader, bytes]] = asyncio.Queue(_QUEUE)
        self._witnesses: dict[bytes, asyncio.Future[bytes]] = {}
        self._task = asyncio.get_running_loop().create_task(self._run())

    def put(self, header: LetterHeader, body: bytes) -> None:
        try:
            self._queue.put_nowait((header, body))
        except asyncio.QueueFull:
            raise InvalidMessage("the peer sends faster than its letters can be used") from None

    def witness(self, body: bytes) -> None:
        """A witness letter: cargo id (16 bytes) and tag (32 bytes)."""
        if len(body) != 48:
            raise SealBroken("a witness letter has a wrong length")
        waiting = self._witness(body[:16])
        if not waiting.done():
            waiting.set_result(body[16:])

    def _witness(self, cargo_id: bytes) -> asyncio.Future[bytes]:
        waiting = self._witnesses.get(cargo_id)
        if waiting is None:
            if len(self._witnesses) >= _WITNESSES:
                raise InvalidMessage("the peer sends witnesses for cargo that never comes")
            waiting = asyncio.get_running_loop().create_future()
            self._witnesses[cargo_id] = waiting
        return waiting

    async def _run(self) -> None:
        while True:
            header, body = await self._queue.get()
            try:
                received = await self._fetch(header, body)
                done = self._on_packet(received)
                if done is not None:
                    await done
                del received, done
            except FedgateError as error:
                self._on_broken(error)
                return

    async def _fetch(self, header: LetterHeader, body: bytes) -> Received:
        packet = Packet.read(body, header.cargo)
        size = len(body) + sum(ref.size for ref in packet.cargo)
        note = packet.note
        if isinstance(note, CargoKey):
            self._check(note)
            copy = bytearray(note.size)
            await cargo.download(self._link, self._job, note, memoryview(copy))
            note = bytes(copy)
        model = packet.model
        if not isinstance(model, CargoKey):
            return Received(header, note, model, size)
        self._check(model)
        pool = self._pool()
        buffer = pool.take(model.size)
        try:
            witness = CargoWitness(self._keys, model) if packet.shared else None
            await cargo.download(self._link, self._job, model, buffer.view, witness=witness)
            if witness is not None:
                await self._verify(witness, model)
        except BaseException:
            pool.give_back(buffer.number)
            raise
        return Received(header, note, buffer, size)

    async def _verify(self, witness: CargoWitness, key: CargoKey) -> None:
        try:
            tag = await asyncio.wait_for(self._witness(key.id), _WITNESS_SECONDS)
        except TimeoutError:
            raise SealBroken("the sender's witness for a shared model never came") from None
        finally:
            self._witnesses.pop(key.id, None)
        witness.verify(tag)

    def _check(self, key: CargoKey) -> None:
        if key.size > self._limit:
            raise InvalidMessage(
                "a model is larger than allowed here", why=f"{key.size} > {self._limit} bytes"
            )

    def close(self) -> None:
        self._task.cancel()
