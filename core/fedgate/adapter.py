"""The adapter contract: what translates one framework into jobs, tasks, results and models.

An adapter is found through the entry-point group ``fedgate.adapters``. ``recognises`` and
``inspect`` run in the gateway and parse files only; ``coordinate`` runs in the coordinator child
inside the enclave; ``worker`` runs in a worker child at a site. The children have no network and
no keys: all they can do is what :class:`Federation` and :class:`SiteContext` offer.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

from fedgate.bundle import BundleTree
from fedgate.errors import InvalidMessage
from fedgate.manifest import Manifest
from fedgate.model import Model
from fedgate.task import Frame, Result, Scalar, Task


class Grade(enum.StrEnum):
    FULL = "full"
    PARTIAL = "partial"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True)
class Capability:
    """How well a feature of the framework works through Fedgate, and since which version of it."""

    grade: Grade
    since: str = ""
    note: str = ""


Capabilities = Mapping[str, Capability]


@dataclass(frozen=True)
class Workload:
    """An unpacked bundle in a child process, with everything the submitter chose."""

    job: str
    root: Path  # read-only files of the bundle
    scratch: Path  # private, writable, wiped with the job; the working directory of the child
    manifest: Manifest
    config: Mapping[str, Scalar] = field(default_factory=dict)  # the submitter's overrides
    sites: tuple[str, ...] = ()  # the job's sites, in the order of the roster


@dataclass(frozen=True)
class SiteInfo:
    """A site of the job as the coordinator sees it; ``online`` can change while a job runs."""

    name: str
    index: int  # position in the roster, stable for the whole job
    online: bool = True
    #: Not online, but there with a new worker that is getting ready: it has forgotten what its
    #: old one kept in memory, and can be given its tasks again once it is online.
    returning: bool = False


class Federation(Protocol):
    """All that a coordinator can do. Thread-safe: any method may be called from any thread."""

    def sites(self) -> Sequence[SiteInfo]:
        """The job's sites in the order of the roster."""

    def dispatch(
        self, tasks: Iterable[Task], *, deadline: float | None = None, ordered: bool = True
    ) -> Iterator[Result]:
        """Send tasks and yield exactly one result for each.

        In the order of ``tasks`` (the default, so that float sums are reproducible), or as they
        arrive with ``ordered=False``. ``deadline`` is in seconds from now; a site that is gone,
        failed or late yields a result with an error. Tasks are sent when this is called, not when
        the iterator is first read. Tasks that share one ``Model`` object are encoded and sealed
        once for all their sites. Frames that a site sent before a result have been given to
        ``on_frame`` when the result is yielded.
        """

    def publish(
        self, model: Model | None, *, round: int, metrics: Mapping[str, float] | None = None
    ) -> None:
        """Offer a model for release and report metrics; the last model is the job's result."""

    def end_step(self, step: str) -> None:
        """No more tasks of this ``step`` will be dispatched: its round can be written down."""

    def post(self, site: str, frame: Frame) -> None:
        """Send an opaque frame to a site; refused unless the job's policy lists it."""

    def on_frame(self, callback: Callable[[str, Frame], None]) -> None:
        """Call ``callback(site, frame)`` for each frame from a site, on the runtime's thread."""

    def on_site_lost(self, callback: Callable[[str, str], None]) -> None:
        """Call ``callback(site, reason)`` when a site is gone, on the runtime's thread.

        Sites that are gone already are told before this returns.
        """

    @property
    def cancelled(self) -> bool:
        """True once the job is being cancelled; a coordinator should return soon."""


class Worker(Protocol):
    """A workload's client side, living as long as the job does at this site."""

    def handle(self, task: Task) -> Result:
        """Do one task. Called from one thread at a time; raising makes an error result."""

    def close(self) -> None:
        """The job is over; release what is held."""


@dataclass(frozen=True)
class SiteContext:
    """What a worker may know of its site."""

    name: str
    index: int
    sites: tuple[str, ...]
    #: Survives the worker process; private to (site, job), or (site, series) where a job has one.
    state: Path
    #: Dataset name -> folder or file, read-only.
    datasets: Mapping[str, Path] = field(default_factory=dict)
    #: A folder that the owner shares with trainers outside the sandbox; only for a workload whose
    #: manifest says that trainers attach to it.
    trainers: Path | None = None
    #: What the site's configuration hands to the workload (Flower node_config and the like).
    settings: Mapping[str, Scalar] = field(default_factory=dict)
    post: Callable[[Frame], None] = lambda _frame: None
    on_frame: Callable[[Callable[[Frame], None]], None] = lambda _callback: None


class Adapter(ABC):
    """Translates one framework. Raise only :class:`fedgate.errors.FedgateError`."""

    #: Lower-case name, as it appears in policies and listings.
    framework: ClassVar[str]
    capabilities: ClassVar[Capabilities]
    #: What must be installed where its workloads run, as requirements: ``("flwr==1.41.*",)``.
    requires: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def recognises(self, tree: BundleTree) -> bool:
        """Is this a workload of ours? Cheap, and never raises on damaged files."""

    @abstractmethod
    def inspect(self, tree: BundleTree) -> Manifest:
        """Parse the workload's description; never import or run workload code.

        Raises :class:`~fedgate.errors.InvalidBundle` or one of its subclasses.
        """

    def pack(self, root: Path) -> bytes:
        """A directory as the one reproducible archive that this framework would make of it.

        The default is :func:`fedgate.bundle.pack_directory`.
        """
        from fedgate.bundle import pack_directory

        return pack_directory(root)

    def rename_sites(
        self, tree: BundleTree, names: Mapping[str, str], *, required: bool = True
    ) -> BundleTree:
        """The same workload for sites of other names; ``names``: the workload's -> the project's.

        ``required``: a name that the workload does not hold is an error; else it is passed over, as
        where one list of names serves many workloads. Only parses, like :meth:`inspect`. The
        default is that workloads name no sites.
        """
        if not required:
            return tree
        raise InvalidMessage(
            f"{self.framework} workloads name no sites",
            why=f"asked for: {', '.join(names)}",
            remedy="leave --site-names out, and choose sites with --sites",
        )

    @abstractmethod
    def coordinate(self, workload: Workload, federation: Federation) -> None:
        """Run the framework's server side to its end. Raising fails the job."""

    @abstractmethod
    def worker(self, workload: Workload, site: SiteContext) -> Worker:
        """Start the framework's client side."""
