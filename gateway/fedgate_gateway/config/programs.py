"""The configuration of each program: gateway, enclave host, site agent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from fedgate import guard_rules
from fedgate.bundle import MIB
from fedgate.model import ITEMSIZE
from fedgate.task import TaskKind
from fedgate_gateway.config.base import ConfigPath, Section
from fedgate_gateway.config.proxy import Proxy

NAME = r"^[a-z0-9][a-z0-9-]{0,62}$"
_ADAPTERS = ("flower", "flare")
_FRONT_DOORS = ("flower",)


class Listen(Section):
    #: Address to listen on.
    host: str = "127.0.0.1"
    #: TCP port to listen on.
    port: int = Field(ge=1, le=65535)


class GatewayLimits(Section):
    #: The largest archive that may be submitted.
    bundle_bytes: int = Field(default=64 * MIB, gt=0)
    #: The largest sum of its files.
    unpacked_bytes: int = Field(default=256 * MIB, gt=0)
    #: Seconds a job may wait in review and in the queue before it expires.
    pending_seconds: float = Field(default=3600, gt=0)
    #: Seconds an enclave may take to start a job before the gateway gives it up; above the
    #: ``start_seconds`` of the enclaves, which end it with a better reason.
    starting_seconds: float = Field(default=900, gt=0)
    #: The largest model (or other cargo) that is relayed, as ciphertext.
    cargo_bytes: int = Field(default=16 * 1024 * MIB, gt=0)
    #: All cargo that may be on its way at once, as far as it has arrived …
    spool_bytes: int = Field(default=64 * 1024 * MIB, gt=0)
    #: … of one project …
    spool_project_bytes: int = Field(default=48 * 1024 * MIB, gt=0)
    #: … of one job …
    spool_job_bytes: int = Field(default=32 * 1024 * MIB, gt=0)
    #: … and from one site. What finds no room waits for it, and fails after half a minute.
    spool_site_bytes: int = Field(default=16 * 1024 * MIB, gt=0)
    #: Streams of events that one token may have open …
    streams_token: int = Field(default=32, gt=0)
    #: … and all together.
    streams: int = Field(default=256, gt=0)
    #: Bundles that one token may send at a time …
    uploads_token: int = Field(default=4, gt=0)
    #: … and all together.
    uploads: int = Field(default=32, gt=0)
    #: Submissions, bundles, outputs and exports of the log that one token may ask for in a minute;
    #: enrolments that one address may.
    expensive_per_minute: int = Field(default=240, gt=0)
    #: Jobs of one submitter that may wait in review and in the queue …
    pending_jobs_submitter: int = Field(default=500, gt=0)
    #: … and of one project.
    pending_jobs_project: int = Field(default=2000, gt=0)
    #: Messages that one site may send over its link in a second; more is read later.
    letters_per_second: float = Field(default=2000, ge=1)
    #: Handshake messages of one site in one job in a minute; more is dropped.
    handshakes_per_minute: int = Field(default=60, gt=0)
    #: KiB that one peer may tell of one job in a minute, as entries of the log and, once more, as
    #: events. A site's entries beyond it wait; an enclave's end the job, since none may be missing.
    reports_kib_per_minute: int = Field(default=16_384, gt=0)
    #: Events that are kept of one job, besides its states.
    events_job: int = Field(default=50_000, gt=0)
    #: Seconds that a transfer or upload may stand still before it is broken off.
    idle_seconds: float = Field(default=60, gt=0)
    #: One released model, log or archive of artifacts.
    output_bytes: int = Field(default=16 * 1024 * MIB, gt=0)
    #: Days that the certificates of sites and enclaves count; they renew them at two thirds of it.
    certificate_days: float = Field(default=365, gt=0)
    #: Both ends of a link say something at least this often.
    heartbeat_seconds: float = Field(default=2.5, gt=0)
    #: A link on which nothing comes for this long is broken, and made again: less than an enclave's
    #: ``grace_seconds``, so that a connection that died without a word costs no job a site.
    silent_seconds: float = Field(default=8, gt=0)
    #: A peer without a link counts as gone after this long.
    offline_seconds: float = Field(default=15, gt=0)

    @property
    def silence(self) -> float:
        """Seconds; a peer that is gone is not waited for, whatever ``silent_seconds`` says."""
        return min(self.silent_seconds, self.offline_seconds)


class InspectionLimits(Section):
    """What reading a bundle may take, in a process of its own; one that takes more is refused."""

    #: Processor time of one inspection.
    cpu_seconds: int = Field(default=10, ge=1)
    #: Seconds that one may last.
    seconds: int = Field(default=30, ge=1)
    #: Its memory, besides the bundle and its files.
    memory_bytes: int = Field(default=512 * MIB, ge=16 * MIB)
    #: Inspections at a time; one submitter has half of them at most.
    at_a_time: int = Field(default=4, ge=1)
    #: Bundles that may wait for one; what comes then is told to try again.
    waiting: int = Field(default=64, ge=0)


class GatewayProject(Section):
    """What the gateway itself knows of a project: names for routing, and its own policy."""

    #: Sites that jobs of this project may name.
    sites: tuple[str, ...]
    #: As in the project file: what it asks for, of the outputs that it releases, at most. Jobs that
    #: could go on with fewer sites are refused at once; sites and enclave refuse them in any case.
    minimum_cohort: int = Field(default=1, ge=1)
    #: Cedar policy that is asked on submission; none: what the sites say counts alone.
    policy: ConfigPath | None = None
    #: What a job gets that comes through a front door and names no datasets itself: a framework's
    #: own command has no option for them.
    datasets: tuple[str, ...] = ()


class GatewayConfig(Section):
    #: Keys, CA, embedded database and objects; created on first start, readable by its owner only.
    data: ConfigPath
    #: Where people connect: REST over HTTPS.
    api: Listen
    #: Where sites and enclaves connect: gRPC with mTLS.
    link: Listen
    #: Host names and addresses that the server certificate is issued for.
    hostnames: tuple[str, ...] = ("localhost", "127.0.0.1")
    #: SQLAlchemy URL; empty: SQLite inside ``data``.
    database: str = ""
    #: obstore URL; empty: a folder inside ``data``.
    objects: str = ""
    #: HTTP proxy on the way to the object store: http://[user:password@]host:port; empty: none,
    #: whatever the environment says.
    objects_proxy: Proxy = ""
    #: CA of the object store (PEM), where the system does not know it.
    objects_ca: ConfigPath | None = None
    #: Adapters that may be loaded here; loading one runs its code.
    adapters: tuple[str, ...] = _ADAPTERS
    #: Frameworks whose own command may talk to this gateway, from ``fedgate.front_doors``.
    front_doors: tuple[str, ...] = _FRONT_DOORS
    #: By name.
    projects: Mapping[str, GatewayProject]
    #: Bounds of size and time.
    limits: GatewayLimits = GatewayLimits()
    #: Reading what is submitted.
    inspection: InspectionLimits = InspectionLimits()


class ChildLimits(Section):
    """What a child process may use; 0 means no limit of ours."""

    #: Address space of each process (RLIMIT_AS).
    memory_bytes: int = Field(default=0, ge=0)
    #: Memory of all its processes together; 0: nine tenths of the machine's. It is looked at four
    #: times a second, and a child that holds more is ended.
    tree_memory_bytes: int = Field(default=0, ge=0)
    #: Processes and threads of a child together. Without a sandbox, or for root, it is not a wall
    #: but looked at four times a second.
    processes: int = Field(default=2048, ge=0)
    #: CPU time of each process (RLIMIT_CPU).
    cpu_seconds: int = Field(default=0, ge=0)
    #: Open files of each process (RLIMIT_NOFILE).
    open_files: int = Field(default=4096, ge=64)
    #: The largest file that it may write (RLIMIT_FSIZE).
    file_bytes: int = Field(default=0, ge=0)
    #: How much of its output is kept.
    log_bytes: int = Field(default=64 * MIB, ge=0)
    #: Seconds a child has to import and start.
    start_seconds: float = Field(default=60, gt=0)
    #: Seconds it has to end by itself once told to.
    stop_seconds: float = Field(default=5, gt=0)


class Runtime(Section):
    """The interpreter and environment that a workload gets."""

    #: Python of a prepared virtual environment; empty: the one that runs this program.
    interpreter: str = ""
    #: Environment variables of the workload; nothing else of ours but PATH and locale gets through.
    environment: Mapping[str, str] = {}
    #: "bubblewrap", or "process" for none (name it to mean it).
    sandbox: str = "bubblewrap"
    #: What its processes may use.
    limits: ChildLimits = ChildLimits()


class EnclaveConfig(Section):
    #: As it enrolled, and as project files name it.
    name: str = Field(pattern=NAME)
    #: Keys, certificates and state of this program; readable by its owner only.
    data: ConfigPath
    #: host:port of the gateway's link.
    gateway: str
    #: The gateway's API, https://host:port.
    api: str
    #: HTTP proxy on the way to the gateway, for link and API: http://[user:password@]host:port;
    #: empty: none, whatever the environment says.
    proxy: Proxy = ""
    #: The CA, as a PEM file, of whoever ends TLS in front of the gateway's API; none: the gateway
    #: itself does, with its own CA. The link always ends at the gateway.
    api_ca: ConfigPath | None = None
    #: An attester from ``fedgate.attesters``.
    attester: str = "simulated"
    #: Adapters that may be loaded here; loading one runs its code.
    adapters: tuple[str, ...] = _ADAPTERS
    #: Project files; see ``ProjectConfig``.
    projects: tuple[ConfigPath, ...]
    #: Reading bundles.
    inspection: InspectionLimits = InspectionLimits()
    #: What coordinators run in.
    runtime: Runtime = Runtime()
    #: Pythons of further prepared virtual environments, by name: a coordinator runs in the first
    #: that has all its workload depends on, that of ``runtime`` before these. Each needs fedgate;
    #: nothing is ever installed.
    interpreters: Mapping[str, str] = {}
    #: Jobs that may run at once.
    max_jobs: int = Field(default=4, ge=1)
    #: Seconds that sites have to open their sessions.
    start_seconds: float = Field(default=60, gt=0)
    #: Seconds a whole job may run; 0: no limit.
    job_seconds: float = Field(default=86400, ge=0)
    #: Seconds one task may take unless the workload says less.
    task_seconds: float = Field(default=3600, gt=0)
    #: Seconds a site may be away before it counts as lost.
    grace_seconds: float = Field(default=10, ge=0)
    #: The largest model that a site may send.
    result_bytes: int = Field(default=4 * 1024 * MIB, gt=0)
    #: The largest part of a result that we cannot read (``body``).
    body_bytes: int = Field(default=256 * MIB, gt=0)
    #: Results that would exceed this, one from each site, stay sealed on disk and are opened when
    #: the coordinator reads them: its memory does not grow with the number of sites.
    keep_sealed_bytes: int = Field(default=256 * MIB, ge=0)
    #: What a coordinator may write into its scratch folder. In a sandbox the folder is in memory,
    #: seen by this job alone, and gone with it.
    scratch_bytes: int = Field(default=1024 * MIB, ge=MIB)


def _relative(path: str) -> str:
    parts = PurePosixPath(path)
    wrong = str(parts) != path or parts.is_absolute() or path == "." or ".." in parts.parts
    if path and (wrong or "\0" in path):
        raise ValueError("a plain path below the working directory, as data/client.csv")
    return path


class Dataset(Section):
    #: A file or folder that the workload may read.
    path: ConfigPath
    #: Handed to the workload: Flower's node_config, FLARE and others as they say.
    settings: Mapping[str, str | int | float | bool] = {}
    #: Environment variables; ``{path}`` stands for the dataset's path.
    environment: Mapping[str, str] = {}
    #: Where it also lies for workloads that read a file of a fixed name: a path like
    #: ``data/client.csv``, below the worker's working directory.
    appears_as: Annotated[str, AfterValidator(_relative)] = ""
    #: Policy attributes of this dataset.
    labels: tuple[str, ...] = ()


def _dtype(name: str) -> str:
    if name not in ITEMSIZE:
        raise ValueError(f"one of {', '.join(ITEMSIZE)}")
    return name


Dtype = Annotated[str, AfterValidator(_dtype)]


class KindGuard(Section):
    """What results of one kind of task may hold."""

    #: "none": no arrays. "like-task": each has name, shape and sort of number of one in the task.
    #: "like-job": … of one in any task of the job so far. "unchecked": whatever the workload says,
    #: which can be every file that it may read.
    arrays: Literal["none", "like-task", "like-job", "unchecked"] = "none"
    #: Kinds of numbers that arrays may hold; U8, I8, BOOL and others of a byte carry any file.
    dtypes: tuple[Dtype, ...] = guard_rules.DTYPES
    #: The part that we cannot read, beside 256 bytes for each array; errors' texts, the model's
    #: metadata and metrics' names count.
    body_bytes: int = Field(default=guard_rules.BODY_BYTES, ge=0)
    #: The most metrics in one result.
    metrics: int = Field(default=guard_rules.METRICS, ge=0)

    def rules(self) -> guard_rules.KindRules:
        return guard_rules.KindRules(self.arrays, self.dtypes, self.body_bytes, self.metrics)


class LikeTaskGuard(KindGuard):
    """What results of one kind of task may hold; arrays may come back as they were sent."""

    arrays: Literal["none", "like-task", "like-job", "unchecked"] = "like-task"


class Guard(Section):
    """What the egress guard checks before a result is sealed. The coordinator, which a submitter
    wrote, chooses the kind of its tasks; each kind has its own rules, and all are strict.
    """

    #: Refuse results that hold NaN or infinity.
    finite: bool = True
    #: The largest model that a result may hold.
    result_bytes: int = Field(default=4 * 1024 * MIB, gt=0)
    #: Results of training.
    train: LikeTaskGuard = LikeTaskGuard()
    #: Results of an evaluation: numbers.
    evaluate: KindGuard = KindGuard()
    #: Answers to questions, as for properties or for a first model.
    query: KindGuard = KindGuard()
    #: Results of tasks of a framework's or workload's own.
    custom: LikeTaskGuard = LikeTaskGuard()
    #: All opaque frames of a job together.
    frame_bytes: int = Field(default=16 * MIB, ge=0)
    #: "channel:topic" of opaque frames that may cross, a "*" at the end for any; none by default.
    frames: tuple[str, ...] = ()

    def rules(self) -> guard_rules.GuardRules:
        kinds = {kind: getattr(self, kind).rules() for kind in TaskKind}
        return guard_rules.GuardRules(self.frames, kinds)


class SiteConfig(Section):
    #: As it enrolled, and as project files name it.
    name: str = Field(pattern=NAME)
    #: Keys, certificates and state of this program; readable by its owner only.
    data: ConfigPath
    #: host:port of the gateway's link.
    gateway: str
    #: The gateway's API, https://host:port.
    api: str
    #: HTTP proxy on the way to the gateway, for link and API: http://[user:password@]host:port;
    #: empty: none, whatever the environment says.
    proxy: Proxy = ""
    #: The CA, as a PEM file, of whoever ends TLS in front of the gateway's API; none: the gateway
    #: itself does, with its own CA. The link always ends at the gateway.
    api_ca: ConfigPath | None = None
    #: Adapters that may be loaded here; loading one runs its code.
    adapters: tuple[str, ...] = _ADAPTERS
    #: Evidence kinds this site trusts; a simulated TEE counts only when named here.
    evidence: tuple[str, ...] = ()
    #: Cedar policy that is asked before this site joins a job.
    policy: ConfigPath
    #: Project files of the projects this site is in; see ``ProjectConfig``.
    projects: tuple[ConfigPath, ...]
    #: By name.
    datasets: Mapping[str, Dataset] = {}
    #: Reading bundles.
    inspection: InspectionLimits = InspectionLimits()
    #: What workers run in.
    runtime: Runtime = Runtime()
    #: Pythons of further prepared virtual environments, by name: a workload runs in the first one
    #: that has all it depends on, that of ``runtime`` before these. Each needs fedgate; nothing is
    #: ever installed.
    interpreters: Mapping[str, str] = {}
    #: A folder shared with trainers that this owner starts outside the sandbox, for workloads they
    #: attach to; whatever such a workload writes there, they read. None: those are declined.
    trainers: ConfigPath | None = None
    #: What each job may ask this site for, by the workload's own names of it, as num_of_gpus = 1:
    #: a job that asks for more, or for something else, is declined, and one that asks for what
    #: other jobs hold waits. What is "_per_" something, as mem_per_gpu_in_GiB, no job uses up.
    resources: Mapping[str, Annotated[float, Field(ge=0)]] = {}
    #: What leaves this site.
    guard: Guard = Guard()
    #: What a worker may write into its folders, on this site's disk.
    scratch_bytes: int = Field(default=8 * 1024 * MIB, ge=MIB)
    #: Days that a series of jobs is remembered here after its last one; 0: its jobs are declined.
    series_days: float = Field(default=30, ge=0)
    #: Bytes of files that workers left here and that are kept for this site's owner, of all jobs
    #: together; one job may leave a quarter. 0: they are removed with the job.
    outputs_bytes: int = Field(default=4 * 1024 * MIB, ge=0)
    #: Days that they are kept.
    outputs_days: float = Field(default=30, ge=0)
    #: Days that what a worker kept is held for a job that this site heard no end of.
    state_days: float = Field(default=7, gt=0)
    #: How often a worker that crashed is started again within its job. One that was ended at a
    #: limit of memory, processes or scratch is not: it would meet it again.
    worker_restarts: int = Field(default=2, ge=0)
    #: Jobs that may run at once.
    max_jobs: int = Field(default=4, ge=1)
    #: Seconds without a gateway before running jobs are given up.
    grace_seconds: float = Field(default=60, ge=0)
