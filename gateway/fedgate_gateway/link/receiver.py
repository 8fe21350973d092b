"""Receiving packets of one session in order: letters at once, cargo fetched before the next."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fedgate.errors import FedgateError, InvalidMessage, NotFound, SealBroken, Unavailable
from fedgate_gateway.child.memory import Buffer, Pool
from fedgate_gateway.link import cargo
from fedgate_gateway.link.client import LinkClient
from fedgate_gateway.link.kept import KeptCargo
from fedgate_gateway.link.packet import Packet
from fedgate_gateway.link.turns import Progress, Turns
from fedgate_gateway.sealed import CargoKey, CargoWitness, LetterHeader, SessionKeys

log = logging.getLogger(__name__)
#: Packets that wait behind one whose cargo is on its way, and their bytes.
_QUEUE, _QUEUE_BYTES = 1000, 64 * 1024 * 1024
_WITNESS_SECONDS = 60
_UNGATED = 1000
#: Witnesses that may arrive before their cargo has.
_WITNESSES = 64
#: What a note may hold where nobody says: the part of a task or result that we cannot read.
BODY_BYTES = 256 << 20


@dataclass
class Received:
    task: str
    note: bytes
    model: bytes | Buffer | KeptCargo | None
    #: Bytes of ciphertext that brought it.
    size: int
    #: Its cargo did not come. The session goes on; whoever waits for the task must be told.
    error: FedgateError | None = None


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
        body_limit: int = BODY_BYTES,
        on_packet: Callable[[Received], Awaitable[None] | None],
        on_broken: Callable[[FedgateError], None],
        keep: Callable[[CargoKey], KeptCargo | None] = lambda _key: None,
        turns: Turns | None = None,
        wanted: Callable[[str], bool] = lambda _task: True,
    ) -> None:
        """``limit`` bounds a model and ``body_limit`` a note, in bytes. ``keep`` says which models
        stay sealed until they are read; ``turns`` how many large ones of all receivers are on
        their way at a time; ``wanted`` whether anybody waits for what a task brings.
        """
        self._wanted = wanted
        self._body_limit = min(limit, body_limit)
        self._keep = keep
        self._turns = turns or Turns(_UNGATED)
        self._job = job
        self._link = link
        self._keys = keys
        self._pool = pool
        self._limit = limit
        self._on_packet = on_packet
        self._on_broken = on_broken
        self._queue: asyncio.Queue[tuple[LetterHeader, bytes]] = asyncio.Queue(_QUEUE)
        self._waiting = 0
        self._witnesses: dict[bytes, asyncio.Future[bytes]] = {}
        self._task = asyncio.get_running_loop().create_task(self._run())

    def put(self, header: LetterHeader, body: bytes) -> None:
        if self._queue.full() or self._waiting + len(body) > _QUEUE_BYTES:
            raise InvalidMessage("the peer sends faster than its letters can be used")
        self._waiting += len(body)
        self._queue.put_nowait((header, body))

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
            if len(self._witnesses) >= _WITNESSES:  # the oldest: its cargo never came
                self._witnesses.pop(next(iter(self._witnesses))).cancel()
            waiting = asyncio.get_running_loop().create_future()
            self._witnesses[cargo_id] = waiting
        return waiting

    async def _run(self) -> None:
        while True:
            header, body = await self._queue.get()
            self._waiting -= len(body)
            try:
                await self._hand_over(await self._fetch_or_fail(header, body))
            except FedgateError as error:
                self._on_broken(error)
                return
            except Exception as error:
                log.exception("job %s: failed on a packet", self._job)
                self._on_broken(FedgateError("a packet could not be used", why=repr(error)))
                return

    async def _hand_over(self, received: Received) -> None:
        try:
            done = self._on_packet(received)
            if done is not None:
                await done
        except BaseException:
            self.discard(received)
            raise

    def discard(self, received: Received) -> None:
        """Give back the memory of a packet that nobody takes."""
        if isinstance(received.model, Buffer):
            self._pool().give_back(received.model.number)
        elif isinstance(received.model, KeptCargo):
            received.model.close()

    async def _fetch_or_fail(self, header: LetterHeader, body: bytes) -> Received:
        packet = Packet.read(body, header.cargo)
        try:
            return await self._fetch(packet, body)
        except (Unavailable, NotFound) as error:
            return Received(packet.task, b"", None, len(body), error)

    async def _fetch(self, packet: Packet, body: bytes) -> Received:
        size = len(body) + sum(ref.size for ref in packet.cargo)
        note = packet.note
        if packet.cargo and not self._wanted(packet.task):
            raise NotFound("nobody waits for this any more")
        if isinstance(note, CargoKey):
            self._check(note, self._body_limit)
            note = await cargo.fetch(self._link, self._job, note)
        model = packet.model
        if not isinstance(model, CargoKey):
            return Received(packet.task, note, model, size)
        self._check(model, self._limit)
        async with self._turns.one() as progress:
            received = Received(packet.task, note, self._place(model), size)
            try:
                await self._fetch_model(received, model, progress, shared=packet.shared)
            except BaseException:
                self.discard(received)
                raise
        return received

    def _place(self, key: CargoKey) -> Buffer | KeptCargo:
        return self._keep(key) or self._pool().take(key.size)

    async def _fetch_model(
        self, received: Received, key: CargoKey, progress: Progress, *, shared: bool
    ) -> None:
        link, job = self._link, self._job
        witness = CargoWitness(self._keys, key) if shared else None
        if isinstance(received.model, Buffer):
            view = received.model.view
            await cargo.download(link, job, key, view, witness=witness, progress=progress)
        elif isinstance(received.model, KeptCargo):
            await cargo.keep(link, job, received.model, witness=witness, progress=progress)
        if witness is not None:
            await self._verify(witness, key)

    async def _verify(self, witness: CargoWitness, key: CargoKey) -> None:
        try:
            tag = await asyncio.wait_for(self._witness(key.id), _WITNESS_SECONDS)
        except TimeoutError:
            raise SealBroken("the sender's witness for a shared model never came") from None
        finally:
            self._witnesses.pop(key.id, None)
        witness.verify(tag)

    @staticmethod
    def _check(key: CargoKey, limit: int) -> None:
        if key.size > limit:
            raise InvalidMessage(
                "a model or body is larger than allowed here", why=f"{key.size} > {limit} bytes"
            )

    def close(self) -> None:
        self._task.cancel()
