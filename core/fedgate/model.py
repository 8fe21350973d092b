"""A model: named tensors and string metadata, in the safetensors layout.

Layout (https://github.com/huggingface/safetensors#format): ``u64 LE header length | JSON header |
data``. The header depends on names, dtypes and shapes only, so a writer can stream tensor by
tensor, and a reader gets views of the caller's buffer without copying a byte.

A tensor is kept as raw little-endian bytes with a safetensors dtype name, so BF16 and FP8 pass
through untouched even where numpy does not know them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fedgate.errors import InvalidModel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Bytes per element of every dtype we carry.
ITEMSIZE: Mapping[str, int] = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1,
    "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4,
    "I64": 8, "U64": 8, "F64": 8, "C64": 8,
}  # fmt: skip

_NUMPY_NAME: Mapping[str, str] = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "I16": "int16", "U16": "uint16", "F16": "float16",
    "I32": "int32", "U32": "uint32", "F32": "float32", "I64": "int64", "U64": "uint64",
    "F64": "float64", "C64": "complex64",
}  # fmt: skip
_FROM_NUMPY = {v: k for k, v in _NUMPY_NAME.items()} | {
    "bfloat16": "BF16",
    "float8_e5m2": "F8_E5M2",
    "float8_e4m3fn": "F8_E4M3",
}
_ML_DTYPES = {"BF16": "bfloat16", "F8_E5M2": "float8_e5m2", "F8_E4M3": "float8_e4m3fn"}

MAX_HEADER = 16 * 1024 * 1024
MAX_TENSORS = 200_000
MAX_NAME = 1024
MAX_RANK = 64
_MAX_BYTES = 1 << 46


@dataclass(frozen=True, slots=True)
class Tensor:
    """One array: dtype (a safetensors name), shape, and its C-contiguous little-endian bytes."""

    dtype: str
    shape: tuple[int, ...]
    data: memoryview

    def __post_init__(self) -> None:
        expected = nbytes_of(self.dtype, self.shape)
        if self.data.nbytes != expected:
            raise InvalidModel(
                f"tensor of {self.dtype}{list(self.shape)} needs {expected} bytes",
                why=f"{self.data.nbytes} bytes were given",
            )

    @property
    def nbytes(self) -> int:
        return self.data.nbytes

    @classmethod
    def from_numpy(cls, array: NDArray[Any]) -> Tensor:
        """A tensor that shares the array's memory where it is contiguous and little-endian."""
        import numpy as np

        name = _FROM_NUMPY.get(array.dtype.name)
        if name is None:
            raise InvalidModel(
                f"dtype {array.dtype} cannot be a tensor",
                remedy="send it as opaque bytes (a U8 tensor)",
            )
        if array.dtype.byteorder == ">":
            array = array.astype(array.dtype.newbyteorder("<"))
        shape = array.shape
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        return cls(name, shape, flat.data)

    def numpy(self) -> NDArray[Any]:
        """A view (no copy); writable exactly when the underlying buffer is."""
        import numpy as np

        return np.frombuffer(self.data, dtype=numpy_dtype(self.dtype)).reshape(self.shape)


def numpy_dtype(dtype: str) -> np.dtype[Any]:
    """The numpy dtype of a safetensors dtype name, through ml_dtypes for BF16 and FP8."""
    import numpy as np

    if dtype in _ML_DTYPES:
        import ml_dtypes

        found: np.dtype[Any] = np.dtype(getattr(ml_dtypes, _ML_DTYPES[dtype]))
        return found
    return np.dtype(_NUMPY_NAME[dtype])


def nbytes_of(dtype: str, shape: Iterable[int]) -> int:
    """Bytes of a tensor; raises :class:`InvalidModel` for unknown dtypes and absurd shapes."""
    total = ITEMSIZE.get(dtype)
    if total is None:
        raise InvalidModel(f"unknown dtype {dtype!r}", why=f"known are {', '.join(ITEMSIZE)}")
    dims = tuple(shape)
    if len(dims) > MAX_RANK or any(type(d) is not int or d < 0 or d > _MAX_BYTES for d in dims):
        raise InvalidModel("bad tensor shape", why=f"{dims[:8]!r}")
    if 0 in dims:
        return 0
    for dim in dims:
        total *= dim
        if total > _MAX_BYTES:
            raise InvalidModel("tensor too large", why=f"shape {dims[:8]!r}")
    return total


