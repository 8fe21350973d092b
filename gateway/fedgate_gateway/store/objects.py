"""Bundles and released outputs, by obstore: a folder, memory, S3, GCS or Azure.

Objects are only ever created and deleted, never overwritten. The calls are obstore's blocking
ones, in worker threads: its asynchronous ones can abort the interpreter when it ends while the
runtime's threads still hold Python objects (seen with obstore 0.12).
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore

from fedgate.errors import Conflict, FedgateError, NotFound, Unavailable
from fedgate_gateway.store.outage import Outage
from fedgate_gateway.store.remote_objects import open_remote

CHUNK = 1024 * 1024
#: Calls at a time. Threads of its own: a store that hangs must not stop the database's work.
_THREADS = 8
_CHECK_SECONDS = 5.0
T = TypeVar("T")


class StoreAway(Unavailable):
    """It does not answer now, and may be asked again.

    The outage itself has been told: whoever catches this need not.
    """


@dataclass(frozen=True)
class StoredObject:
    key: str
    size: int
    #: "sha256:<hex>" of the stored bytes.
    digest: str


class Objects:
    """A store of immutable objects; keys are POSIX paths."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="objects")
        self._outage = Outage("the object store", "outputs wait for it, submissions are refused")
        self._checking: asyncio.Future[bool] | None = None

    @classmethod
    def open(cls, url: str, *, proxy: str = "", ca: Path | None = None) -> Objects:
        """By URL: ``memory:///``, ``file:///folder``, ``s3://bucket/prefix``, ``gs://…``, ``az://…``.

        Credentials of cloud stores come from their usual environment variables; the way there does
        not: it goes by ``proxy`` alone, and ``ca`` (PEM) is believed beside the system's.
        """
        try:
            if url.startswith("file:"):
                return cls(LocalStore.from_url(url, mkdir=True))
            return cls(open_remote(url, proxy=proxy, ca=ca))
        except (BaseError, ValueError, OSError) as error:
            raise Unavailable(
                "the object store cannot be opened", why=_first_line(error)
            ) from error

    @classmethod
    def in_folder(cls, folder: Path) -> Objects:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return cls(LocalStore(str(folder), mkdir=True))

    async def put(self, key: str, content: bytes) -> StoredObject:
        """Create an object; raises :class:`Conflict` when the key is taken."""
        digest = await asyncio.to_thread(_digest, content)
        await self._call(key, lambda: obstore.put(self._store, key, content, mode="create"))
        return StoredObject(key, len(content), digest)

    async def put_stream(
        self, key: str, chunks: AsyncIterator[bytes], *, limit: int | None = None
    ) -> StoredObject:
        """Create an object from chunks, by way of an unnamed file; all of it, or nothing.

        Raises :class:`Conflict` when the key is taken or more than ``limit`` bytes come.
        """
        if await self.exists(key):
            raise Conflict(f"the object {key!r} is there already")
        hasher, size = hashlib.sha256(), 0
        with tempfile.TemporaryFile() as spool:
            async for chunk in chunks:
                size += len(chunk)
                if limit is not None and size > limit:
                    raise Conflict("an output is too large", why=f"more than {limit} bytes came")
                await asyncio.to_thread(_spool, spool, hasher, chunk)
            spool.seek(0)
            await self._call(key, lambda: obstore.put(self._store, key, spool))
        return StoredObject(key, size, "sha256:" + hasher.hexdigest())

    async def put_file(self, key: str, path: Path) -> StoredObject:
        """Create an object from a file; raises :class:`Conflict` when the key is taken."""
        if await self.exists(key):
            raise Conflict(f"the object {key!r} is there already")
        size, digest = await asyncio.to_thread(_digest_file, path)
        await self._call(key, lambda: obstore.put(self._store, key, path))
        return StoredObject(key, size, digest)

    async def get(self, key: str) -> bytes:
        """A whole object; raises :class:`NotFound`."""
        found = await self._call(key, lambda: obstore.get(self._store, key).bytes())
        return bytes(found)

    async def stream(self, key: str) -> AsyncIterator[bytes]:
        """An object chunk by chunk; raises :class:`NotFound` on the first step."""
        found = await self._call(key, lambda: obstore.get(self._store, key))
        chunks = iter(found.stream(min_chunk_size=CHUNK))
        while (chunk := await self._call(key, lambda: next(chunks, None))) is not None:
            yield bytes(chunk)

    async def exists(self, key: str) -> bool:
        try:
            await self._call(key, lambda: obstore.head(self._store, key))
        except NotFound:
            return False
        return True

    @property
    def away(self) -> bool:
        """Did it fail when it was asked last?"""
        return self._outage.lasts

    async def check(self, seconds: float = _CHECK_SECONDS) -> None:
        """Raises :class:`StoreAway` unless the store answers; those who ask at a time share one
        question.
        """
        if self._checking is None or self._checking.done():
            self._checking = asyncio.ensure_future(self.exists("fedgate-is-it-there"))
            self._checking.add_done_callback(_retrieved)
        try:
            await asyncio.wait_for(asyncio.shield(self._checking), seconds)
        except TimeoutError:
            raise self._away(f"no answer within {seconds:g} s") from None

    async def delete(self, key: str) -> None:
        """Delete an object; one that is not there is no error."""
        try:
            await self._call(key, lambda: obstore.delete(self._store, key))
        except NotFound:
            return

    async def keys(self) -> list[str]:
        listed = await self._call("", lambda: obstore.list(self._store).collect())
        return sorted(item["path"] for item in listed)

    async def _call(self, key: str, work: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._answered, key, work)

    def _answered(self, key: str, work: Callable[[], T]) -> T:
        try:
            done = work()
        except (AlreadyExistsError, FileNotFoundError) as error:
            self._outage.ends()
            if isinstance(error, AlreadyExistsError):
                raise Conflict(f"the object {key!r} is there already") from None
            raise NotFound(f"there is no object {key!r}") from None
        except FedgateError:
            raise
        except (BaseError, OSError) as error:
            raise self._away(_first_line(error)) from error
        self._outage.ends()
        return done

    def _away(self, why: str) -> StoreAway:
        self._outage.begins(why)
        return StoreAway("the object store does not answer", why=why)


def _retrieved(check: asyncio.Future[bool]) -> None:
    """Whoever asked may have stopped to wait."""
    if not check.cancelled():
        check.exception()


def _first_line(error: BaseException) -> str:
    """Without the dump of its internals that obstore appends; people need the first line."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _digest_file(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        return path.stat().st_size, "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def _spool(spool: Any, hasher: Any, chunk: bytes) -> None:
    hasher.update(chunk)
    spool.write(chunk)
