"""A workload on this machine alone: real child processes, no gateway, no keys.

For authors of adapters and for tests. What it shares with production is everything between a
coordinator and its workers; what it leaves out is the network and the seals.
"""

from __future__ import annotations

import asyncio
import functools
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fedgate import plugins
from fedgate.bundle import Bundle
from fedgate.errors import DeadlineExceeded, FedgateError
from fedgate.model import Model
from fedgate.task import Failure, Frame, Round, Scalar, Task, frame_allowed
from fedgate_gateway.child import notes
from fedgate_gateway.child.host import Child, ChildSpec, Incoming
from fedgate_gateway.child.parts import Part
from fedgate_gateway.config import Runtime
from fedgate_gateway.enclave.conductor import Carried, Conductor, Published
from fedgate_gateway.link.kept import KeptCargo
from fedgate_gateway.link.traffic import Traffic
from fedgate_gateway.sandbox.choose import open_sandbox
from fedgate_gateway.sealed import CargoKey, CargoSealer


@dataclass(frozen=True)
class LocalSite:
    name: str
    datasets: Mapping[str, Path] = field(default_factory=dict)
    settings: Mapping[str, Scalar] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    #: A folder shared with trainers outside the sandbox.
    trainers: Path | None = None
    #: Kill its worker when it gets its n-th task (from 1): for tests of failure.
    dies_at: int = 0


@dataclass
class LocalRun:
    model: Model | None = None
    rounds: list[Round] = field(default_factory=list)
    metrics_by_round: dict[int, dict[str, float]] = field(default_factory=dict)
    artifacts: Path = Path()
    log: str = ""
    site_logs: dict[str, str] = field(default_factory=dict)
    refused_frames: list[str] = field(default_factory=list)
    frames: Traffic = field(default_factory=Traffic)
    error: FedgateError | None = None


def run_locally(
    source: Path | bytes,
    sites: Sequence[LocalSite],
    work: Path,
    *,
    config: Mapping[str, Scalar] | None = None,
    timeout: float = 60,
    task_seconds: float = 60,
    runtime: Runtime | None = None,
    frames: Sequence[str] = (),
    keep_sealed: bool = False,
    scratch_bytes: int = 1 << 30,
) -> LocalRun:
    """Run a workload (directory or archive) to its end; never raises for the workload's faults.

    With ``keep_sealed`` results reach the coordinator as they do in an enclave with many sites:
    sealed in a file, and opened piece by piece as they are read.
    """
    archive = source if isinstance(source, bytes) else _pack(source)
    run = _Run(
        archive, sites, work, config or {}, task_seconds, runtime or Runtime(sandbox="process")
    )
    run.frames = set(frames)
    run.keep_sealed = keep_sealed
    run.scratch_bytes = scratch_bytes
    return asyncio.run(run.go(timeout))


def _pack(root: Path) -> bytes:
    from fedgate.bundle import read_directory

    if root.is_file():
        return root.read_bytes()
    return plugins.recognise(read_directory(root)).pack(root)


def _sealed(view: memoryview, folder: Path) -> KeptCargo:
    kept = KeptCargo(CargoKey.generate(len(view)), "local", folder)
    sealer, size = CargoSealer(kept.key, "local"), kept.key.chunk
    for index in range(kept.key.chunks):
        plain = view[index * size : index * size + kept.key.plain_size(index)]
        kept.add(index, memoryview(sealer.seal_chunk(index, plain)), plain)
    return kept


