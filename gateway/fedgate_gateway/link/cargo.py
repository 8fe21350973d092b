"""Sending and fetching cargo: sealed while it goes up, opened while it comes down.

Calls wait for a connection that is not there yet (``wait_for_ready``): many peers that connect to
one gateway at a time must not cost one of them its job. What bounds the wait is the call's own
deadline, or that of the task it belongs to.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import grpc

from fedgate.errors import Unavailable
from fedgate_gateway.link import methods
from fedgate_gateway.link.client import LinkClient, call_failed
from fedgate_gateway.link.framing import ChunkBuffer, data_of
from fedgate_gateway.link.kept import KeptCargo
from fedgate_gateway.link.turns import Progress
from fedgate_gateway.sealed import CargoKey, CargoOpener, CargoSealer, CargoWitness
from fedgate_proto.v1 import link_pb2 as pb

_ATTEMPTS = 8
#: Seconds a gateway has to deliver a bundle, and to take an output.
_BUNDLE_SECONDS, _OUTPUT_SECONDS = 120.0, 1800.0
_PAUSE, _LONGEST_PAUSE = 0.25, 5.0
#: Seconds without a byte after which a model is not waited for: longer than a gateway waits.
_IDLE_SECONDS = 120.0


def _identity(message: bytes) -> bytes:
    return message


def _unwatched(_size: int) -> None:
    pass


async def upload(
    link: LinkClient,
    job: str,
    key: CargoKey,
    plain: memoryview,
    *,
    receivers: Sequence[str] = (),
    witnesses: Sequence[CargoWitness] = (),
) -> None:
    """Seal ``plain`` chunk by chunk into the gateway; ``receivers`` empty: the job's enclave.

    Raises :class:`Unavailable` when the gateway does not take it. A broken upload cannot be
    continued: sealing a chunk again could meet other bytes under the same nonce. It is made anew,
    under another key (:mod:`.delivery`).
    """
    header = pb.CargoHeader(job=job, cargo=key.id, size=key.sealed_size, receivers=list(receivers))

    async def chunks() -> AsyncIterator[bytes]:
        yield pb.Chunk(cargo=header).SerializeToString()
        sealer, buffer = CargoSealer(key, job), ChunkBuffer(key.chunk + 16)
        for index in range(key.chunks):
            start = index * key.chunk
            piece = plain[start : start + key.plain_size(index)]
            out = buffer.space(len(piece) + 16)
            sealer.seal_chunk_into(index, piece, out)
            for witness in witnesses:
                witness.add(out)
            yield buffer.message()
        sealer.finish()

    with _calling("sending a model"):
        call = link.bulk.stream_unary(
            methods.UPLOAD_CARGO,
            request_serializer=_identity,
            response_deserializer=pb.Receipt.FromString,
        )
        await call(chunks(), wait_for_ready=True)


class _Broken(Unavailable):
    """The connection broke, as opposed to a gateway that says no: another call may go on."""


@contextlib.contextmanager
def _calling(doing: str) -> Iterator[None]:
    """However a call breaks, its caller meets an error of ours, or its own cancellation."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            raise _Broken(f"{doing} failed", why=error.details() or "UNAVAILABLE") from error
        raise call_failed(error, doing) from error
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise _Broken(f"{doing} failed", why="its connection was closed") from None
    except (grpc.aio.BaseError, asyncio.InvalidStateError) as error:
        raise _Broken(f"{doing} failed", why=repr(error)) from error


def acknowledge(link: LinkClient, job: str, key: CargoKey) -> None:
    """Tell the gateway that we need it no more: it keeps what is not acknowledged."""
    link.send(pb.PeerMessage(cargo_taken=pb.CargoRequest(job=job, cargo=key.id)))


async def download(
    link: LinkClient,
    job: str,
    key: CargoKey,
    out: memoryview,
    *,
    witness: CargoWitness | None = None,
    progress: Progress = _unwatched,
) -> None:
    """Fetch and open into ``out`` (exactly ``key.size`` bytes), continuing after broken links.

    Raises :class:`~fedgate.errors.SealBroken` for bytes that are not the sender's, and
    :class:`Unavailable` when the gateway cannot deliver.
    """
    opener = CargoOpener(key, job)

    def take(sealed: memoryview) -> None:
        opener.open_chunk_into(opener.next, sealed, out[opener.next * key.chunk :])

    await _download(link, job, opener, take, witness, progress)


