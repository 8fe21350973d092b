"""A job's way out of a site: what its worker says is copied, checked by the guard, and sealed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from fedgate.codes import Code
from fedgate.errors import Denied, FedgateError
from fedgate.notice import Notice, public
from fedgate.task import Failure, Frame, Result, TaskError
from fedgate_gateway.child import notes
from fedgate_gateway.child.host import Incoming
from fedgate_gateway.child.memory import Buffer, Pool
from fedgate_gateway.link.channel import Channel
from fedgate_gateway.link.client import LinkClient
from fedgate_gateway.link.control import write_control
from fedgate_gateway.link.delivery import Deliveries, Recipient
from fedgate_gateway.link.packet import INLINE_MODEL, INLINE_NOTE, Packet
from fedgate_gateway.link.traffic import told_as
from fedgate_gateway.sealed import MAX_BODY, CargoKey, LetterKind
from fedgate_gateway.site.guard import EgressGuard, Flooded, denied

log = logging.getLogger(__name__)
#: Names of refused frames that are reported, each once.
_REFUSED_NAMES = 50


class Report(Protocol):
    """Writes an entry into the audit log."""

    def __call__(self, kind: str, notice: Notice, /, **told: str) -> None: ...


class Egress:
    """Of one job. ``channel`` is its session now; ``report`` writes into the audit log, ``tell``
    into the owner's own; ``on_flood`` ends the job at this site. ``known`` are names of frames
    that configuration or bundle list: others are not reported.
    """

    def __init__(
        self,
        job: str,
        site: str,
        *,
        guard: EgressGuard,
        link: LinkClient,
        channel: Callable[[], Channel | None],
        report: Report,
        tell: Callable[[str], None],
        on_flood: Callable[[FedgateError], None],
        known: Sequence[str],
    ) -> None:
        self._job = job
        self._site = site
        self._guard = guard
        self.deliveries = Deliveries(job, link)
        self._channel = channel
        self._report = report
        self._tell = tell
        self._known = known
        self._on_flood = on_flood
        self._snapshots = Pool("fedgate-egress")
        self._refused_frames: set[str] = set()
        self._said: set[str] = set()  # of their names, to the enclave
        self._tasks: set[asyncio.Task[None]] = set()

    # -- results ---------------------------------------------------------------------------------

    def result(self, incoming: Incoming, result: Result) -> None:
        """Send it in the background; ``incoming`` is released once it was copied."""
        task = asyncio.get_running_loop().create_task(self._send(incoming, result))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, incoming: Incoming, result: Result) -> None:
        """Check and seal. Whatever goes wrong, the enclave hears at once that no result comes."""
        note, copy = incoming.note, None
        try:
            if incoming.model is not None:
                copy = self._snapshots.take(len(incoming.model.view))
            await self._check(result, incoming, copy)
        except Exception as error:
            self._refused(result, error)
            self._give_back(copy)
            return
        finally:
            incoming.release()
        try:
            await self._seal(result, note, copy)
        except Exception as error:
            log.exception("job %s: a result could not be sealed", self._job)
            self.fail(result.task, Failure.UNAVAILABLE, _as_ours(error).sentence)
        finally:
            self._give_back(copy)

    async def _check(self, result: Result, incoming: Incoming, copy: Buffer | None) -> None:
        """The copy, which is what will be sealed: its worker may change its own memory meanwhile.

        Raises :class:`Denied`, or anything else on a model that we do not understand.
        """
        if incoming.model is None or copy is None:
            self._guard.check_result(result, None)
        elif len(view := incoming.model.view) > INLINE_MODEL:
            await asyncio.to_thread(_copy, copy, view)
            await asyncio.to_thread(self._guard.check_result, result, copy.view)
        else:
            _copy(copy, view)
            self._guard.check_result(result, copy.view)

    def _refused(self, result: Result, error: Exception) -> None:
        if not isinstance(error, FedgateError):
            told = "job %s: the egress guard failed on a result"
            log.error(told, self._job, exc_info=error)
            error = FedgateError("the egress guard failed", why=repr(error))
        self._tell(f"the egress guard refused a result: {error}")
        self._report("egress.refused", public(error))
        self.fail(result.task, Failure.REFUSED, denied(error))

    async def _seal(self, result: Result, note: bytes, model: Buffer | None) -> None:
        packed: bytes | CargoKey = note
        if len(note) > INLINE_NOTE:
            packed = CargoKey.generate(len(note))
        inline = None if model is None or model.size > INLINE_MODEL else bytes(model.view)
        key = None if model is None or inline is not None else CargoKey.generate(model.size)
        packet = Packet(packed, inline if key is None else key, task=result.task)
        channel = self._channel()
        if channel is None:
            return
        channel.post(LetterKind.RESULT, packet.to_bytes(), cargo=packet.cargo)
        to = [Recipient("", channel, failed=self._undelivered)]
        async with asyncio.TaskGroup() as group:
            if isinstance(packed, CargoKey):
                group.create_task(self.deliveries.deliver(packed, memoryview(note), to))
            if key is not None and model is not None:
                group.create_task(self.deliveries.deliver(key, model.view, to))

    def _undelivered(self, error: FedgateError) -> None:
        """The enclave was told, in the session, and fails the task."""
        log.warning("job %s: a result did not get out: %s", self._job, public(error).code)
        log.debug("job %s: %s", self._job, error)

    def fail(self, task: str, failure: Failure, reason: str) -> None:
        """Tell the enclave why there is no result."""
        result = Result(task, self._site, error=TaskError(failure, reason[:4000]))
        packet = Packet(notes.result_note(result), task=task)
        channel = self._channel()
        if channel is not None:
            channel.post(LetterKind.RESULT, packet.to_bytes())

    def _give_back(self, copy: Buffer | None) -> None:
        if copy is not None:
            self._snapshots.give_back(copy.number)

    # -- frames ----------------------------------------------------------------------------------

    def frame(self, frame: Frame, note: bytes) -> None:
        """From the worker, to the enclave."""
        channel = self._channel()
        if self.may_cross(frame, note) and channel is not None:
            channel.post(LetterKind.FRAME, note)

    def may_cross(self, frame: Frame, note: bytes) -> bool:
        """Ask the guard, in either direction, and report a no."""
        try:
            if len(note) > MAX_BODY:
                raise Denied("an opaque frame is too large", why=f"{len(note)} > {MAX_BODY} bytes")
            self._guard.check_frame(frame)
        except Denied as error:
            self._refuse_frame(frame, error)
            if isinstance(error, Flooded):
                self._on_flood(error)
            return False
        return True

    def crowded(self) -> bool:
        """What was sealed already waits to be taken: nothing should be added for a while."""
        channel = self._channel()
        return channel is not None and channel.crowded()

    def _refuse_frame(self, frame: Frame, error: Denied) -> None:
        """Said once for each name: a flood of refused frames must not become one of reports."""
        name = frame.name[:200]
        if name not in self._refused_frames and len(self._refused_frames) < _REFUSED_NAMES:
            self._refused_frames.add(name)
            self._tell(f"the egress guard refused {name!r}: {error}")
            told, channel = told_as(name, self._known), self._channel()
            self._report("frame.refused", public(error), frame=told)
            if channel is not None and told not in self._said:  # for the log of a job that hangs
                self._said.add(told)
                channel.post(LetterKind.CONTROL, write_control("frame-refused", frame=told))

    async def settled(self) -> None:
        """Until what the worker has handed over so far is at the enclave, or given up."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._snapshots.close()


def _as_ours(error: Exception) -> Notice:
    return public(error) if isinstance(error, FedgateError) else Notice(Code.INTERNAL)


def _copy(buffer: Buffer, view: memoryview) -> None:
    buffer.view[:] = view
