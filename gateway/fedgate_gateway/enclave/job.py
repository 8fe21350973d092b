"""One job in an enclave: from its assignment to the release of what it made."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from fedgate import plugins
from fedgate.bundle import Bundle
from fedgate.errors import (
    DeadlineExceeded,
    Denied,
    FedgateError,
    InvalidBundle,
    InvalidMessage,
    Unavailable,
    WorkloadFailed,
)
from fedgate.manifest import Manifest
from fedgate.task import Failure, Frame, Task
from fedgate_gateway.attestation import Attester
from fedgate_gateway.child import notes
from fedgate_gateway.child.host import Child, ChildSpec, Incoming
from fedgate_gateway.child.memory import Pool
from fedgate_gateway.child.parts import Part
from fedgate_gateway.config import EnclaveConfig, ProjectConfig
from fedgate_gateway.enclave.conductor import Conductor, Published
from fedgate_gateway.enclave.dispatcher import Dispatcher
from fedgate_gateway.enclave.release import ReleaseGate
from fedgate_gateway.enclave.reports import Reports
from fedgate_gateway.enclave.sessions import Sessions
from fedgate_gateway.link.cargo import fetch_bundle
from fedgate_gateway.link.client import LinkClient
from fedgate_gateway.link.control import read_control, write_control
from fedgate_gateway.link.kept import KeptCargo
from fedgate_gateway.link.receiver import Received, Receiver
from fedgate_gateway.link.spec import Spec
from fedgate_gateway.link.terms import fingerprint, project_terms
from fedgate_gateway.link.traffic import Traffic
from fedgate_gateway.link.turns import Turns
from fedgate_gateway.sandbox.contract import Sandbox
from fedgate_gateway.sealed import (
    MAX_BODY,
    CargoKey,
    EnclaveKey,
    IdentityKey,
    LetterHeader,
    LetterKind,
    SessionKeys,
)
from fedgate_proto.v1 import link_pb2 as pb

log = logging.getLogger(__name__)
#: The largest model that a site may send.
_RESULT_BYTES = 16 << 30
#: Large results on their way into the enclave at a time; the others wait at the gateway.
_LARGE_AT_A_TIME = 3


class EnclaveJob:
    """Owns the job's key, its sessions and its coordinator child; everything ends with it."""

    def __init__(
        self,
        spec: Spec,
        *,
        config: EnclaveConfig,
        project: ProjectConfig,
        link: LinkClient,
        attester: Attester,
        sandbox: Sandbox,
        identity: IdentityKey,
    ) -> None:
        self.spec = spec
        self.finished: pb.Finished | None = None
        self._config = config
        self._project = project
        self._link = link
        self._sandbox = sandbox
        self._identity = identity
        self._work = config.data / "jobs" / spec.job
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready: set[str] = set()
        self._lost: dict[str, str] = {}
        self._coordinator_ready = False
        self._changed = asyncio.Event()
        self._over: asyncio.Future[FedgateError | None] = asyncio.get_running_loop().create_future()
        self._grace: dict[str, asyncio.TimerHandle] = {}
        self._absent: dict[str, bool] = {}  # sites lost for their absence -> were they ready
        self._receivers: dict[str, Receiver] = {}
        self._turns = Turns(_LARGE_AT_A_TIME)
        self._running = False
        rules = project.release
        self._reports = Reports(
            spec.job, link.send,
            metrics=rules.metrics == "clear", logs=rules.logs == "clear", log_bytes=rules.log_bytes,
        )  # fmt: skip
        self._terms = project_terms(
            project, job=spec.job, bundle=spec.bundle, sites=spec.sites, min_sites=spec.min_sites,
            recipient=spec.recipient, sandbox=sandbox.name,
        )  # fmt: skip
        self._check()
        # Whatever a job prints is in memory, like its scratch folder.
        self._log = os.memfd_create("fedgate-log")
        self._log_file = Path("/proc/self/fd", str(self._log))
        roster = project.roster()
        self._sessions = Sessions(
            job=spec.job,
            enclave=config.name,
            key=EnclaveKey.generate(),
            terms=self._terms,
            roster={site: roster[site] for site in spec.sites},
            roster_digest=bytes.fromhex(self._terms.roster),
            bundle_digest=spec.bundle_digest,
            attester=attester,
            events=self,
            send=link.send,
            spawn=self._spawn,
        )
        self._conductor = Conductor(
            spec.sites,
            self,
            task_seconds=min(spec.task_seconds or config.task_seconds, config.task_seconds),
            on_round=self._reports.round,
            on_publish=self._published,
        )
        self._traffic = Traffic()
        self._dispatcher = Dispatcher(
            spec.job, link, self._sessions,
            everyone=len(spec.sites), spawn=self._spawn,
            on_failed=lambda task, error: self._conductor.fail_task(
                task.id, Failure.UNAVAILABLE, str(error)
            ),
        )  # fmt: skip

    def _check(self) -> None:
        """What must hold before anything of the job is touched; raises :class:`Denied`."""
        outside = [s for s in self.spec.sites if s not in self._project.members]
        if outside:
            raise Denied(f"site {outside[0]!r} is not a member of {self._project.name}")
        rules = self._project.release
        if "sealed" in (rules.model, rules.artifacts, rules.logs):
            if not self.spec.recipient:
                raise Denied(
                    "the project releases sealed outputs, and the job names no key to seal to",
                    remedy="submit with a recipient key",
                )
            if self._terms.recipient not in self._project.recipients:
                raise Denied(
                    "the job's recipient key is not one of the project's",
                    why=f"it is {fingerprint(self.spec.recipient)}",
                    remedy="add its fingerprint to `recipients` in the project file",
                )

    # -- the course of a job -----------------------------------------------------------------

    async def run(self) -> None:
        """Never raises; ends with ``finished`` set and reported."""
        error: FedgateError | None
        try:
            error = await self._run()
        except FedgateError as raised:
            error = raised
        except asyncio.CancelledError:
            error = Unavailable("the enclave host is stopping")
            await asyncio.shield(self._end(error))
            raise
        except Exception as raised:
            log.exception("job %s failed inside the enclave host", self.spec.job)
            error = FedgateError("the enclave host failed", why=repr(raised))
        await self._end(error)

    async def _run(self) -> FedgateError | None:
        manifest = await self._open_bundle()
        child = self._start_coordinator(manifest)
        await self._gather()
        self._running = True
        self._link.send(
            pb.PeerMessage(report=pb.JobReport(job=self.spec.job, started=self._config.attester))
        )
        for site in self.spec.sites:
            if site not in self._ready:
                self._conductor.lose(site, self._lost.get(site, "it did not join in time"))
        child.send("go")
        await asyncio.wait([self._over], timeout=self._config.job_seconds or None)
        if not self._over.done():
            self._fail(
                DeadlineExceeded(
                    "the job ran longer than it may",
                    why=f"the enclave {self._config.name} ends every job after "
                    f"{self._config.job_seconds:g} s",
                    remedy="let it do less, or ask the enclave's operator to raise job_seconds",
                )
            )
        error = self._over.result()
        self._conductor.close()
        if error is None:
            await self._release()
        return error

    async def _open_bundle(self) -> Manifest:
        spec = self.spec
        archive = await fetch_bundle(self._link, spec.job, spec.bundle_bytes)
        bundle = await asyncio.to_thread(Bundle.read, archive)
        if bundle.digest != spec.bundle:
            raise InvalidBundle(
                "the gateway delivered another bundle", why=f"{bundle.digest}, not {spec.bundle}"
            )
        adapter = plugins.recognise(bundle.tree, allowed=self._config.adapters)
        manifest = adapter.inspect(bundle.tree)
        shutil.rmtree(self._work, ignore_errors=True)
        await asyncio.to_thread(bundle.tree.write_to, self._work / "bundle")
        return manifest

    def _start_coordinator(self, manifest: Manifest) -> Child:
        spec = ChildSpec(
            role="coordinator",
            job=self.spec.job,
            manifest=manifest,
            root=self._work / "bundle",
            scratch=self._work / "scratch",
            sites=self.spec.sites,
            adapters=self._config.adapters,
            config=self.spec.config,
            scratch_bytes=self._config.scratch_bytes,
        )
        child = self._conductor.child = Child(
            spec, self._config.runtime, self._sandbox,
            on_message=self._from_coordinator, on_end=self._coordinator_ended,
            log=self._log_file, on_log=self._reports.log, crowded=self._crowded,
        )  # fmt: skip
        return child

    async def _gather(self) -> None:
        """Wait until every site that can still come is ready, and the coordinator too."""
        deadline = asyncio.get_running_loop().time() + self._config.start_seconds
        while True:
            self._changed.clear()
            if self._over.done():
                raise self._over.result() or Unavailable("the coordinator ended before it began")
            possible = [s for s in self.spec.sites if s not in self._lost]
            if len(possible) < self.spec.min_sites:
                raise Unavailable("too few sites can take part", why=self._losses())
            if self._coordinator_ready and all(s in self._ready for s in possible):
                return
            left = deadline - asyncio.get_running_loop().time()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), max(0.0, left))
                continue
            if self._coordinator_ready and len(self._ready) >= self.spec.min_sites:
                return
            missing = [s for s in self.spec.sites if s not in self._ready]
            raise DeadlineExceeded(
                "the job could not start in time",
                why=f"after {self._config.start_seconds:g} s not ready: "
                f"{', '.join(missing) or 'the coordinator'}. {self._losses()}",
            )

    def _losses(self) -> str:
        return "; ".join(f"{site}: {why}" for site, why in self._lost.items())

    async def _release(self) -> None:
        published = self._conductor.published
        gate = ReleaseGate(
            self._link, self.spec.job, self.spec.bundle, self._project.release,
            self.spec.recipient, self._identity,
        )  # fmt: skip
        self._reports.flush()
        released: dict[str, Any] = {}
        if published is not None:
            released["model_bytes"] = await gate.model(published)
            released["round"] = published.round
            released["cohort"] = sorted(published.cohort)
        if self._conductor.child is not None:
            released["artifact_bytes"] = await gate.artifacts(self._conductor.child.scratch.path)
        released["log_bytes"] = await gate.log(self._log_file)
        self._reports.audit("released", {**released, "recipient": self._terms.recipient})

    async def _end(self, error: FedgateError | None) -> None:
        for timer in self._grace.values():
            timer.cancel()
        child = self._conductor.child
        if child is not None and not child.ended:
            await child.stop()
        self._reports.flush()
        for row in self._traffic.rows():
            self._reports.audit("frames.passed", row)
        reason = "" if error is None else str(error)
        for site in self.spec.sites:
            session = self._sessions.get(site)
            if session is not None:
                session.channel.post(
                    LetterKind.CONTROL, write_control("over", reason=reason[:1000])
                )
        if error is not None:
            with contextlib.suppress(FedgateError, OSError, TimeoutError):
                await self._release_log()
        for task in self._tasks:
            task.cancel()
        for receiver in self._receivers.values():
            receiver.close()
        self._conductor.close()
        self._sessions.close()
        await asyncio.to_thread(shutil.rmtree, self._work, ignore_errors=True)
        if child is not None:
            child.scratch.wipe()
        os.close(self._log)
        self.finished = pb.Finished(
            succeeded=error is None, reason=reason[:4000], code="" if error is None else error.code
        )
        self.report_end()

    async def _release_log(self) -> None:
        """A failed job's log is what its author needs most; the gate treats it like any other."""
        gate = ReleaseGate(
            self._link, self.spec.job, self.spec.bundle, self._project.release,
            self.spec.recipient, self._identity, attempts=1,
        )  # fmt: skip
        async with asyncio.timeout(10):
            await gate.log(self._log_file)

    def report_end(self) -> None:
        """Said again after each reconnect until the gateway has taken it."""
        if self.finished is not None:
            self._link.send(
                pb.PeerMessage(report=pb.JobReport(job=self.spec.job, finished=self.finished))
            )

    @property
    def ending(self) -> bool:
        """True once its coordinator has ended, or is being ended: it makes room for another."""
        return self._over.done()

    def cancel(self, reason: str) -> None:
        if not self._over.done():
            self._over.set_result(Unavailable("the job was cancelled", why=reason))
            self._changed.set()

    def _fail(self, error: FedgateError) -> None:
        if not self._over.done():
            self._over.set_result(error)
            self._changed.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- the coordinator ---------------------------------------------------------------------

    def _from_coordinator(self, incoming: Incoming) -> None:
        if incoming.type == "ready":
            self._coordinator_ready = True
            self._changed.set()
        self._conductor.handle(incoming)

    def _coordinator_ended(self, error: FedgateError | None) -> None:
        child = self._conductor.child
        if error is not None and child is not None and child.scratch.full:
            error = WorkloadFailed(
                "the coordinator has filled its scratch folder",
                why=f"{self._config.scratch_bytes} bytes, scratch_bytes of {self._config.name}; "
                f"it ended with: {error}",
                remedy="write less, or have scratch_bytes raised",
            )
        if not self._over.done():
            self._over.set_result(error)
        self._changed.set()

    def _published(self, published: Published) -> None:
        self._reports.metrics(published.round, published.metrics)

    # -- Sites, for the conductor --------------------------------------------------------------

    def send_task(self, task: Task, note: bytes, model: Part | None) -> None:
        session = self._sessions.get(task.site)
        if session is None:
            raise Unavailable(f"site {task.site} has no session")
        self._dispatcher.send(task, note, model, session)

    def send_frame(self, site: str, frame: Frame, note: bytes) -> None:
        if len(note) > MAX_BODY:
            raise InvalidMessage("a frame of the coordinator is too large", why=f"{len(note)}")
        session = self._sessions.get(site)
        if session is not None:
            self._traffic.count(site, frame, "in")
            session.channel.post(LetterKind.FRAME, note)

    def _crowded(self) -> bool:
        """Does a site that is there have so much to take that the coordinator should wait?"""
        sessions = (self._sessions.get(s) for s, there in self._conductor.online.items() if there)
        return any(session.channel.crowded for session in sessions if session is not None)

    # -- SessionEvents -------------------------------------------------------------------------

    def session_opened(self, site: str, keys: SessionKeys) -> None:
        session = self._sessions.get(site)
        if session is None:
            return
        if self._running:
            self._conductor.lose(site, "the site opened a new session")
        self._ready.discard(site)
        self._lost.pop(site, None)
        self._absent.pop(site, None)
        self._cancel_grace(site)
        old = self._receivers.pop(site, None)
        if old is not None:
            old.close()
        self._receivers[site] = Receiver(
            self.spec.job, self._link, keys,
            pool=self._pool, limit=_RESULT_BYTES, keep=self._keep, turns=self._turns,
            on_packet=lambda received: self._result(site, received),
            on_broken=session.channel.fail,
        )  # fmt: skip
        session.channel.post(LetterKind.CONTROL, write_control("welcome"))
        self._reports.audit(
            "session.opened",
            {"site": site, "transcript": keys.transcript.hex(), "evidence": self._config.attester},
        )

    def session_resumed(self, site: str) -> None:
        """A session that outlived its site's absence: the site is again what it was."""
        was_ready = self._absent.pop(site, None)
        if was_ready is not None:
            self._lost.pop(site, None)
            if was_ready:
                self._is_ready(site)

    def session_ended(self, site: str, error: FedgateError) -> None:
        self._reports.audit("session.ended", {"site": site, "why": str(error)[:1000]})
        self._lose(site, str(error))

    def refused(self, site: str, error: FedgateError) -> None:
        self._reports.audit("session.refused", {"site": site[:64], "why": str(error)[:1000]})

    def letter(self, site: str, header: LetterHeader, body: bytes) -> None:
        match header.kind:
            case LetterKind.RESULT:
                self._receivers[site].put(header, body)
            case LetterKind.CARGO:
                self._receivers[site].witness(body)
            case LetterKind.FRAME:
                frame = notes.read_frame(body)
                self._traffic.count(site, frame, "out")
                self._conductor.frame(site, frame)
            case LetterKind.CONTROL:
                self._control(site, body)

    def _control(self, site: str, body: bytes) -> None:
        what, fields = read_control(body)
        if site in self._lost:
            return  # only another session, or this one resumed, brings it back
        if what == "ready" and site not in self._ready:
            self._is_ready(site)
        elif what == "left":
            self._reports.audit(
                "site.left", {"site": site, "why": str(fields.get("reason"))[:1000]}
            )
            self._lose(site, str(fields.get("reason", "it left")))

    def _is_ready(self, site: str) -> None:
        self._ready.add(site)
        self._reports.event("site-state", {"site": site, "state": "ready"})
        if self._running:
            self._conductor.regain(site)
        self._changed.set()

    def _result(self, site: str, received: Received) -> None:
        if received.error is not None:
            task = received.header.task
            if self._conductor.waits_for(task, site):
                self._conductor.fail_task(task, Failure.UNAVAILABLE, str(received.error))
            return
        if not self._conductor.deliver(site, received.note, received.model, received.size):
            self._receivers[site].discard(received)

    def _keep(self, key: CargoKey) -> KeptCargo | None:
        """Results that are too large together stay sealed on disk until the coordinator reads."""
        if key.size * len(self.spec.sites) <= self._config.keep_sealed_bytes:
            return None
        return KeptCargo(key, self.spec.job, self._work / "kept")

    def _pool(self) -> Pool:
        child = self._conductor.child
        if child is None or child.ended:
            raise Unavailable("the coordinator has ended")
        return child.pool

    # -- sites come and go ---------------------------------------------------------------------

    def site_online(self, site: str, online: bool) -> None:
        """What the gateway says of a site's link; its session may outlive a short absence."""
        if online:
            self._cancel_grace(site)
        elif site in self.spec.sites and site not in self._grace and site not in self._lost:
            self._grace[site] = asyncio.get_running_loop().call_later(
                self._config.grace_seconds, self._missing, site
            )

    def _missing(self, site: str) -> None:
        self._absent[site] = site in self._ready
        self._lose(site, "it lost its connection")

    def _cancel_grace(self, site: str) -> None:
        timer = self._grace.pop(site, None)
        if timer is not None:
            timer.cancel()

    def _lose(self, site: str, reason: str) -> None:
        self._cancel_grace(site)
        if site in self._lost:
            return
        self._lost[site] = reason
        self._ready.discard(site)
        self._reports.event("site-state", {"site": site, "state": "lost", "reason": reason[:1000]})
        self._changed.set()
        if not self._running:
            return
        left = len(self.spec.sites) - len(self._lost)
        if left < self.spec.min_sites:
            self._fail(
                Unavailable(
                    "the job lost too many sites",
                    why=f"{left} of at least {self.spec.min_sites} are left; {self._losses()}",
                )
            )
        self._conductor.lose(site, reason)

    # -- from the link -------------------------------------------------------------------------

    def handle(self, message: pb.GatewayMessage) -> None:
        match message.WhichOneof("body"):
            case "handshake":
                self._sessions.handshake(message.handshake)
            case "letter":
                self._sessions.receive(message.letter)
            case "resume":
                self._sessions.resume(message.resume)
            case "session_closed":
                self._sessions.closed_by_site(message.session_closed)
            case "peer":
                self.site_online(message.peer.site, message.peer.online)

    @property
    def log_file(self) -> Path:
        return self._log_file
