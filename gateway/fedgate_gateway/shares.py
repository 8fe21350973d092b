"""What one party may have of a thing that all share: at one time (:class:`Budget`), or in a time
(:class:`Rate`).

Every bound on what peers, jobs, projects and tokens bring is one of these two, and what goes beyond
it fails for whoever brought it, with the limit's name in words: nobody uses up what others need.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fedgate.errors import LimitReached

#: Holders whose rate is remembered; beyond it, those that have not spent for a while are forgotten.
_REMEMBERED = 10_000
#: Who has a share of everything.
ALL = "all"


@dataclass(frozen=True)
class Share:
    """``limit``: the most that one holder may have; ``setting``: where an operator raises it."""

    limit: int
    setting: str


class Budget:
    """``what`` is shared; ``shares`` says for each kind of holder what one of them may have.

    The kind ``"all"`` has one holder: everybody together. Thread-safe.
    """

    def __init__(self, what: str, shares: Mapping[str, Share]) -> None:
        self.what = what
        self.shares = shares
        self._held: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def hold(self, amount: int, /, **holders: str) -> Hold:
        """Take ``amount`` in the name of holders by kind (``peer=…, job=…``) and of everybody.

        Kinds that have no share here are not counted. Raises :class:`LimitReached`.
        """
        named = {**holders, ALL: ""}
        held = Hold(self, {k: named[k] for k in self.shares if k in named})
        held.take(amount)
        return held

    def held(self, kind: str, holder: str = "") -> int:
        return self._held[kind, holder]

    def _take(self, amount: int, holders: Mapping[str, str]) -> None:
        with self._lock:
            for kind, holder in holders.items():
                share = self.shares[kind]
                if self._held[kind, holder] + amount > share.limit:
                    raise self._full(kind, holder, share)
            for key in holders.items():
                self._held[key] += amount

    def _give_back(self, amount: int, holders: Mapping[str, str]) -> None:
        with self._lock:
            for key in holders.items():
                self._held[key] -= amount
                if self._held[key] <= 0:
                    del self._held[key]

    def _full(self, kind: str, holder: str, share: Share) -> LimitReached:
        whose = "all together may" if kind == ALL else f"one {kind} may"
        return LimitReached(
            f"too many {self.what} at a time",
            why=f"{whose} have {share.limit}" + (f": {holder:.80} does" if holder else ""),
            remedy=f"wait until some are done, or have limits.{share.setting} raised",
            limit=kind,
        )


class Hold:
    """What somebody has of a budget, until it is given back."""

    def __init__(self, budget: Budget, holders: Mapping[str, str]) -> None:
        self._budget = budget
        self.holders = holders
        self.amount = 0

    def take(self, amount: int) -> None:
        """Have more; raises :class:`LimitReached` and changes nothing."""
        self._budget._take(amount, self.holders)
        self.amount += amount

    def give_back(self) -> None:
        """Idempotent."""
        amount, self.amount = self.amount, 0
        self._budget._give_back(amount, self.holders)

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, *_: object) -> None:
        self.give_back()


class Rate:
    """One holder may have ``count`` of ``what`` in ``seconds``, at any pace. Thread-safe.

    A bucket that fills evenly, as in ITU-T I.371's leaky bucket.
    """

    def __init__(
        self,
        what: str,
        share: Share,
        seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.what = what
        self.share = share
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._empty_at: dict[str, float] = {}  # when the holder's bucket has run out again

    def spend(self, holder: str, amount: int = 1) -> None:
        """Raises :class:`LimitReached`, which says after how many seconds there is room again."""
        wait = self.wait(holder, amount)
        if wait > 0:
            raise LimitReached(
                f"too many {self.what}",
                why=f"{self.share.limit} in {self._seconds:g} s are allowed",
                remedy=f"try again in {math.ceil(wait)} s, or have limits.{self.share.setting} "
                "raised",
                limit=self.what,
                retry_after=math.ceil(wait),
            )

    def wait(self, holder: str, amount: int = 1) -> float:
        """Spend and return 0, or the seconds until there is room for it; then nothing is spent."""
        drop = self._seconds / self.share.limit
        with self._lock:
            now = self._clock()
            level = max(0.0, self._empty_at.get(holder, 0.0) - now)
            over = level + amount * drop - self._seconds
            if over > 1e-9 and level > 0:
                return over
            self._empty_at[holder] = now + level + amount * drop
            if len(self._empty_at) > _REMEMBERED:
                self._forget(now)
            return 0.0

    def _forget(self, now: float) -> None:
        for holder in [h for h, at in self._empty_at.items() if at <= now]:
            del self._empty_at[holder]
