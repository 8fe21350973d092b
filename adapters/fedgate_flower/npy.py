"""The header of a ``.npy`` file, read strictly and written reproducibly.

Flower's ``Array.data`` is a whole ``.npy`` file. Format 1.0
(https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html): ``\\x93NUMPY 1 0``, a
little-endian u16, and a Python literal padded with spaces to a multiple of 64 bytes. Only the
exact text numpy writes for plain dtypes is understood here; whatever else there is (structured
dtypes, version 2 and 3) is left to numpy and travels as opaque bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod

_MAGIC = b"\x93NUMPY\x01\x00"
_LONGEST = 4096
_TEXT = re.compile(
    rb"\{'descr': '([<>|][a-zA-Z]\d{1,3})', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,18}(?:,|(?:, \d{1,18})+))?)\), \} *\n"
)
#: numpy leaves room for the first axis to grow to this many digits.
_GROWTH_DIGITS = 21

#: safetensors dtype of each little-endian descr.
_PLAIN = {
    "|b1": "BOOL", "|u1": "U8", "|i1": "I8",
    "<i2": "I16", "<u2": "U16", "<f2": "F16",
    "<i4": "I32", "<u4": "U32", "<f4": "F32",
    "<i8": "I64", "<u8": "U64", "<f8": "F64", "<c8": "C64",
}  # fmt: skip
_DESCR = {dtype: descr for descr, dtype in _PLAIN.items()}
#: numpy writes dtypes of ml_dtypes as raw void bytes; the Array's own dtype says what they are.
_VOID = {
    ("V2", "bfloat16"): "BF16",
    ("V1", "float8_e4m3fn"): "F8_E4M3",
    ("V1", "float8_e5m2"): "F8_E5M2",
}


@dataclass(frozen=True, slots=True)
class NpyHeader:
    """What a header says, and how many bytes it takes."""

    descr: str
    fortran: bool
    shape: tuple[int, ...]
    size: int

    @property
    def little(self) -> str:
        """The descr with its bytes in little-endian order."""
        return self.descr.replace(">", "<")

    @property
    def swapped(self) -> bool:
        return self.descr.startswith(">")

    @property
    def plain(self) -> bool:
        """True when the payload is the tensor's bytes as they are: C order, little-endian."""
        return not self.swapped and not (self.fortran and len(self.shape) > 1)

    @property
    def payload(self) -> int:
        """Bytes after the header; plain descrs end in their item size."""
        return int(self.descr[2:]) * prod(self.shape)

    def tensor_dtype(self, declared: str) -> str | None:
        """The safetensors dtype of the payload, or None for one that cannot be a tensor."""
        return _PLAIN.get(self.little) or _VOID.get((self.descr[1:], declared))


def parse_header(data: memoryview) -> NpyHeader | None:
    """The header at the start of ``data``, or None when it is not one that we understand."""
    if len(data) < 10 or data[:8] != _MAGIC:
        return None
    length = int.from_bytes(data[8:10], "little")
    if length > _LONGEST or len(data) < 10 + length:
        return None
    match = _TEXT.fullmatch(bytes(data[10 : 10 + length]))
    if match is None:
        return None
    shape = tuple(int(n) for n in match[3].decode().split(",") if n)
    if len(shape) > 64:
        return None
    return NpyHeader(match[1].decode(), match[2] == b"True", shape, 10 + length)


def canonical_header(dtype: str, shape: tuple[int, ...]) -> bytes | None:
    """What numpy writes for a C-ordered array of a safetensors ``dtype``; None if it has no descr.

    Written here and not by numpy, so that two sides with different numpy versions agree on it.
    """
    descr = _DESCR.get(dtype)
    if descr is None:
        return None
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape!r}, }}"
    if shape:
        text += " " * (_GROWTH_DIGITS - len(repr(shape[0])))
    padding = 64 - (len(_MAGIC) + 2 + len(text) + 1) % 64  # never 0, as numpy does it
    encoded = text.encode() + b" " * padding + b"\n"
    return _MAGIC + len(encoded).to_bytes(2, "little") + encoded
