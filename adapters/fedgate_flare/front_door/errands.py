"""Jobs on their way: handed in at the gateway, followed to their end, cancelled on request.

Knows nothing of FLARE: what there is to write down goes to a :class:`Book`. Each job under way has
a thread, which waits for what happens at the gateway and polls nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from fedgate.errors import (
    Conflict,
    DeadlineExceeded,
    FedgateError,
    InvalidTransition,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from fedgate.front_door import Order
from fedgate.job import Job
from fedgate.side_door import Happening, Submitter

log = logging.getLogger(__name__)

#: Each is a thread and a connection; more are refused.
MOST_AT_ONCE = 64
#: FLARE's tools wait 5 s for the answer to a submission; a no after that is told in the job's meta.
PATIENCE = 2.5
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0
#: The gateway did not decide anything: it may do so later.
_PASSING = (Unavailable, DeadlineExceeded, Unauthenticated)


class Book(Protocol):
    """Where errands are written down; called from their threads."""

    def bundle(self, name: str) -> tuple[bytes, str]:
        """The archive to hand in, and its title."""

    def handed_in(self, name: str, job: Job) -> None: ...

    def happened(self, name: str, happening: Happening) -> None: ...

    def ended(self, name: str, job: Job) -> None:
        """Fetch what was released and close the entry; raises what should be tried again."""

    def refused(self, name: str, error: FedgateError) -> None:
        """The gateway does not take the job, or does not know it any more."""

    def aborted(self, name: str) -> None:
        """It was cancelled before it was handed in."""


class Errand:
    """One job on its way; ``name`` is what the book calls it."""

    def __init__(self, name: str, job: str = "") -> None:
        self.name = name
        self.job = job
        #: Set when the gateway answered, or nothing more is waited for.
        self.settled = threading.Event()
        self.over = threading.Event()
        self.cancelled = threading.Event()
        self.refusal: FedgateError | None = None
        #: A refusal is told to whoever waits, and not written down.
        self.awaited = False
        #: It was cancelled while the gateway had not answered yet.
        self.cancel_first = False
        self.lock = threading.Lock()


class Errands:
    """All jobs under way."""

    def __init__(self, submitter: Submitter, order: Order, stop: threading.Event) -> None:
        self._submitter = submitter
        self._order = order
        self._stop = stop
        self._lock = threading.Lock()
        self._under_way: dict[str, Errand] = {}

    def active(self) -> list[str]:
        with self._lock:
            return list(self._under_way)

    def hand_in(self, name: str, book: Book) -> None:
        """Start a job; raises what the gateway says, if it says so soon, and forgets the job then.

        Raises :class:`Conflict` when too many are under way.
        """
        errand = Errand(name)
        errand.awaited = True
        self._start(errand, book, limited=True)
        errand.settled.wait(PATIENCE)
        with errand.lock:
            errand.awaited = False
            refusal = errand.refusal
        if refusal is not None:
            raise refusal

    def resume(self, name: str, job: str, book: Book) -> None:
        """Go on with a job of an earlier run; ``job`` is empty if it was not handed in yet."""
        self._start(Errand(name, job), book, limited=False)

    def cancel(self, name: str, *, seconds: float = PATIENCE) -> None:
        """Cancel a job, and wait a moment for its end to be written down.

        Raises the gateway's :class:`~fedgate.errors.InvalidTransition` when it has ended there,
        and :class:`NotFound` when it is not under way.
        """
        with self._lock:
            errand = self._under_way.get(name)
        if errand is None:
            raise NotFound(f"the job {name} is not under way")
        with errand.lock:
            errand.cancelled.set()
            job = errand.job
        if job:
            self._submitter.cancel(job)
        errand.over.wait(seconds)

    def _start(self, errand: Errand, book: Book, *, limited: bool) -> None:
        with self._lock:
            if limited and len(self._under_way) >= MOST_AT_ONCE:
                raise Conflict(
                    "too many jobs are under way at this front door",
                    why=f"{MOST_AT_ONCE} have not ended yet",
                    remedy="wait for some to end, or abort some",
                )
            if errand.name in self._under_way:
                raise Conflict(f"the job {errand.name} is under way already")
            self._under_way[errand.name] = errand
        thread = threading.Thread(
            target=self._run, args=(errand, book), name=f"errand {errand.name}", daemon=True
        )
        thread.start()

    def _run(self, errand: Errand, book: Book) -> None:
        try:
            if errand.job or self._hand_in(errand, book):
                self._follow(errand, book)
        except Exception:  # a mistake of ours must not leave a job that nobody looks after unsaid
            if not self._stop.is_set():
                log.exception("lost track of job %s", errand.name)
        finally:
            errand.settled.set()
            errand.over.set()
            with self._lock:
                self._under_way.pop(errand.name, None)

    def _hand_in(self, errand: Errand, book: Book) -> bool:
        """True once the gateway has it; asks again and again, unless somebody waits."""
        try:
            archive, title = book.bundle(errand.name)
            job = self._persist(
                lambda: self._submitter.submit(
                    archive, self._order, name=title, key=f"flare-{errand.name}"
                ),
                errand,
            )
        except FedgateError as error:
            with errand.lock:
                errand.refusal = error
                told = errand.awaited
            if not told:
                book.refused(errand.name, error)
            return False
        if job is None:
            if errand.cancelled.is_set():
                book.aborted(errand.name)
            return False
        book.handed_in(errand.name, job)
        with errand.lock:
            errand.job = job.id
            errand.cancel_first = errand.cancelled.is_set()
        errand.settled.set()
        return True

    def _persist(self, ask: Callable[[], Job], errand: Errand) -> Job | None:
        """Ask until there is an answer; None when we stop or the errand was cancelled meanwhile."""
        pause = _FIRST_PAUSE
        while not self._stop.is_set() and not errand.cancelled.is_set():
            try:
                return ask()
            except _PASSING as error:
                with errand.lock:
                    if errand.awaited:
                        raise
                log.warning("job %s: %s", errand.name, error)
            self._stop.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        return None

    def _cancel_first(self, errand: Errand) -> None:
        if errand.cancel_first:
            with suppress(InvalidTransition):
                self._submitter.cancel(errand.job)
            errand.cancel_first = False

    def _follow(self, errand: Errand, book: Book) -> None:
        """Until the job's end is written down, whatever becomes of the connection."""
        pause, after = _FIRST_PAUSE, 0
        while not self._stop.is_set():
            try:
                self._cancel_first(errand)
                for happening in self._submitter.happenings(errand.job, after=after):
                    after, pause = max(after, happening.id), _FIRST_PAUSE
                    book.happened(errand.name, happening)
                    if self._stop.is_set():
                        return
                job = self._submitter.look(errand.job)
                if job.state.final:
                    book.ended(errand.name, job)
                    return
            except NotFound as error:
                book.refused(errand.name, error)
                return
            except FedgateError as error:
                if not self._stop.is_set():
                    log.warning("job %s: %s", errand.name, error)
            self._stop.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
