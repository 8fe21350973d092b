"""The connection of a site or an enclave to its gateway: dialled outwards, kept up, never trusted.

Messages go out through one queue (gRPC streams take one writer). When the connection breaks it is
made again with a growing pause; letters that were lost are sent again by their sessions, which
resume on ``on_up``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import grpc

from fedgate.errors import (
    Conflict,
    FedgateError,
    InvalidConfig,
    InvalidMessage,
    LimitReached,
    NotFound,
    Unavailable,
)
from fedgate.notice import public
from fedgate_gateway.link import methods
from fedgate_gateway.link.credentials import LinkCredentials, open_channel
from fedgate_gateway.link.renewal import keep_renewed
from fedgate_gateway.pki import load_or_create_identity
from fedgate_gateway.sealed import IdentityKey
from fedgate_proto.v1 import link_pb2 as pb

log = logging.getLogger(__name__)
_FIRST_PAUSE, _LAST_PAUSE = 0.1, 2.0
#: Of a pause, what is kept to even when the gateway is there again: it may come and go.
_LEAST_PART = 0.25
_QUEUE = 20_000
Call: TypeAlias = "grpc.aio.StreamStreamCall[pb.PeerMessage, pb.GatewayMessage]"


class LinkClient:
    """One peer's control stream, and the channel for its cargo.

    ``folder`` holds the peer's certificate. It is read again whenever the link is made, so a peer
    that renewed it, or enrolled again, goes on without a restart.
    """

    def __init__(
        self,
        target: str,
        folder: Path,
        *,
        hello: Callable[[], pb.PeerHello],
        on_message: Callable[[pb.GatewayMessage], None],
        on_up: Callable[[], None] = lambda: None,
        on_down: Callable[[], None] = lambda: None,
        proxy: str = "",
    ) -> None:
        self.target = target
        self._proxy = proxy
        self._folder = folder
        self._credentials = LinkCredentials.load(folder)
        self._credentials.check(datetime.now(UTC))
        self._hello = hello
        self._on_message = on_message
        self._on_up = on_up
        self._on_down = on_down
        self._queue: asyncio.Queue[pb.PeerMessage] | None = None
        self._channel: grpc.aio.Channel | None = None
        self._bulk: grpc.aio.Channel | None = None
        self._old: list[grpc.aio.Channel] = []  # with calls that may still be under way
        self._heartbeat = 5.0
        self._silence = 15.0
        self._reconnect = asyncio.Event()
        self.up = asyncio.Event()

    def send(self, message: pb.PeerMessage) -> None:
        """Queue a message; dropped without an error while the link is down."""
        if self._queue is not None:
            try:
                self._queue.put_nowait(message)
            except asyncio.QueueFull:
                self._reconnect.set()  # the gateway does not read; start over

    def start_over(self) -> None:
        """Make the link anew, with a hello of now; nothing that runs over it is lost."""
        self._reconnect.set()

    @property
    def bulk(self) -> grpc.aio.Channel:
        """The channel for cargo, bundles and outputs; a TCP connection of its own."""
        self._read_credentials()
        if self._bulk is None:
            self._bulk = open_channel(self.target, self._credentials, proxy=self._proxy)
        return self._bulk

    def _read_credentials(self) -> bool:
        """True when the files hold another certificate than the channels were opened with."""
        try:
            found = LinkCredentials.load(self._folder)
        except InvalidConfig:  # somebody is replacing them right now
            return False
        if found == self._credentials:
            return False
        self._credentials = found
        self._old += [c for c in (self._channel, self._bulk) if c is not None]
        self._channel = self._bulk = None
        return True

    async def run(self) -> None:
        """Stay connected until cancelled.

        Raises :class:`InvalidConfig` once the gateway refuses this peer, or its certificate has
        expired.
        """
        pause = _FIRST_PAUSE
        told = ""
        renewal = asyncio.create_task(keep_renewed(self.target, self._folder, proxy=self._proxy))
        try:
            while True:
                started = asyncio.get_running_loop().time()
                reason = await self._until_broken()
                if reason != told:
                    log.warning("link to %s is down: %s", self.target, reason)
                    told = reason
                if asyncio.get_running_loop().time() - started > 10:
                    pause, told = _FIRST_PAUSE, ""
                await self._rest(pause * (0.5 + random.random()))  # noqa: S311 - jitter
                pause = min(pause * 2, _LAST_PAUSE)
        finally:
            renewal.cancel()
            await asyncio.gather(renewal, return_exceptions=True)
            for channel in (self._channel, self._bulk, *self._old):
                if channel is not None:
                    await channel.close(None)

    async def _until_broken(self) -> str:
        """One connection, from dialling to its end; returns why it ended.

        Raises only :class:`InvalidConfig`, when the gateway refuses this peer for good or its
        certificate has expired, and the cancellation of this very task: whatever else a broken
        stream raises is one more way to break.
        """
        try:
            await self._connect_once()
            return "the gateway ended the stream"
        except grpc.aio.AioRpcError as error:
            if _refused(error) and not self._read_credentials():
                raise _refusal(error) from error
            return error.details() or error.code().name
        except InvalidConfig:
            raise
        except Unavailable as error:
            await self._drop_channel()
            return str(error)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return "the stream was cancelled"  # gRPC's way to say that a call is over
        except (grpc.aio.BaseError, asyncio.InvalidStateError) as error:
            return f"the stream broke: {error!r}"
        except Exception as error:
            log.exception("the link failed in a way that is not known; dialling again")
            return f"the stream broke: {error!r}"

    async def _drop_channel(self) -> None:
        """Forget a TCP connection on which nothing comes any more.

        gRPC would open the next stream on it, and take its keepalive's time to notice.
        """
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close(None)

    async def _rest(self, seconds: float) -> None:
        """Sleep; but when the gateway was not there, only until it is.

        gRPC dials by itself, about once a second. A gateway that was there and ended the stream is
        left alone for the whole time.
        """
        channel, ready = self._channel, grpc.ChannelConnectivity.READY
        if channel is None or channel.get_state() is ready:
            await asyncio.sleep(seconds)
            return
        least = seconds * _LEAST_PART
        await asyncio.sleep(least)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds - least):
                while (state := channel.get_state(try_to_connect=True)) is not ready:
                    await channel.wait_for_state_change(state)

    async def _connect_once(self) -> None:
        self._read_credentials()
        self._credentials.check(datetime.now(UTC))
        if self._channel is None:
            self._channel = open_channel(self.target, self._credentials, proxy=self._proxy)
        method = self._channel.stream_stream(
            methods.CONNECT,
            request_serializer=pb.PeerMessage.SerializeToString,
            response_deserializer=pb.GatewayMessage.FromString,
        )
        call: Call = method()  # type: ignore[call-arg]  # written to, not fed by an iterator
        self._queue = asyncio.Queue(_QUEUE)
        self._queue.put_nowait(pb.PeerMessage(hello=self._hello()))
        self._reconnect.clear()
        tasks = [
            asyncio.create_task(self._write(call, self._queue)),
            asyncio.create_task(self._read(call)),
            asyncio.create_task(self._beat()),
            asyncio.create_task(_wait(self._reconnect)),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            was_up = self.up.is_set()
            self.up.clear()
            self._queue = None
            for task in tasks:
                task.cancel()
            call.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if was_up:
                self._on_down()

    async def _write(
        self,
        call: Call,
        queue: asyncio.Queue[pb.PeerMessage],
    ) -> None:
        while True:
            await call.write(await queue.get())

    async def _read(self, call: Call) -> None:
        while True:
            try:
                message = await asyncio.wait_for(call.read(), self._silence)
            except TimeoutError:
                raise Unavailable("the gateway is silent", why=f"for {self._silence:g} s") from None
            if not isinstance(message, pb.GatewayMessage):  # the end of the stream
                return
            if message.WhichOneof("body") == "welcome":
                self._heartbeat = max(0.2, min(message.welcome.heartbeat_seconds, 60))
                self._silence = max(1.0, min(message.welcome.offline_seconds, 300))
                self.up.set()
                log.info("link to %s is up", self.target)
                self._on_up()
            else:
                self._dispatch(message)

    def _dispatch(self, message: pb.GatewayMessage) -> None:
        try:
            self._on_message(message)
        except FedgateError as error:  # one bad message must not cost the link
            log.warning("refused a message of the gateway: %s", public(error).code)
            log.debug("refused a message of the gateway: %s", error)
        except Exception:
            log.exception("failed on a message of the gateway")

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat)
            self.send(pb.PeerMessage(heartbeat=pb.Heartbeat()))


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


def _refused(error: grpc.aio.AioRpcError) -> bool:
    """Does the gateway not want this peer, as opposed to not being there?"""
    return error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


def _refusal(error: grpc.aio.AioRpcError) -> InvalidConfig:
    """A gateway that refuses us for good is not tried again."""
    return InvalidConfig(
        "the gateway refuses this peer",
        why=error.details() or "",
        remedy="enrol again with a fresh token of the gateway's administrator",
    )


_KINDS: dict[grpc.StatusCode, type[FedgateError]] = {
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: Conflict,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidMessage,
    grpc.StatusCode.RESOURCE_EXHAUSTED: LimitReached,
}


def call_failed(error: grpc.aio.AioRpcError, doing: str) -> FedgateError:
    """What the gateway answered to a call, as an error of ours; mostly :class:`Unavailable`."""
    kind = _KINDS.get(error.code(), Unavailable)
    return kind(f"{doing} failed", why=f"{error.code().name}: {error.details()}")


def load_identity(folder: Path) -> IdentityKey:
    """The identity key that enrolment made; raises :class:`InvalidConfig` where there is none."""
    if not (folder / "identity.key").exists():
        raise InvalidConfig(f"{folder} holds no identity key", remedy="enrol first")
    return IdentityKey(load_or_create_identity(folder).private_bytes_raw())
