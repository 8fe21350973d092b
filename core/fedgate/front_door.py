"""The front-door contract: letting a framework's own command talk to the gateway.

A front door answers the protocol that one framework's command speaks, and writes that command's
configuration. It is found through the entry-point group ``fedgate.front_doors`` and runs inside
the gateway, so configuration names the ones that are allowed. All that it can do there is what
:class:`Desk` offers: the desk authenticates, decides and keeps, the door only translates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Protocol

from fedgate.job import Job, JobState
from fedgate.manifest import Manifest
from fedgate.task import Scalar

#: An application of the Asynchronous Server Gateway Interface (ASGI 3).
AsgiApp = Callable[
    [
        MutableMapping[str, Any],
        Callable[[], Awaitable[MutableMapping[str, Any]]],
        Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ],
    Awaitable[None],
]


@dataclass(frozen=True)
class Asker:
    """Where a request comes from, as far as links and limits need it."""

    #: The Host header; links lead back to it where the gateway's certificate covers it.
    host: str = ""
    #: The address of the other end, "" if unknown.
    address: str = ""


class Caller(Protocol):
    """Somebody whom the desk knows; a door only hands it back."""

    @property
    def name(self) -> str:
        """As it is shown as a job's submitter."""


@dataclass(frozen=True)
class Order:
    """What a submitter chooses; whatever is empty or None, the project or the workload says."""

    #: Empty: the only project that the caller has.
    project: str = ""
    sites: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    min_sites: int | None = None
    task_seconds: float | None = None
    config: Mapping[str, Scalar] = field(default_factory=dict)
    #: What the workload calls a site -> what the project calls it.
    site_names: Mapping[str, str] = field(default_factory=dict)
    #: Files that workers leave at their sites are wanted, too.
    site_files: bool = False


@dataclass(frozen=True)
class Sight:
    """A job as it is shown: with what its bundle says, when it came how far, and why."""

    job: Job
    #: What the framework calls the job; see :meth:`FrontDoor.number`.
    number: int
    manifest: Manifest
    #: When it entered each state, the last time.
    entered: Mapping[JobState, datetime]
    #: What it waits for, or why it ended; "" where there is nothing to say.
    explanation: str = ""
    #: Model and message bytes that went to its sites and came from them.
    sent_bytes: int = 0
    received_bytes: int = 0


@dataclass(frozen=True)
class Lines:
    """Text for people, with the time of its last line; empty text says "still here"."""

    text: str
    at: datetime

    def and_then(self, text: str) -> Lines:
        return Lines(self.text + text, self.at)


@dataclass(frozen=True)
class DeviceLogin:
    """A login that a person completes in a browser (RFC 8628)."""

    device_code: str
    url: str
    #: Seconds until it is void, and between two questions whether it is done.
    expires_in: int
    interval: int


@dataclass(frozen=True)
class Tokens:
    """What a command keeps: a short-lived token, and one that gets the next."""

    access: str
    refresh: str


class Login(Protocol):
    """How a command without a token gets one: embedded, or an OpenID provider's."""

    async def begin(self, asker: Asker) -> DeviceLogin:
        """Start one. Raises :class:`~fedgate.errors.Unavailable` when too many are under way."""

    async def poll(self, device_code: str) -> Tokens | None:
        """The tokens, once; None while nobody has answered.

        Raises :class:`~fedgate.errors.Denied` when somebody said no, and
        :class:`~fedgate.errors.Unauthenticated` for a code that is unknown or void.
        """

    async def refresh(self, refresh_token: str) -> Tokens:
        """Raises :class:`~fedgate.errors.Unauthenticated`."""


class Desk(Protocol):
    """All that a front door can do. Every failure is a :class:`~fedgate.errors.FedgateError`.

    Jobs of projects that the caller may not see do not exist, whatever their number.
    """

    @property
    def login(self) -> Login: ...

    @property
    def archive_bytes(self) -> int:
        """The largest bundle that can be submitted."""

    async def authenticate(self, bearer: str) -> Caller:
        """Whose token this is; raises :class:`~fedgate.errors.Unauthenticated`."""

    async def submit(self, caller: Caller, archive: bytes, order: Order) -> Sight:
        """Check a workload completely and make it a job, or raise what is wrong with it."""

    async def look(self, caller: Caller, number: int) -> Sight:
        """One job; raises :class:`~fedgate.errors.NotFound`."""

    async def list(self, caller: Caller, *, limit: int, skip: int = 0) -> Sequence[Sight]:
        """The framework's jobs, newest first."""

    async def cancel(self, caller: Caller, number: int) -> Sight:
        """End a job; raises :class:`~fedgate.errors.InvalidTransition` when it has ended."""

    async def follow(
        self, caller: Caller, number: int, *, after: datetime | None = None
    ) -> AsyncIterator[Lines]:
        """What happens to a job, as it happens, until it has ended.

        Raises :class:`~fedgate.errors.NotFound` at once, not when the iterator is first read.
        """

    async def outputs_link(self, caller: Caller, number: int, asker: Asker) -> str:
        """A link that downloads what an ended job released, for some minutes, without a token.

        Raises :class:`~fedgate.errors.Conflict` before the end, and
        :class:`~fedgate.errors.NotFound` when nothing was released.
        """


@dataclass(frozen=True)
class Connection:
    """How a framework's command reaches a gateway, and as whom."""

    name: str
    #: host:port; TLS always.
    address: str
    #: The only certificates that are trusted, as a PEM file; absolute.
    ca: Path
    project: str
    tokens: Tokens
    #: Make it the one that is used when none is named.
    default: bool = False
    #: Replace a connection of the same name.
    replace: bool = False


class FrontDoor(ABC):
    """Speaks one framework's protocol. Raise only :class:`fedgate.errors.FedgateError`."""

    #: The framework whose jobs it shows, as its adapter names it.
    framework: ClassVar[str]
    #: The paths below which it answers, as ``/v1/control``.
    prefix: ClassVar[str]
    #: Paths below the prefix whose requests carry a bundle; all others are small.
    uploads: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def number(self, job: str) -> int:
        """What the framework calls a job; between 1 and 2**63 - 1, and never another."""

    @abstractmethod
    def app(self, desk: Desk) -> AsgiApp:
        """What answers below the prefix; it is called with the whole path."""

    @abstractmethod
    def connect(self, connection: Connection) -> Sequence[Path]:
        """Write the command's own configuration; returns the files that were written.

        Raises :class:`~fedgate.errors.Conflict` rather than replace a connection unasked.
        """