class _Run:
    keep_sealed = False
    scratch_bytes = 0

    def __init__(
        self,
        archive: bytes,
        sites: Sequence[LocalSite],
        work: Path,
        config: Mapping[str, Scalar],
        task_seconds: float,
        runtime: Runtime,
    ) -> None:
        self.bundle = Bundle.read(archive)
        self.adapter = plugins.recognise(self.bundle.tree)
        self.manifest = self.adapter.inspect(self.bundle.tree)
        self.sites = {s.name: s for s in sites}
        self.work = work
        self.config = config
        self.task_seconds = task_seconds
        self.runtime = runtime
        self.workers: dict[str, Child] = {}
        self.counts = dict.fromkeys(self.sites, 0)
        self.ready: set[str] = set()
        self.frames: set[str] = set()
        self.result = LocalRun(artifacts=work / "coordinator")

    async def go(self, seconds: float) -> LocalRun:
        root = self.work / "bundle"
        self.bundle.tree.write_to(root)
        sandbox = open_sandbox(self.runtime.sandbox)
        over: asyncio.Future[FedgateError | None] = asyncio.get_running_loop().create_future()
        self.started = asyncio.Event()
        self.conductor = Conductor(
            list(self.sites), self, task_seconds=self.task_seconds,
            on_round=self.result.rounds.append, on_publish=self._published,
        )  # fmt: skip

        def spec(role: str, scratch: Path, site: LocalSite | None = None) -> ChildSpec:
            return ChildSpec(
                role=role, job="local", manifest=self.manifest, root=root, scratch=scratch,
                sites=list(self.sites), adapters=[self.manifest.framework], config=self.config,
                site=site.name if site else "",
                index=list(self.sites).index(site.name) if site else 0,
                state=scratch.parent / f"{scratch.name}-state",
                datasets=site.datasets if site else {}, settings=site.settings if site else {},
                environment=site.environment if site else {}, scratch_bytes=self.scratch_bytes,
                trainers=site.trainers if site else None,
            )  # fmt: skip

        for site in self.sites.values():
            scratch = self.work / site.name
            (self.work / f"{site.name}-state").mkdir(parents=True, exist_ok=True)
            self.workers[site.name] = Child(
                spec("worker", scratch, site), self.runtime, sandbox,
                on_message=functools.partial(self._from_worker, site.name),
                on_end=functools.partial(self._worker_ended, site.name),
                log=self.work / "logs" / f"{site.name}.log",
            )  # fmt: skip
        log = self.work / "logs" / "coordinator.log"
        coordinator = self.conductor.child = Child(
            spec("coordinator", self.work / "coordinator"), self.runtime, sandbox,
            on_message=self._from_coordinator,
            on_end=over.set_result, log=log,
        )  # fmt: skip
        try:
            async with asyncio.timeout(seconds):
                self.result.error = await over
        except TimeoutError:
            self.result.error = DeadlineExceeded("the local run did not end", why=f"{seconds} s")
        self.conductor.close()
        await asyncio.gather(
            *(c.stop() for c in (*self.workers.values(), coordinator) if not c.ended)
        )
        if coordinator.scratch.in_memory and not coordinator.scratch.expected:
            shutil.copytree(coordinator.scratch.path, self.result.artifacts, dirs_exist_ok=True)
        coordinator.scratch.wipe()
        self.result.log = log.read_text(errors="replace")
        for name in self.sites:
            text = (self.work / "logs" / f"{name}.log").read_text(errors="replace")
            self.result.site_logs[name] = text
        published = self.conductor.published
        if published is not None and published.model is not None:
            self.result.model = Model.parse(bytes(published.model.view))
        return self.result

    def _from_coordinator(self, incoming: Incoming) -> None:
        if incoming.type == "ready":
            self.ready.add("")
            self._maybe_go()
        self.conductor.handle(incoming)

    def _from_worker(self, site: str, incoming: Incoming) -> None:
        match incoming.type:
            case "ready":
                self.ready.add(site)
                self._maybe_go()
            case "frame":
                frame = notes.read_frame(incoming.note)
                if frame_allowed(frame.name, self.frames):
                    self.result.frames.count(site, frame, "out")
                    self.conductor.frame(site, frame)
                else:
                    self.result.refused_frames.append(f"{site} {frame.name}")
            case "result":
                view = None if incoming.model is None else incoming.model.view
                size = len(incoming.note) + (0 if view is None else len(view))
                model: Carried = view
                if view is not None and self.keep_sealed:
                    model = _sealed(view, self.work / "kept")
                self.conductor.deliver(site, incoming.note, model, size)
        incoming.release()

    def _maybe_go(self) -> None:
        alive = {n for n, up in self.conductor.online.items() if up}
        if self.conductor.child is not None and self.ready >= alive | {""}:
            self.conductor.child.send("go")

    def _worker_ended(self, site: str, error: FedgateError | None) -> None:
        self.conductor.lose(site, str(error or "its worker ended"))
        self._maybe_go()

    def send_task(self, task: Task, note: bytes, model: Part | None) -> None:
        site, worker = task.site, self.workers[task.site]
        self.counts[site] += 1
        if self.counts[site] == self.sites[site].dies_at:
            worker.kill()  # and not given the task: it could be quicker than its end
        elif worker.ended:
            self.conductor.fail_task(task.id, Failure.UNAVAILABLE, "the worker has ended")
        else:
            worker.send("task", note=note, model=None if model is None else model.view)

    def send_frame(self, site: str, frame: Frame, note: bytes) -> None:
        if frame_allowed(frame.name, self.frames):
            self.result.frames.count(site, frame, "in")
            self.workers[site].send("frame", note=note)
        else:
            self.result.refused_frames.append(f"{site} {frame.name}")

    def _published(self, published: Published) -> None:
        self.result.metrics_by_round[published.round] = dict(published.metrics)
