"""Strict reading and writing of the sealed transport's messages.

A message is a four-byte mark (``FG``, what it is, format version) and fields of fixed size or with
a bounded length in front, big-endian. There is one encoding of a message and no optional parts, so
what was parsed and what was authenticated cannot differ.
"""

from __future__ import annotations

from fedgate.codes import Code
from fedgate.errors import SealBroken
from fedgate.notice import Notice

Bytes = bytes | bytearray | memoryview

VERSION = 1
MARK_BYTES = 4


def mark(what: bytes, version: int = VERSION) -> bytes:
    """The mark of a message; ``what`` is one letter."""
    return b"FG" + what + bytes((version,))


def text8(value: str) -> bytes:
    """A name or id, at most 255 bytes of printable UTF-8, with a u8 length."""
    try:
        raw = value.encode()
    except UnicodeEncodeError as error:
        raise SealBroken("a name cannot be written", why=str(error)) from None
    if len(raw) > 255 or not printable(value):
        raise SealBroken("a name is too long or not printable", why=repr(value[:64]))
    return bytes((len(raw),)) + raw


def blob32(value: Bytes, limit: int, what: str) -> bytes:
    """Bytes with a u32 length; at most ``limit``."""
    if len(value) > limit:
        raise SealBroken(f"the {what} is too large", why=f"{len(value)} bytes, limit {limit}")
    return len(value).to_bytes(4, "big") + bytes(value)


def printable(text: str) -> bool:
    """No control characters, line breaks or the like: names end up in logs and audit entries."""
    return text.isprintable()


class Fields:
    """Reads fields one after the other; every failure is a :class:`SealBroken`."""

    __slots__ = ("_data", "_end", "_what", "position")

    def __init__(self, data: Bytes, what: str, kind: bytes, version: int = VERSION) -> None:
        self._data = memoryview(data)
        if self._data.ndim != 1 or self._data.itemsize != 1 or not self._data.contiguous:
            raise SealBroken(f"the {what} is not a string of bytes")
        self._end = len(self._data)
        self._what = what
        self.position = 0
        got = self.take(MARK_BYTES)
        if got[:3] != b"FG" + kind:
            raise SealBroken(f"this is no {what}", notice=Notice(Code.NO_LETTER))
        if got[3] != version:
            raise SealBroken(
                f"the {what} has format version {got[3]}",
                why=f"this program speaks version {version}",
                remedy="use the release of Fedgate that wrote it, or the same one on both sides",
            )

    def take(self, count: int) -> bytes:
        end = self.position + count
        if end > self._end:
            raise SealBroken(
                f"the {self._what} is truncated",
                why=f"{self._end} bytes",
                notice=Notice(Code.WRONG_LENGTH),
            )
        raw = bytes(self._data[self.position : end])
        self.position = end
        return raw

    def number(self, size: int) -> int:
        """An unsigned number of ``size`` bytes."""
        return int.from_bytes(self.take(size), "big")

    def text(self) -> str:
        """What :func:`text8` wrote."""
        raw = self.take(self.number(1))
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            raise SealBroken(f"a name in the {self._what} is not UTF-8") from None
        if not printable(text):
            raise SealBroken(f"a name in the {self._what} is not printable")
        return text

    def blob(self, limit: int, what: str) -> bytes:
        """What :func:`blob32` wrote; the bound is checked before a byte is copied."""
        size = self.number(4)
        if size > limit:
            raise SealBroken(f"the {what} is too large", why=f"{size} bytes, limit {limit}")
        return self.take(size)

    @property
    def left(self) -> int:
        return self._end - self.position

    def end(self) -> None:
        """Nothing may follow."""
        if self.left:
            raise SealBroken(
                f"bytes follow the {self._what}",
                why=f"{self.left} too many",
                notice=Notice(Code.WRONG_LENGTH),
            )
