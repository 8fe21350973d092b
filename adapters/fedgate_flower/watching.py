"""Running code around a method of every subclass of a class, including those yet to be written."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

#: ``(original, self, args, kwargs) -> result``: runs instead of the outermost call of a method.
Around = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]


def watch(base: type[Any], methods: Mapping[str, Around]) -> None:
    """Run each of ``methods`` around the outermost call of the method of that name.

    The outermost call of a thread is the one an outsider made: not what a subclass calls by
    ``super()``, nor what a wrapper calls on the object it wraps. Classes defined later are seen
    through ``__init_subclass__``; methods replaced on a single object are not.
    """
    depths = {name: _Depth() for name in methods}

    def wrap(cls: type[Any]) -> None:
        for name, around in methods.items():
            original = cls.__dict__.get(name)
            # functools.wraps copies the mark, so it must point at the very function to count.
            if inspect.isfunction(original) and original.__dict__.get("_watched") is not original:
                setattr(cls, name, _watched(original, around, depths[name]))

    def wrap_all(cls: type[Any]) -> None:
        wrap(cls)
        for sub in cls.__subclasses__():
            wrap_all(sub)

    def on_subclass(cls: type[Any], /, **kwargs: Any) -> None:
        super(base, cls).__init_subclass__(**kwargs)
        wrap(cls)

    wrap_all(base)
    base.__init_subclass__ = classmethod(on_subclass)  # type: ignore[assignment]


class _Depth(threading.local):
    now = 0

    @contextmanager
    def entered(self) -> Iterator[bool]:
        """Yields whether this is the outermost call of its thread."""
        self.now += 1
        try:
            yield self.now == 1
        finally:
            self.now -= 1


def _watched(original: Callable[..., Any], around: Around, depth: _Depth) -> Callable[..., Any]:
    @functools.wraps(original)
    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        with depth.entered() as outermost:
            if outermost:
                return around(original, self, args, kwargs)
            return original(self, *args, **kwargs)

    watched._watched = watched  # type: ignore[attr-defined]
    return watched
