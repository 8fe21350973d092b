"""A ``RecordDict`` as a model and a description of everything else, and back.

The description is a list with one entry per record, in order: ``[name, kind, items]``. Items of
an array record are ``[name, dtype, shape, stype, opaque, header]`` (``header`` is None when it is
the canonical one); items of the other records are ``[key, value]``. Arrays themselves are tensors
of the model, named ``<record>/<array>`` with ``%`` and ``/`` percent-encoded, so that two arrays
never share a name.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from fedgate.errors import InvalidMessage
from fedgate.model import MAX_NAME, Model, Tensor
from fedgate_flower.arrays import OPAQUE, ReceivedArray, layout_from, put_together, take_apart
from fedgate_flower.npy import canonical_header

_ARRAYS, _METRICS, _CONFIG = 0, 1, 2
_KINDS: Mapping[int, type[Any]] = {_METRICS: MetricRecord, _CONFIG: ConfigRecord}
_MOST_DIMS = 64

Description = list[list[Any]]


#: Where the older messages keep their one model: the reply's is called as the instruction's.
_OLDER = frozenset(
    f"{message}.parameters" for message in ("fitins", "fitres", "evaluateins", "getparametersres")
)
_PARAMETERS = "%parameters"  # an escaped name never begins so


def tensor_name(record: str, array: str, *, older: bool = False) -> str:
    """The tensor of an array; different pairs have different names.

    ``older``: the record is the only one of an older message's, and gets their common name.
    """
    name = f"{_PARAMETERS if older else _escape(record)}/{_escape(array)}"
    if len(name) > MAX_NAME:  # an escaped name never holds "%#"
        digest = hashlib.sha256(name.encode()).hexdigest()
        name = f"{name[: MAX_NAME - 80]}%#{digest}"
    return name


def _older(records: Iterable[str]) -> str | None:
    """The record of an older message, where there is exactly one of them."""
    found = [name for name in records if name in _OLDER]
    return found[0] if len(found) == 1 else None


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("/", "%2F")


@dataclass
class _Shared:
    """The model that was lifted last, for messages that carry the same arrays."""

    key: tuple[Any, ...]
    model: Model
    sources: list[object]  # keeps what the key's ids stand for alive


@dataclass
class Lifter:
    """Takes records apart. Messages with the same arrays get the same ``Model`` object.

    That is how a broadcast, and an evaluation followed by the next round's training, are encoded
    and sealed once. Thread-safe.
    """

    _last: _Shared | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take_apart(self, content: RecordDict) -> tuple[Model | None, Description]:
        """The model (None without arrays) and the description of ``content``."""
        tensors: dict[str, Tensor] = {}
        key: list[Any] = []
        sources: list[object] = []
        description: Description = []
        older = _older(content)
        for name, record in content.items():
            if not isinstance(record, ArrayRecord):
                kind = _METRICS if isinstance(record, MetricRecord) else _CONFIG
                description.append([name, kind, [[k, v] for k, v in record.items()]])
                continue
            items = []
            for array_name, array in record.items():
                lifted = take_apart(array)
                tensor, layout = lifted.tensor, lifted.layout
                name_of_tensor = tensor_name(name, array_name, older=name == older)
                tensors[name_of_tensor] = tensor
                header = layout.text
                if layout.opaque or header == canonical_header(tensor.dtype, tensor.shape):
                    header = None  # type: ignore[assignment]
                shape = [int(n) for n in array.shape]
                items.append([array_name, array.dtype, shape, array.stype, layout.opaque, header])
                key.append(
                    (name_of_tensor, tensor.dtype, tensor.shape, _identity(array, lifted.source))
                )
                sources.append(lifted.source)
            description.append([name, _ARRAYS, items])
        if not tensors:
            return None, description
        return self._share(tuple(key), tensors, sources), description

    def _share(
        self, key: tuple[Any, ...], tensors: dict[str, Tensor], sources: list[object]
    ) -> Model:
        with self._lock:
            if self._last is None or self._last.key != key:
                self._last = None  # let go of the old one before the new one needs its memory
                self._last = _Shared(key, Model(tensors), sources)
            return self._last.model

    def forget(self, model: Model | None) -> None:
        """These arrays will not be sent again: keep no memory for them."""
        with self._lock:
            if self._last is not None and self._last.model is model:
                self._last = None


def _identity(array: Array, source: object) -> object:
    """Equal only for arrays that hold the same bytes, for as long as ``source`` is alive."""
    if isinstance(array, ReceivedArray) and (held := array.held()) is not None:
        return id(held[0])
    return id(source) if type(source) is bytes else object()


def restore(description: object, model: Model | None) -> RecordDict:
    """The inverse of :meth:`Lifter.take_apart`.

    Raises :class:`InvalidMessage` unless description and model fit each other exactly.
    """
    content = RecordDict()
    wanted: set[str] = set()
    entries = [_fields(entry, 3, "record") for entry in _list(description, "records")]
    older = _older(_text(name) for name, _, _ in entries)
    for name, kind, items in entries:
        if _text(name) in content:
            raise InvalidMessage("a message names a record twice")
        try:
            if kind == _ARRAYS:
                content[name] = _restore_arrays(name, items, model, wanted, older=name == older)
            elif kind in _KINDS:
                content[name] = _KINDS[kind](_restore_values(items))
            else:
                raise InvalidMessage("a message has a record of unknown kind")
        except (TypeError, ValueError) as error:  # flwr's own checks of values
            raise InvalidMessage(f"record {name[:100]!r} is malformed", why=str(error)) from error
    if set(model or ()) != wanted:
        raise InvalidMessage("a message's records and its model name different arrays")
    return content


def _restore_arrays(
    name: str, items: object, model: Model | None, wanted: set[str], *, older: bool
) -> ArrayRecord:
    record = ArrayRecord()
    for item in _list(items, "arrays"):
        array, dtype, shape, stype, opaque, header = _fields(item, 6, "array")
        key = tensor_name(name, _text(array), older=older)
        if model is None or key not in model or array in record:
            raise InvalidMessage(f"array {key[:100]!r} is missing, or described twice")
        wanted.add(key)
        tensor = model[key]
        if header is not None and not isinstance(header, bytes):
            raise InvalidMessage("an array's header must be bytes")
        if not isinstance(opaque, bool) or (opaque and header is not None):
            raise InvalidMessage("a message describes an array wrongly")
        layout = OPAQUE if opaque else layout_from(header, tensor)
        record[array] = put_together(_text(dtype), _shape(shape), _text(stype), tensor, layout)
    return record


def _restore_values(items: object) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for item in _list(items, "values"):
        key, value = _fields(item, 2, "value")
        if _text(key) in values:
            raise InvalidMessage("a record names a value twice")
        for scalar in value if isinstance(value, list) else [value]:
            if not isinstance(scalar, bool | int | float | str | bytes):
                raise InvalidMessage("a record holds a value of unknown type")
        values[key] = value
    return values


def _list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidMessage(f"a message's {what} must be a list")
    return value


def _fields(value: object, count: int, what: str) -> list[Any]:
    if not isinstance(value, list) or len(value) != count:
        raise InvalidMessage(f"a message describes a {what} wrongly")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidMessage("a message has a name or type that is no text")
    return value


def _shape(value: object) -> tuple[int, ...]:
    dims = _list(value, "shape")
    if len(dims) > _MOST_DIMS or any(type(d) is not int or not 0 <= d < 1 << 62 for d in dims):
        raise InvalidMessage("a message describes an array of an impossible shape")
    return tuple(dims)
