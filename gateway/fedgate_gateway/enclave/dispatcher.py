"""Sending tasks to sites: a model that many sites get is sealed and uploaded once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from fedgate.errors import FedgateError
from fedgate.task import Task
from fedgate_gateway.child.parts import Part
from fedgate_gateway.enclave.sessions import Sessions, SiteSession
from fedgate_gateway.link.client import LinkClient
from fedgate_gateway.link.delivery import Deliveries, Recipient
from fedgate_gateway.link.packet import INLINE_MODEL, INLINE_NOTE, Packet
from fedgate_gateway.sealed import CargoKey, LetterKind

#: How long a large model waits for other sites that get the same one. A framework hands tasks
#: out one by one, within a millisecond or two; a second upload would cost a hundred times that.
_GATHER = 0.004


@dataclass
class _Batch:
    """One model and the tasks that carry it, until it goes out."""

    model: Part
    tasks: list[tuple[Task, bytes, SiteSession]] = field(default_factory=list)


class Dispatcher:
    def __init__(
        self,
        job: str,
        link: LinkClient,
        sessions: Sessions,
        *,
        everyone: int,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        on_failed: Callable[[Task, FedgateError], None],
        waits_for: Callable[[str, str], bool],
    ) -> None:
        """``waits_for(task, site)``: does anybody still wait for its result?"""
        self.deliveries = Deliveries(job, link)
        self._waits_for = waits_for
        self._sessions = sessions
        self._everyone = everyone
        self._spawn = spawn
        self._on_failed = on_failed
        self._batches: dict[int, _Batch] = {}
        self._loop = asyncio.get_running_loop()

    def send(self, task: Task, note: bytes, model: Part | None, session: SiteSession) -> None:
        if model is None or len(model.view) <= INLINE_MODEL:
            inline = None if model is None else bytes(model.view)
            if len(note) <= INLINE_NOTE:
                self._post(session, Packet(note, inline, task=task.id))
            else:
                self._spawn(self._send_note(session, task, note, inline))
            return
        batch = self._batches.get(model.number)
        if batch is None:
            batch = self._batches[model.number] = _Batch(model.hold())
            self._loop.call_later(_GATHER, self._flush, model.number, batch)
        batch.tasks.append((task, note, session))
        if len(batch.tasks) == self._everyone:
            self._flush(model.number, batch)

    def _flush(self, number: int, batch: _Batch) -> None:
        if self._batches.get(number) is batch:
            del self._batches[number]
            self._spawn(self._send_batch(batch))

    async def _send_batch(self, batch: _Batch) -> None:
        """Letters first, so that sites fetch chunks while they are still being sealed."""
        view = batch.model.view
        key, shared = CargoKey.generate(len(view)), len(batch.tasks) > 1
        try:
            async with asyncio.TaskGroup() as group:
                for task, note, session in batch.tasks:
                    packed: bytes | CargoKey = note
                    if len(note) > INLINE_NOTE:
                        packed = CargoKey.generate(len(note))
                        group.create_task(self._deliver_note(packed, task, note, session))
                    self._post(session, Packet(packed, key, shared, task.id))
                to = [self._recipient(task, session) for task, _, session in batch.tasks]
                group.create_task(self.deliveries.deliver(key, view, to, shared=shared))
        finally:
            batch.model.release()

    async def _send_note(
        self, session: SiteSession, task: Task, note: bytes, model: bytes | None
    ) -> None:
        key = CargoKey.generate(len(note))
        self._post(session, Packet(key, model, task=task.id))
        await self._deliver_note(key, task, note, session)

    async def _deliver_note(
        self, key: CargoKey, task: Task, note: bytes, session: SiteSession
    ) -> None:
        to = self._recipient(task, session)
        await self.deliveries.deliver(key, memoryview(note), [to])

    def _recipient(self, task: Task, session: SiteSession) -> Recipient:
        return Recipient(
            session.site,
            session.channel,
            failed=lambda error: self._on_failed(task, error),
            wanted=lambda: self._waits_for(task.id, session.site),
        )

    def _post(self, session: SiteSession, packet: Packet) -> None:
        session.channel.post(LetterKind.TASK, packet.to_bytes(), cargo=packet.cargo)
