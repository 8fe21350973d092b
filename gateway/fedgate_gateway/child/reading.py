"""The child's side of a deferred model: ranges of it, fetched from the parent as they are read."""

from __future__ import annotations

import mmap
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field

from fedgate.errors import InvalidModel, Unavailable

#: A read fetches at least this much, since small tensors are read one after the other.
_AHEAD = 8 * 1024 * 1024
_PATIENCE = 300.0


@dataclass
class Fetched:
    """A request that waits for its answer."""

    done: threading.Event = field(default_factory=threading.Event)
    view: memoryview | None = None
    error: str = ""


@dataclass
class Fetches:
    """The requests of one child; ``ask`` sends one. Thread-safe, but not for the reader thread,
    which delivers the answers.
    """

    ask: Callable[[int, int, int, int], None]  # part, begin, end, request
    _waiting: dict[int, Fetched] = field(default_factory=dict)
    _next: int = 1
    _gone: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)
    #: The last small range, for all models of this child together: (part, begin, view).
    window: tuple[int, int, memoryview] | None = None

    def fetch(self, part: int, begin: int, end: int) -> memoryview:
        fetched = Fetched()
        with self._lock:
            if self._gone:
                raise Unavailable("the parent process is gone")
            request, self._next = self._next, self._next + 1
            self._waiting[request] = fetched
        self.ask(part, begin, end, request)
        if not fetched.done.wait(_PATIENCE) or fetched.view is None:
            raise InvalidModel(
                "a site's model cannot be read any more", why=fetched.error or "no answer came"
            )
        return fetched.view

    def deliver(self, request: int, view: memoryview | None, error: str) -> None:
        with self._lock:
            fetched = self._waiting.pop(request, None)
        if fetched is not None:
            fetched.view, fetched.error = view, error
            fetched.done.set()

    def close(self) -> None:
        """The parent is gone: nobody waits any longer."""
        with self._lock:
            self._gone = True
            waiting, self._waiting = self._waiting, {}
        for fetched in waiting.values():
            fetched.error = "the parent process is gone"
            fetched.done.set()


class DeferredReader:
    """Reads one deferred model. The tensors hold it; ``weakref.finalize`` it to free the part."""

    def __init__(self, fetches: Fetches, part: int, size: int) -> None:
        self._fetches = fetches
        self._part = part
        self._size = size
        # The mapping of the last large range: whoever still uses it shares it.
        self._large: tuple[int, int, weakref.ref[mmap.mmap]] | None = None

    def read(self, begin: int, end: int) -> memoryview:
        window = self._fetches.window
        if window is not None and window[0] == self._part and window[1] <= begin:
            view = window[2]
            if end <= window[1] + len(view):
                return view[begin - window[1] : end - window[1]]
        if end - begin >= _AHEAD:
            return self._read_large(begin, end)
        stop = min(self._size, begin + _AHEAD)
        view = self._fetches.fetch(self._part, begin, stop)
        self._fetches.window = (self._part, begin, view)
        return view[: end - begin]

    def _read_large(self, begin: int, end: int) -> memoryview:
        known = self._large
        mapping = known[2]() if known is not None and known[:2] == (begin, end) else None
        if mapping is not None:
            return memoryview(mapping)[: end - begin]
        self._fetches.window = None
        view = self._fetches.fetch(self._part, begin, end)
        if isinstance(view.obj, mmap.mmap):
            self._large = (begin, end, weakref.ref(view.obj))
        return view
