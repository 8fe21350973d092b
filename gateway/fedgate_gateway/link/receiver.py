"""Receiving packets of one session in order: letters at once, cargo fetched before the next."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fedgate.errors import FedgateError, InvalidMessage, NotFound, SealBroken, Unavailable
from fedgate_gateway.child.memory import Buffer, Pool
from fedgate_gateway.link import cargo
from fedgate_gateway.link.arrival import Arrivals
from fedgate_gateway.link.client import LinkClient
from fedgate_gateway.link.expected import Expected
from fedgate_gateway.link.kept import KeptCargo
from fedgate_gateway.link.packet import Packet
from fedgate_gateway.link.turns import Progress, Turns
from fedgate_gateway.sealed import CargoKey, CargoWitness, LetterHeader, SessionKeys

log = logging.getLogger(__name__)
#: Packets that wait behind one whose cargo is on its way, and their bytes.
_QUEUE, _QUEUE_BYTES = 1000, 64 * 1024 * 1024
_WITNESS_SECONDS = 60
_UNGATED = 1000
#: What a note may hold where nobody says: the part of a task or result that we cannot read.
BODY_BYTES = 256 << 20


@dataclass
class Received:
    task: str
    note: bytes
    model: bytes | Buffer | KeptCargo | None
    #: Bytes of ciphertext that brought it.
    size: int
    #: Where the memory of the model is from.
    pool: Pool | None = None
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
        answer: Callable[[bytes], None],
        body_limit: int = BODY_BYTES,
        on_packet: Callable[[Received], Awaitable[None] | None],
        on_broken: Callable[[FedgateError], None],
        keep: Callable[[CargoKey], KeptCargo | None] = lambda _key: None,
        turns: Turns | None = None,
        wanted: Callable[[str], bool] = lambda _task: True,
    ) -> None:
        """``limit`` bounds a model and ``body_limit`` a note, in bytes. ``answer`` posts a control
        letter to the sender. ``keep`` says which models
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
        self.arrivals = Arrivals(job, link, answer)
        self._on_packet = on_packet
        self._on_broken = on_broken
        self._queue: asyncio.Queue[tuple[LetterHeader, bytes]] = asyncio.Queue(_QUEUE)
        self._waiting = 0
        self._witnesses: Expected[bytes] = Expected()
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
        self._witnesses.tell(body[:16], body[16:])

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

    @staticmethod
    def discard(received: Received) -> None:
        """Give back the memory of a packet that nobody takes."""
        if isinstance(received.model, Buffer) and received.pool is not None:
            received.pool.give_back(received.model.number)
        elif isinstance(received.model, KeptCargo):
            received.model.close()

    async def _fetch_or_fail(self, header: LetterHeader, body: bytes) -> Received:
        packet = Packet.read(body, header.cargo)
        try:
            return await self._fetch(packet, body)
        except (Unavailable, NotFound) as error:
            return Received(packet.task, b"", None, len(body), error=error)

    async def _fetch(self, packet: Packet, body: bytes) -> Received:
        size = len(body) + sum(ref.size for ref in packet.cargo)
        note, model = packet.note, packet.model
        if packet.cargo and not self._wanted(packet.task):
            for key in (note, model):
                if isinstance(key, CargoKey):
                    self.arrivals.done_with(key)
            raise NotFound("nobody waits for this any more")
        if isinstance(note, CargoKey):
            self._check(note, self._body_limit)
            note = await self.arrivals.bring(note, self._fetch_note)
        received = Received(packet.task, note, None, size)
        if not isinstance(model, CargoKey):
            received.model = model
            return received
        self._check(model, self._limit)
        async with self._turns.one() as progress:

            async def take(key: CargoKey, shared: bool) -> None:
                await self._fetch_model(received, key, progress, shared=shared)

            await self.arrivals.bring(model, take, shared=packet.shared)
        return received

    async def _fetch_note(self, key: CargoKey, _shared: bool) -> bytes:
        return await cargo.fetch(self._link, self._job, key)

    async def _fetch_model(
        self, received: Received, key: CargoKey, progress: Progress, *, shared: bool
    ) -> None:
        link, job = self._link, self._job
        witness = CargoWitness(self._keys, key) if shared else None
        received.model = kept = self._keep(key)
        if kept is None:
            received.pool = self._pool()
            received.model = received.pool.take(key.size)
        try:
            if kept is not None:
                await cargo.keep(link, job, kept, witness=witness, progress=progress)
            elif isinstance(received.model, Buffer):
                view = received.model.view
                await cargo.download(link, job, key, view, witness=witness, progress=progress)
            if witness is not None:
                await self._verify(witness, key)
        except BaseException:
            self.discard(received)
            raise

    async def _verify(self, witness: CargoWitness, key: CargoKey) -> None:
        try:
            tag = await asyncio.wait_for(self._witnesses.of(key.id), _WITNESS_SECONDS)
        except TimeoutError:
            raise SealBroken("the sender's witness for a shared model never came") from None
        finally:
            self._witnesses.forget(key.id)
        witness.verify(tag)

    @staticmethod
    def _check(key: CargoKey, limit: int) -> None:
        if key.size > limit:
            raise InvalidMessage(
                "a model or body is larger than allowed here", why=f"{key.size} > {limit} bytes"
            )

    def close(self) -> None:
        self._task.cancel()
