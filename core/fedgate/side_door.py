"""The side-door contract: letting in a framework's command that insists on the framework's server.

Some commands speak a protocol that cannot be had without a server of their framework. A side door
runs that server as a program beside the gateway, on behalf of one submitter: what comes in there
is submitted with the submitter's token and opened with the submitter's key. It is found through
the entry-point group ``fedgate.side_doors``; all that it can do at the gateway is what
:class:`Submitter` offers.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from fedgate.front_door import Order
from fedgate.job import Job


@dataclass(frozen=True)
class Happening:
    """Something that happened to a job; ``id`` is where to go on after it."""

    id: int
    #: "state", "site", "site-state", "round", "metrics", "output"; others may follow.
    kind: str
    data: Mapping[str, Any]
    #: The same for people; "" where there is nothing to say.
    line: str


@dataclass(frozen=True)
class Released:
    """An output, opened and checked; ``path`` is a file, or the folder of unpacked artifacts."""

    kind: str
    path: Path


@dataclass(frozen=True)
class SeenSite:
    name: str
    #: Linked to the gateway right now.
    online: bool


class Submitter(Protocol):
    """One gateway, one token, one recipient key. Safe to use from several threads.

    Every failure is a :class:`~fedgate.errors.FedgateError`: what the gateway refused for good, or
    :class:`~fedgate.errors.Unavailable` where asking again can help.
    """

    def submit(self, archive: bytes, order: Order, *, name: str, key: str) -> Job:
        """Hand in a bundle; the same ``key`` and submission give the same job again."""

    def look(self, job: str) -> Job:
        """Raises :class:`~fedgate.errors.NotFound`."""

    def cancel(self, job: str) -> Job:
        """End a job; raises :class:`~fedgate.errors.InvalidTransition` when it has ended."""

    def happenings(self, job: str, *, after: int = 0) -> Iterator[Happening]:
        """What happens to a job, as it happens, until it has ended."""

    def fetch(self, job: str, into: Path) -> Sequence[Released]:
        """What an ended job released, opened, below ``into``, which is empty or missing.

        Raises :class:`~fedgate.errors.SealBroken` for anything that is not what the pinned enclave
        made of the bundle that was submitted from here.
        """

    def sites(self) -> Sequence[SeenSite]:
        """The sites of the submitter's projects."""


@dataclass(frozen=True)
class DoorSettings:
    """What whoever runs a side door chooses."""

    #: Where it keeps keys, jobs and results; private.
    data: Path
    #: Where a start-up kit for each person is written; None: below ``data``.
    kits: Path | None = None
    #: The name or address under which people reach it.
    host: str = "127.0.0.1"
    #: 0: any free one at first, and the same ever after.
    port: int = 0
    #: Who may submit, as the framework names people; empty: one.
    people: tuple[str, ...] = ()
    #: What all jobs that come in here share.
    order: Order = field(default_factory=Order)


@dataclass(frozen=True)
class OpenDoor:
    """Where it is open, and the folder of each person's start-up kit."""

    address: str
    kits: Mapping[str, Path]


class SideDoor(ABC):
    """Runs one framework's own server. Raise only :class:`fedgate.errors.FedgateError`."""

    #: The framework, as its adapter names it.
    framework: ClassVar[str]

    @abstractmethod
    def serve(
        self,
        submitter: Submitter,
        settings: DoorSettings,
        *,
        ready: Callable[[OpenDoor], None],
        stop: threading.Event,
    ) -> None:
        """Run until ``stop`` is set, in the main thread; say ``ready`` once when it is open.

        Whatever was under way when it stopped goes on at the gateway, and is picked up by the next
        run with the same ``data``.
        """
