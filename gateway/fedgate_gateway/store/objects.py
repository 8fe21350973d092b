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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, from_url

from fedgate.errors import Conflict, FedgateError, NotFound, Unavailable

CHUNK = 1024 * 1024
T = TypeVar("T")


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

    @classmethod
    def open(cls, url: str) -> Objects:
        """By URL: ``memory:///``, ``file:///folder``, ``s3://bucket/prefix``, ``gs://…``, ``az://…``.

        Credentials of cloud stores come from their usual environment variables.
        """
        try:
            return cls(
                LocalStore.from_url(url, mkdir=True) if url.startswith("file:") else from_url(url)
            )
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

    async def check(self) -> None:
        """Raises :class:`Unavailable` unless the store answers."""
        await self.exists("fedgate-is-it-there")

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
        return await asyncio.to_thread(_wrapped, key, work)


def _wrapped(key: str, work: Callable[[], T]) -> T:
    try:
        return work()
    except FedgateError:
        raise
    except AlreadyExistsError:
        raise Conflict(f"the object {key!r} is there already") from None
    except FileNotFoundError:
        raise NotFound(f"there is no object {key!r}") from None
    except (BaseError, OSError) as error:
        raise Unavailable("the object store failed", why=_first_line(error)) from error


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
