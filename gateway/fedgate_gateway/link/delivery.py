"""Something large on its way to its receivers, and once more where it was lost.

A receiver says in its session of each cargo that it *got* it, or that it is *lost*; a broken upload
shows at its sender. The sender keeps the plaintext until then and sends it *again*: as another
cargo under a fresh key, because a chunk is never sealed twice. What was lost too often is *gone*.

Whoever carries letters cannot forge such a word; it can only keep cargo from arriving, for a while.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from fedgate.errors import Conflict, FedgateError, NotFound, Unavailable
from fedgate_gateway.link import cargo
from fedgate_gateway.link.channel import Channel
from fedgate_gateway.link.client import LinkClient
from fedgate_gateway.link.control import write_control
from fedgate_gateway.sealed import CargoKey, CargoWitness, LetterKind

log = logging.getLogger(__name__)
#: How often one cargo is sent, and the pause before its second time, which doubles with each.
ATTEMPTS: Final = 6
_PAUSE: Final = 0.25
#: How often a sender looks whether anybody still waits for what it keeps.
_LOOK_SECONDS: Final = 1.0
#: What another attempt may mend.
_PASSING: Final = (Unavailable, NotFound, Conflict)


def _always() -> bool:
    return True


@dataclass(frozen=True, eq=False)
class Recipient:
    """``site`` is empty for the job's enclave; ``failed`` hears why nothing got there."""

    site: str
    channel: Channel
    failed: Callable[[FedgateError], None]
    wanted: Callable[[], bool] = _always


@dataclass(eq=False)
class _Waiting:
    """What is known of one recipient."""

    to: Recipient
    #: Of the newest cargo: True when it was got, False when it was lost.
    verdict: asyncio.Future[bool]
    ids: list[bytes] = field(default_factory=list)
    got: bool = False

    @property
    def lost(self) -> bool:
        return not self.got and self.verdict.done()

    @property
    def wanted(self) -> bool:
        return self.to.channel.broken is None and self.to.wanted()


class Deliveries:
    """All that one end of a job has on its way."""

    def __init__(self, job: str, link: LinkClient) -> None:
        self._job = job
        self._link = link
        self._waiting: dict[tuple[str, bytes], _Waiting] = {}

    def heard(self, site: str, id: bytes, *, got: bool) -> None:
        """A receiver's word on a cargo; on one that nobody waits for any more it means nothing."""
        one = self._waiting.get((site, id))
        if one is None or one.verdict.done() or not (got or id == one.ids[-1]):
            return
        one.got = got
        one.verdict.set_result(got)

    async def deliver(
        self, key: CargoKey, plain: memoryview, to: Sequence[Recipient], *, shared: bool = False
    ) -> None:
        """Until each recipient has it, waits for it no more, or was told that it is gone.

        ``plain`` must not change meanwhile. The letters that name ``key`` are posted by the caller;
        ``shared``: they announce a witness.
        """
        loop = asyncio.get_running_loop()
        waiting = [_Waiting(one, loop.create_future()) for one in to]
        try:
            await self._send(key, plain, waiting, 1, shared=shared)
        finally:
            for one in waiting:
                for cargo_id in one.ids:
                    self._waiting.pop((one.to.site, cargo_id), None)

    async def _send(
        self, key: CargoKey, plain: memoryview, to: list[_Waiting], attempt: int, *, shared: bool
    ) -> None:
        for one in to:
            one.ids.append(key.id)
            one.verdict = asyncio.get_running_loop().create_future()
            self._waiting[one.to.site, key.id] = one
        error = await self._upload(key, plain, to, shared=shared)
        left = list(to)
        async with asyncio.TaskGroup() as repeats:
            while left := [one for one in left if not one.got and one.wanted]:
                if error is None and not any(one.lost for one in left):
                    await _first([one.verdict for one in left])
                    continue
                await asyncio.sleep(_PAUSE * 2 ** (attempt - 1))  # others may have lost it as well
                lost = [o for o in left if not o.got and (error is not None or o.lost)]
                left = [one for one in left if one not in lost]
                reason = error or Unavailable("a model was lost on its way")
                repeats.create_task(self._again(key, plain, lost, attempt, reason))

    async def _again(
        self,
        key: CargoKey,
        plain: memoryview,
        lost: list[_Waiting],
        attempt: int,
        error: FedgateError,
    ) -> None:
        if attempt >= ATTEMPTS or not isinstance(error, _PASSING):
            for one in lost:
                one.to.channel.post(LetterKind.CONTROL, write_control("gone", cargo=key.id))
                one.to.failed(error)
            return
        fresh, shared = CargoKey.generate(key.size, key.chunk), len(lost) > 1
        body = write_control("again", cargo=key.id, key=fresh.to_bytes(), shared=shared)
        for one in lost:
            one.to.channel.post(LetterKind.CONTROL, body, cargo=(fresh.ref,))
        await self._send(fresh, plain, lost, attempt + 1, shared=shared)

    async def _upload(
        self, key: CargoKey, plain: memoryview, to: list[_Waiting], *, shared: bool
    ) -> FedgateError | None:
        """Until it is there, breaks, or nobody waits for it; returns why it broke."""
        witnesses = [CargoWitness(one.to.channel.keys, key) for one in to] if shared else []
        sending = asyncio.get_running_loop().create_task(
            cargo.upload(
                self._link, self._job, key, plain,
                receivers=[one.to.site for one in to if one.to.site], witnesses=witnesses,
            )
        )  # fmt: skip
        try:
            while not sending.done() and any(o.wanted and not o.verdict.done() for o in to):
                await _first([sending, *(o.verdict for o in to if not o.verdict.done())])
            if sending.done():
                sending.result()
                for one, witness in zip(to, witnesses, strict=False):
                    body = key.id + witness.tag()
                    one.to.channel.post(LetterKind.CARGO, body, cargo=(key.ref,))
        except FedgateError as error:
            return error
        except Exception as error:  # its receivers wait: they hear that it is gone
            log.exception("job %s: a model could not be sent", self._job)
            return FedgateError("a model could not be sent", why=type(error).__name__)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        return None


async def _first(of: Sequence[asyncio.Future[bool] | asyncio.Task[None]]) -> None:
    await asyncio.wait(of, timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
