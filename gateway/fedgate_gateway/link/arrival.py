"""The receiving end of a delivery: a cargo, or whatever its sender sends in its place."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from fedgate.errors import FedgateError, InvalidMessage, NotFound, Unavailable
from fedgate_gateway.link import cargo
from fedgate_gateway.link.client import LinkClient
from fedgate_gateway.link.control import write_control
from fedgate_gateway.link.delivery import ATTEMPTS
from fedgate_gateway.link.expected import Expected
from fedgate_gateway.sealed import CargoKey

#: Seconds in which whoever sent a cargo that was lost has to say what comes in its place.
_AGAIN_SECONDS: Final = 60.0
#: What comes in place of a lost cargo, and whether a witness follows; None: nothing does.
News = tuple[CargoKey, bool] | None
_Brought = TypeVar("_Brought")


class Arrivals:
    """Of one session. ``answer`` posts a control letter to the sender."""

    def __init__(self, job: str, link: LinkClient, answer: Callable[[bytes], None]) -> None:
        self._job = job
        self._link = link
        self._answer = answer
        self._news: Expected[News] = Expected()

    def instead(self, lost: bytes, news: News) -> None:
        """The sender's word on a cargo: what comes in its place, or that nothing does."""
        self._news.tell(lost, news)

    async def bring(
        self,
        key: CargoKey,
        take: Callable[[CargoKey, bool], Awaitable[_Brought]],
        *,
        shared: bool = False,
    ) -> _Brought:
        """What ``take`` makes of it. Raises as ``take`` does, but :class:`Unavailable` and
        :class:`NotFound` only once the sender sends it no more.
        """
        size, chunk = key.size, key.chunk
        error: FedgateError = Unavailable("a model was lost on its way")
        for _ in range(ATTEMPTS):
            news = self._news.of(key.id)
            try:
                taking = await self._race(take(key, shared), news)
                if not taking.cancelled():
                    lost = taking.exception()
                    if lost is None:
                        self.done_with(key)
                        return taking.result()
                    if not isinstance(lost, Unavailable | NotFound):
                        raise lost
                    error = lost
                    self._answer(write_control("lost", cargo=key.id))
                async with asyncio.timeout(_AGAIN_SECONDS):
                    again = await asyncio.shield(news)
            except TimeoutError:
                break
            finally:
                self._news.forget(key.id)
            if again is None:
                break
            key, shared = again
            if (key.size, key.chunk) != (size, chunk):
                raise InvalidMessage("something else comes in place of a lost model")
        raise error

    @staticmethod
    async def _race(
        take: Awaitable[_Brought], news: asyncio.Future[News]
    ) -> asyncio.Future[_Brought]:
        """``take`` to its end; cancelled if its sender gives it up meanwhile."""
        taking = asyncio.ensure_future(take)
        either: list[asyncio.Future[Any]] = [taking, news]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)
        return taking

    def done_with(self, key: CargoKey) -> None:
        """Its sender need not keep it, and the gateway neither."""
        self._answer(write_control("got", cargo=key.id))
        cargo.acknowledge(self._link, self._job, key)