@dataclass(frozen=True)
class Model(Mapping[str, Tensor]):
    """Named tensors in a stable order, with string metadata."""

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    @classmethod
    def from_numpy(
        cls, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None
    ) -> Model:
        return cls({k: Tensor.from_numpy(v) for k, v in arrays.items()}, metadata or {})

    def numpy(self) -> dict[str, NDArray[Any]]:
        return {name: tensor.numpy() for name, tensor in self.tensors.items()}

    def signature(self) -> tuple[tuple[str, str, tuple[int, ...]], ...]:
        """What the egress guard compares: names, dtypes and shapes, sorted by name."""
        return tuple(sorted((n, t.dtype, t.shape) for n, t in self.tensors.items()))

    def header(self) -> bytes:
        """The length-prefixed header, padded with spaces so that data starts 64-byte aligned."""
        entries: dict[str, Any] = {}
        if self.metadata:
            entries["__metadata__"] = _read_metadata(self.metadata)
        offset = 0
        for name, tensor in self.tensors.items():
            if name == "__metadata__":
                raise InvalidModel("a tensor may not be called __metadata__")
            _check_name(name)
            end = offset + tensor.nbytes
            entries[name] = {
                "dtype": tensor.dtype,
                "shape": list(tensor.shape),
                "data_offsets": [offset, end],
            }
            offset = end
        text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-(8 + len(text)) % 64)
        if len(text) > MAX_HEADER:
            raise InvalidModel("model header too large", why=f"{len(text)} > {MAX_HEADER} bytes")
        return len(text).to_bytes(8, "little") + text

    @property
    def nbytes(self) -> int:
        """Size of the tensors alone, without the header."""
        return sum(t.nbytes for t in self.tensors.values())

    def pieces(self) -> Iterator[bytes | memoryview]:
        """The serialised model, piece by piece, without joining it: header, then each tensor."""
        yield self.header()
        for tensor in self.tensors.values():
            if tensor.nbytes:
                yield tensor.data

    def to_bytes(self) -> bytes:
        return b"".join(self.pieces())

    @classmethod
    def parse(cls, buffer: bytes | bytearray | memoryview) -> Model:
        """Views of ``buffer`` (kept alive by them); every offset and size is checked first.

        Raises :class:`InvalidModel` for anything that is not exactly one valid model: short or
        oversized headers, duplicate names, unknown dtypes, sizes that disagree with shapes,
        overlaps, gaps, and trailing bytes.
        """
        view = memoryview(buffer).cast("B")
        layout = read_layout(view, len(view))
        data = view[layout.start :]
        tensors = {
            name: Tensor(span.dtype, span.shape, data[span.begin : span.end])
            for name, span in layout.spans.items()
        }
        return cls(tensors, layout.metadata)


@dataclass(frozen=True, slots=True)
class Span:
    """Where a tensor lies: ``begin`` and ``end`` count from the first byte behind the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class ModelLayout:
    """What a header says of a model; ``start`` is the header's own length."""

    spans: Mapping[str, Span]
    metadata: Mapping[str, str]
    start: int


def read_layout(header: memoryview, size: int) -> ModelLayout:
    """The layout of a model of ``size`` bytes that begins with ``header``.

    Raises :class:`InvalidModel` unless it is exactly one valid model.
    """
    entries, start = _read_header(header)
    metadata = _read_metadata(entries.pop("__metadata__", {}))
    length = size - start
    spans: dict[str, Span] = {}
    for name, entry in entries.items():
        dtype, shape, begin, end = _read_entry(name, entry)
        if not 0 <= begin <= end <= length:
            raise InvalidModel(f"tensor {name!r} lies outside the data")
        if end - begin != nbytes_of(dtype, shape):
            raise InvalidModel(f"size of tensor {name!r} disagrees with its shape")
        spans[name] = Span(dtype, shape, begin, end)
    _check_cover([(span.begin, span.end) for span in spans.values()], length)
    return ModelLayout(spans, metadata, start)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidModel("duplicate name in a model header")
    return found


def _read_header(view: memoryview) -> tuple[dict[str, Any], int]:
    if len(view) < 8:
        raise InvalidModel("not a model", why="shorter than its length field")
    length = int.from_bytes(view[:8], "little")
    if length > MAX_HEADER or 8 + length > len(view):
        raise InvalidModel("not a model", why=f"header of {length} bytes does not fit")
    text = bytes(view[8 : 8 + length])
    if text[:1] != b"{":
        raise InvalidModel("not a model", why="its header does not begin with a brace")
    try:
        # decoded here: json.loads would also take UTF-16 and UTF-32, which other readers do not
        entries = json.loads(text.decode(), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise InvalidModel("not a model", why="its header is not JSON") from error
    if not isinstance(entries, dict) or len(entries) > MAX_TENSORS:
        raise InvalidModel("not a model", why="its header is not an object of sensible size")
    return entries, 8 + length


def _read_metadata(metadata: Any) -> dict[str, str]:
    if not isinstance(metadata, Mapping) or not all(
        isinstance(k, str) and isinstance(v, str) and _encodable(k) and _encodable(v)
        for k, v in metadata.items()
    ):
        raise InvalidModel("model metadata must be strings")
    return dict(metadata)


def _encodable(text: str) -> bool:
    """JSON can spell half of a surrogate pair, which no UTF-8 can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or len(name) > MAX_NAME or not _encodable(name):
        raise InvalidModel("bad tensor name", why=f"{name!r:.80}; the limit is {MAX_NAME}")


def _read_entry(name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    _check_name(name)
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise InvalidModel(f"malformed header entry of tensor {name!r}")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if (
        not isinstance(dtype, str)
        or not isinstance(shape, list)
        or not isinstance(offsets, list)
        or len(offsets) != 2
        or any(type(o) is not int for o in offsets)
    ):
        raise InvalidModel(f"malformed header entry of tensor {name!r}")
    return dtype, tuple(shape), offsets[0], offsets[1]


def _check_cover(spans: list[tuple[int, int]], size: int) -> None:
    position = 0
    for begin, end in sorted(spans):
        if begin != position:
            raise InvalidModel("tensors overlap or leave gaps")
        position = end
    if position != size:
        raise InvalidModel("trailing bytes after the last tensor")