async def fetch(link: LinkClient, job: str, key: CargoKey) -> bytes:
    """As :func:`download`, into memory that grows as bytes arrive: a size is announced easily."""
    opener = CargoOpener(key, job)
    opened = bytearray()

    def take(sealed: memoryview) -> None:
        opened.extend(opener.open_chunk(opener.next, sealed))

    await _download(link, job, opener, take, None, _unwatched)
    return bytes(opened)


async def keep(
    link: LinkClient,
    job: str,
    kept: KeptCargo,
    *,
    witness: CargoWitness | None = None,
    progress: Progress = _unwatched,
) -> None:
    """Fetch and check as :func:`download` does, and keep it as it came: sealed."""
    opener = CargoOpener(kept.key, job)
    scratch = memoryview(b"")

    def take(sealed: memoryview) -> None:
        nonlocal scratch
        scratch = scratch or memoryview(bytearray(kept.key.plain_size(0)))
        index = opener.next
        size = opener.open_chunk_into(index, sealed, scratch)
        kept.add(index, sealed, scratch[:size])

    await _download(link, job, opener, take, witness, progress)


async def _download(
    link: LinkClient,
    job: str,
    opener: CargoOpener,
    take: Callable[[memoryview], None],
    witness: CargoWitness | None,
    progress: Progress,
) -> None:
    key = opener.key
    attempts, loop = _ATTEMPTS, asyncio.get_running_loop()
    while opener.next < key.chunks:
        before = opener.next
        try:
            request = pb.CargoRequest(job=job, cargo=key.id, first=opener.next)
            async with asyncio.timeout(_IDLE_SECONDS) as idle:
                with _calling("fetching a model"):
                    call = link.bulk.unary_stream(
                        methods.DOWNLOAD_CARGO,
                        request_serializer=pb.CargoRequest.SerializeToString,
                        response_deserializer=_identity,
                    )
                    async for message in call(request, wait_for_ready=True):
                        idle.reschedule(loop.time() + _IDLE_SECONDS)
                        sealed = data_of(message)
                        if witness is not None:
                            witness.add(sealed)
                        take(sealed)
                        progress(len(sealed))
            if opener.next < key.chunks:
                opener.finish()  # the gateway said it was all: truncated
        except TimeoutError:
            raise Unavailable(
                "a model did not come", why=f"nothing for {_IDLE_SECONDS:g} s"
            ) from None
        except _Broken:
            attempts = _ATTEMPTS if opener.next > before else attempts - 1
            if attempts <= 0:
                raise
            await asyncio.sleep(_PAUSE)
    opener.finish()


async def fetch_bundle(link: LinkClient, job: str, size: int) -> bytes:
    """A job's bundle; the caller checks its digest. Never more than the announced size.

    Asked for again where the gateway cannot deliver it now: a store that is away for a while must
    not become a site's no. Raises :class:`Unavailable` when it does not come in time.
    """
    loop, pause = asyncio.get_running_loop(), _PAUSE
    deadline = loop.time() + _BUNDLE_SECONDS
    while True:
        try:
            return await _fetch_bundle(link, job, size, deadline - loop.time())
        except _Broken:
            if loop.time() + pause > deadline:
                raise
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


async def _fetch_bundle(link: LinkClient, job: str, size: int, seconds: float) -> bytes:
    call = link.bulk.unary_stream(
        methods.FETCH_BUNDLE,
        request_serializer=pb.BundleRequest.SerializeToString,
        response_deserializer=pb.Chunk.FromString,
    )
    received = bytearray()
    with _calling("fetching the bundle"):
        request = pb.BundleRequest(job=job)
        async for chunk in call(request, wait_for_ready=True, timeout=seconds):
            received += chunk.data
            if len(received) > size:
                raise Unavailable("the bundle is larger than announced", why=f"{size} bytes")
    return bytes(received)


async def upload_output(
    link: LinkClient, header: pb.OutputHeader, pieces: AsyncIterator[bytes]
) -> None:
    """Hand a released output to the gateway; raises :class:`Unavailable` when it does not take it
    in time.
    """

    async def chunks() -> AsyncIterator[pb.Chunk]:
        yield pb.Chunk(output=header)
        async for piece in pieces:
            for start in range(0, len(piece), methods.CHUNK):
                yield pb.Chunk(data=piece[start : start + methods.CHUNK])

    call = link.bulk.stream_unary(
        methods.UPLOAD_OUTPUT,
        request_serializer=pb.Chunk.SerializeToString,
        response_deserializer=pb.Receipt.FromString,
    )
    with _calling("releasing an output"):
        await call(chunks(), wait_for_ready=True, timeout=_OUTPUT_SECONDS)
