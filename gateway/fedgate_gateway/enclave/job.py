"""One job in an enclave: from its assignment to the release of what it made."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections import Counter
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from fedgate.codes import Code
from fedgate.errors import (
    DeadlineExceeded,
    FedgateError,
    InvalidMessage,
    Unavailable,
    WorkloadFailed,
)
from fedgate.manifest import Manifest
from fedgate.notice import Notice, public
from fedgate.refused_frames import refused
from fedgate.task import Failure, Frame, Task
from fedgate_gateway import operator_log
from fedgate_gateway.attestation import Attester, digest_bytes
from fedgate_gateway.child import notes
from fedgate_gateway.child.dependencies import choose_runtime
from fedgate_gateway.child.host import Child, ChildSpec, Incoming
from fedgate_gateway.child.memory import Pool
from fedgate_gateway.child.parts import Part
from fedgate_gateway.config import EnclaveConfig, ProjectConfig
from fedgate_gateway.enclave import admission
from fedgate_gateway.enclave.attendance import Attendance
from fedgate_gateway.enclave.conductor import Conductor, Published
from fedgate_gateway.enclave.dispatcher import Dispatcher
from fedgate_gateway.enclave.job_log import JobLog
from fedgate_gateway.enclave.job_metrics import JobMetrics
from fedgate_gateway.enclave.quorum import Quorum
from fedgate_gateway.enclave.release import ReleaseGate, cohort_too_small
from fedgate_gateway.enclave.reports import Reports
from fedgate_gateway.enclave.sessions import Sessions
from fedgate_gateway.enclave.site_files import SiteFiles
from fedgate_gateway.governance import SignedRequest
from fedgate_gateway.inspection import Inspects
from fedgate_gateway.link.client import LinkClient
from fedgate_gateway.link.control import (
    read_again,
    read_cargo,
    read_control,
    read_frame_name,
    read_leaving,
    write_control,
)
from fedgate_gateway.link.kept import KeptCargo
from fedgate_gateway.link.receiver import Received, Receiver
from fedgate_gateway.link.report_outbox import ReportOutbox
from fedgate_gateway.link.signed_job import verify_job
from fedgate_gateway.link.spec import Spec
from fedgate_gateway.link.terms import project_terms
from fedgate_gateway.link.traffic import Traffic
from fedgate_gateway.link.turns import Turns
from fedgate_gateway.sandbox.contract import Sandbox
from fedgate_gateway.sealed import (
    MAX_BODY,
    BoxFacts,
    CargoKey,
    EnclaveKey,
    IdentityKey,
    LetterHeader,
    LetterKind,
    SessionKeys,
)
from fedgate_proto.v1 import link_pb2 as pb

log = logging.getLogger(__name__)
#: Large results on their way into the enclave at a time; the others wait at the gateway.
_LARGE_AT_A_TIME = 3
#: Restarts of one site's worker that are waited for, whatever the site's own bound.
_MOST_RESTARTS = 10


class EnclaveJob:
    """Owns the job's key, its sessions and its coordinator child; everything ends with it."""

    def __init__(
        self,
        spec: Spec,
        signed: SignedRequest,
        *,
        config: EnclaveConfig,
        project: ProjectConfig,
        link: LinkClient,
        outbox: ReportOutbox,
        attester: Attester,
        sandbox: Sandbox,
        identity: IdentityKey,
        inspector: Inspects,
    ) -> None:
        self.spec = spec
        self.signed = signed
        self.finished: pb.Finished | None = None
        self._config = config
        self._project = project
        self._link = link
        self._outbox = outbox
        self._unlogged: FedgateError | None = None
        self._sandbox = sandbox
        self._identity = identity
        self._inspector = inspector
        self._runtime = config.runtime
        self._work = config.data / "jobs" / spec.job
        self._tasks: set[asyncio.Task[None]] = set()
        self._attendance = Attendance(
            spec.sites,
            grace_seconds=config.grace_seconds,
            ready_seconds=config.start_seconds,
            on_ready=self._site_ready,
            on_lost=self._site_lost,
        )
        self._coordinator_ready = False
        self._over: asyncio.Future[FedgateError | None] = asyncio.get_running_loop().create_future()
        self._receivers: dict[str, Receiver] = {}
        self._restarts: Counter[str] = Counter()
        self._crashes: dict[str, Code] = {}  # by site, the last one's
        self._turns = Turns(_LARGE_AT_A_TIME)
        self._running = False
        rules = project.release
        self._metrics = JobMetrics(rules)
        self._reports = Reports(
            spec.job, spec.sites, outbox.put,
            metrics=self._metrics, logs=rules.logs == "clear", log_bytes=rules.log_bytes,
            on_unwritable=self.log_failed,
        )  # fmt: skip
        self._terms = project_terms(
            project, job=spec.job, bundle=spec.bundle, sites=spec.sites, min_sites=spec.min_sites,
            recipient=spec.recipient, request=signed.digest, sandbox=sandbox.name,
        )  # fmt: skip
        self._log = JobLog(self._reports.log)
        roster = project.roster()
        self._sessions = Sessions(
            job=spec.job,
            enclave=config.name,
            identity=identity,
            key=EnclaveKey.generate(),
            terms=self._terms,
            roster={site: roster[site] for site in spec.sites},
            project_digest=digest_bytes(self._terms.project_file),
            bundle_digest=spec.bundle_digest,
            attester=attester,
            events=self,
            send=link.send,
            spawn=self._spawn,
        )
        self._site_files = SiteFiles(
            spec.job, link=link, sessions=self._sessions, reports=self._reports, log=self._log,
            arrivals=lambda site: self._receivers[site].arrivals,
            recipient=self._terms.recipient, folder=self._work / "kept",
        )  # fmt: skip
        self._quorum = Quorum(rules, spec.min_sites, self._too_few)
        self._conductor = Conductor(
            spec.sites,
            self,
            task_seconds=min(spec.task_seconds or config.task_seconds, config.task_seconds),
            resends=self._quorum.waits,
            on_round=self._reports.round,
            on_publish=self._published,
        )
        self._traffic = Traffic()
        self._frames: tuple[str, ...] = ()
        self._dispatcher = Dispatcher(
            spec.job, link, self._sessions,
            everyone=len(spec.sites), spawn=self._spawn,
            on_failed=lambda task, error: self._conductor.fail_task(
                task.id, Failure.UNAVAILABLE, str(error)
            ),
            waits_for=self._conductor.waits_for,
        )  # fmt: skip

    # -- the course of a job -----------------------------------------------------------------

    async def run(self) -> None:
        """Never raises; ends with ``finished`` set and reported."""
        error: FedgateError | None
        try:
            error = await self._run()
        except FedgateError as raised:
            error = raised
        except asyncio.CancelledError:
            error = Unavailable("the enclave host is stopping", notice=Notice(Code.HOST_STOPPING))
            await asyncio.shield(self._end(error))
            raise
        except Exception as raised:
            log.exception("job %s failed inside the enclave host", self.spec.job)
            error = FedgateError("the enclave host failed", why=repr(raised))
        await self._end(error)

    async def _run(self) -> FedgateError | None:
        archive, found = await admission.open_bundle(self._link, self.spec, self._inspector)
        manifest = found.manifest
        verify_job(self.signed, self.spec, self._project, manifest)
        self._frames = manifest.declared_frames()
        shutil.rmtree(self._work, ignore_errors=True)
        await self._inspector.unpack(archive, self._work / "bundle", holder=self.spec.submitter)
        needed = (*found.requires, *manifest.dependencies)
        try:
            self._runtime = await asyncio.to_thread(choose_runtime, needed, self._config)
        except FedgateError as lacking:
            self._log.tell(str(lacking))
            raise
        child = self._start_coordinator(manifest)
        await self._gather()
        self._running = True
        late = self._attendance.begin()
        self.report_again()
        for site, lost in self._attendance.lost.items():
            self._conductor.lose(site, str(lost))
        for site in late:
            self._without(site, Unavailable("not joined", notice=Notice(Code.NOT_JOINED)))
            self._conductor.lose(site, "it did not join in time")
        child.send("go")
        await asyncio.wait([self._over], timeout=self._config.job_seconds or None)
        if not self._over.done():
            self._fail(
                DeadlineExceeded(
                    "the job ran longer than it may",
                    why=f"the enclave {self._config.name} ends every job after "
                    f"{self._config.job_seconds:g} s",
                    remedy="let it do less, or ask the enclave's operator to raise job_seconds",
                    notice=Notice(Code.JOB_TOO_LONG, {"seconds": self._config.job_seconds}),
                )
            )
        error = self._over.result()
        self._conductor.close()
        if error is None:
            await self._release()
        return error

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
            spec, self._runtime, self._sandbox,
            on_message=self._from_coordinator, on_end=self._coordinator_ended,
            log=self._log.path, on_log=self._reports.log, crowded=self._crowded,
        )  # fmt: skip
        return child

    async def _gather(self) -> None:
        """Wait until every site that can still come is ready, and the coordinator too."""
        loop, there, least = asyncio.get_running_loop(), self._attendance, self.spec.min_sites
        deadline = loop.time() + self._config.start_seconds
        while True:
            there.changed.clear()
            if self._over.done():
                raise self._over.result() or Unavailable("the coordinator ended before it began")
            if len(there.left) < least:
                raise Unavailable(
                    "too few sites can take part",
                    notice=Notice(
                        Code.TOO_FEW_SITES,
                        {"left": len(there.left), "least": least},
                        there.losses(),
                    ),
                )
            if self._coordinator_ready and there.ready.issuperset(there.left):
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(there.changed.wait(), max(0.0, deadline - loop.time()))
                continue
            if self._coordinator_ready and len(there.ready) >= least:
                return
            missing = [s for s in self.spec.sites if s not in there.ready]
            raise DeadlineExceeded(
                "the job could not start in time",
                why=f"after {self._config.start_seconds:g} s not ready: "
                f"{', '.join(missing) or 'the coordinator'}",
                notice=Notice(
                    Code.NOT_STARTED_IN_TIME,
                    {"seconds": self._config.start_seconds, "missing": len(missing)},
                    {**dict.fromkeys(missing, Code.NOT_JOINED), **there.losses()},
                ),
            )

    async def _release(self) -> None:
        published = self._conductor.published
        gate = self._gate(published)
        self._reports.flush()
        gate.check(published, self._conductor.cohorts.smallest())
        released: dict[str, Any] = {}
        if published is not None:
            released["model_bytes"] = await gate.model(published)
            released["round"] = published.round
            released["cohort"] = sorted(published.cohort)
        if self._conductor.child is not None:
            released["artifact_bytes"] = await gate.artifacts(self._conductor.child.scratch.path)
        released["metrics_bytes"] = await gate.metrics(self._metrics.lines())
        if self.signed.request.site_files:
            await self._site_files.collect(self._attendance.left, gate)
        released["log_bytes"] = await gate.log(self._log)
        self._reports.released(**released, recipient=self._terms.recipient)

    def _gate(self, published: Published | None) -> ReleaseGate:
        facts = BoxFacts()
        if published is not None:
            facts = BoxFacts(published.round, tuple(sorted(published.cohort)))
        return ReleaseGate(
            self._link, self.spec.job, self.spec.bundle, self.signed.digest, self._project.release,
            self.spec.recipient, self._identity, facts,
        )  # fmt: skip

    async def _end(self, error: FedgateError | None) -> None:
        self._conductor.close()  # first: what the coordinator does from now on did not happen
        self._attendance.close()
        self._quorum.close()
        child = self._conductor.child
        if child is not None and not child.ended:
            await child.stop()
        self._reports.flush()
        self._reports.unrecorded(self._conductor.rounds.unrecorded)
        self._reports.frames(self._traffic.rows(self._frames))
        error = error or self._unlogged
        if error is not None:
            self._log.tell(str(error))
        for site in self.spec.sites:
            session = self._sessions.get(site)
            if session is not None:
                reason = "" if error is None else str(error)[:1000]
                session.channel.post(LetterKind.CONTROL, write_control("over", reason=reason))
        if error is not None:
            with contextlib.suppress(FedgateError, OSError, TimeoutError):
                await self._release_log()
        for task in self._tasks:
            task.cancel()
        for receiver in self._receivers.values():
            receiver.close()
        self._sessions.close()
        await asyncio.to_thread(shutil.rmtree, self._work, ignore_errors=True)
        if child is not None:
            child.scratch.wipe()
        self._log.close()
        code = "" if error is None else str(public(error).code)
        operator_log.tell(
            "job.ended", {"state": "succeeded" if error is None else "failed", "code": code},
            job=self.spec.job,
        )  # fmt: skip
        self.finished = self._ending(error)
        self.report_again()

    def _ending(self, error: FedgateError | None) -> pb.Finished:
        """With why sites were lost, which is often why the rest failed."""
        if error is None:
            return pb.Finished(succeeded=True)
        return pb.Finished(notice=self._attendance.explain(public(error)).to_text())

    async def _release_log(self) -> None:
        """A failed job's log is what its author needs most; the gate treats it like any other."""
        gate = self._gate(None)
        gate.check_log(self._conductor.cohorts.smallest())
        gate.patience = 0
        async with asyncio.timeout(10):
            await gate.log(self._log)

    def report_again(self) -> None:
        """Its start or end: said after each reconnect, and the end after all else is written."""
        if self.finished is not None:
            self._outbox.after(self.spec.job, self._report_end)
        elif self._running:
            clear = self._project.release.in_clear()
            started = pb.JobReport(job=self.spec.job, started=self._config.attester, clear=clear)
            self._link.send(pb.PeerMessage(report=started))

    def _report_end(self) -> None:
        if self._unlogged is not None and self.finished is not None and self.finished.succeeded:
            self.finished = self._ending(self._unlogged)
        self._link.send(
            pb.PeerMessage(report=pb.JobReport(job=self.spec.job, finished=self.finished))
        )

    def log_failed(self, error: FedgateError) -> None:
        """Something of this job is not in the audit log, so it must not go on, nor succeed."""
        self._unlogged = FedgateError(
            error.what, why=error.why, remedy=error.remedy, notice=Notice(Code.LOG_FAILED)
        )
        self._fail(self._unlogged)

    @property
    def ending(self) -> bool:
        """True once its coordinator has ended, or is being ended: it makes room for another."""
        return self._over.done()

    def cancel(self, reason: str) -> None:
        error = Unavailable("the job was cancelled", why=reason, notice=Notice(Code.CANCELLED))
        self._site_files.stop(error)
        self._fail(error)

    def _fail(self, error: FedgateError) -> None:
        if not self._over.done():
            self._over.set_result(error)
            self._conductor.close()
            self._attendance.changed.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- the coordinator ---------------------------------------------------------------------

    def _from_coordinator(self, incoming: Incoming) -> None:
        if incoming.type == "ready":
            self._coordinator_ready = True
            self._attendance.changed.set()
        self._conductor.handle(incoming)

    def _coordinator_ended(self, error: FedgateError | None) -> None:
        child = self._conductor.child
        if error is not None and child is not None and child.scratch.full:
            error = WorkloadFailed(
                "the coordinator has filled its scratch folder",
                why=f"{self._config.scratch_bytes} bytes, scratch_bytes of {self._config.name}; "
                f"it ended with: {error}",
                remedy="write less, or have scratch_bytes raised",
                notice=Notice(Code.SCRATCH_FULL, {"bytes": self._config.scratch_bytes}),
            )
        if error is not None:
            error.notice = self._with_losses(public(error))
        if not self._over.done():
            self._over.set_result(error)
        self._attendance.changed.set()

    def _with_losses(self, notice: Notice) -> Notice:
        """What a coordinator says of its end is seldom why: sites that were lost often are, and
        workers that crashed.
        """
        losses = {**self._crashes, **self._attendance.losses()}
        return notice if notice.sites or not losses else replace(notice, sites=losses)

    def _published(self, published: Published) -> None:
        """A model that too few sites stand behind ends the job at once: it could never leave."""
        least, cohort = self._project.release.minimum("model"), published.cohort
        if published.model is not None and 0 < len(cohort) < least:
            self._fail(cohort_too_small("model", len(cohort), least))
            return
        everything = self._conductor.cohorts.smallest()
        sites = None if everything is None else len(everything)
        self._reports.metrics(published.round, published.metrics, sites=sites)

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
        sessions = [self._sessions.get(s) for s, there in self._conductor.online.items() if there]
        # Every one is asked: of those that stall, each is given up at its own time.
        told = [session.channel.crowded() for session in sessions if session is not None]
        return any(told)

    # -- SessionEvents -------------------------------------------------------------------------

    def session_opened(self, site: str, keys: SessionKeys) -> None:
        session = self._sessions.get(site)
        if session is None:
            return
        if self._running:
            if self._quorum.needs(site, self._attendance.left):
                self._conductor.wait_for(site)
            self._conductor.lose(site, "the site opened a new session", returning=True)
        self._attendance.joins(site)
        self._site_files.lost(site)
        old = self._receivers.pop(site, None)
        if old is not None:
            old.close()
        self._receivers[site] = Receiver(
            self.spec.job, self._link, keys,
            pool=self._pool, limit=self._config.result_bytes,
            answer=lambda body: session.channel.post(LetterKind.CONTROL, body),
            body_limit=self._config.body_bytes, keep=self._keep, turns=self._turns,
            wanted=lambda task: self._conductor.waits_for(task, site),
            on_packet=lambda received: self._result(site, received),
            on_broken=session.channel.fail,
        )  # fmt: skip
        session.channel.post(LetterKind.CONTROL, write_control("welcome"))
        self._reports.session_opened(
            site, transcript=keys.transcript, evidence=self._config.attester
        )

    def session_resumed(self, site: str) -> None:
        self._attendance.resumes(site)

    def session_ended(self, site: str, error: FedgateError) -> None:
        self._reports.session("session.ended", site, public(error))
        self._attendance.lose(site, error)

    def refused(self, site: str, error: FedgateError) -> None:
        if site in self.spec.sites:  # whoever carries it names the site
            self._reports.session("session.refused", site, public(error))

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
        if what in ("got", "lost"):
            self._dispatcher.deliveries.heard(site, read_cargo(fields), got=what == "got")
        elif what in ("again", "gone"):
            news = read_again(fields) if what == "again" else None
            self._receivers[site].arrivals.instead(read_cargo(fields), news)
        elif what in ("files", "kept"):
            self._site_files.heard(site, what, fields)
        elif what == "ready":
            self._attendance.is_ready(site)
        elif what == "restarting" and site not in self._attendance.lost:
            self._restarting(site, *read_leaving(fields))
        elif what == "frame-refused":
            self._log.tell(refused(site, read_frame_name(fields, self._frames)))
        elif what == "left" and site not in self._attendance.lost:
            notice, reason = read_leaving(fields)
            self._reports.session("site.left", site, notice)
            self._attendance.lose(site, Unavailable(reason or notice.sentence, notice=notice))

    def _restarting(self, site: str, notice: Notice, reason: str) -> None:
        """A site's worker crashed: its tasks fail now, and it is waited for."""
        self._restarts[site] += 1
        if (count := self._restarts[site]) > _MOST_RESTARTS:
            told = Notice(Code.TOO_MANY_RESTARTS, {"restarts": count})
            self._attendance.lose(site, Unavailable(told.sentence, notice=told))
            return
        reason = reason or notice.sentence
        self._crashes[site] = notice.code
        self._reports.site_state(site, "restarting", notice)
        self._log.tell(reason, site=site)
        if self._running:
            self._conductor.lose(site, reason, returning=True)
        self._attendance.restarts(site)
        session = self._sessions.get(site)
        if session is not None:
            session.channel.post(LetterKind.CONTROL, write_control("welcome"))

    def _result(self, site: str, received: Received) -> None:
        if received.error is not None:
            if self._conductor.waits_for(received.task, site):
                self._conductor.fail_task(received.task, Failure.UNAVAILABLE, str(received.error))
            else:
                self._conductor.rounds.late(received.task, received.size)
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
        self._attendance.online(site, online)

    def _site_ready(self, site: str) -> None:
        self._reports.site_state(site, "ready")
        if self._running:
            self._conductor.regain(site)
            if not self._quorum.now(len(self._attendance.left)):
                for other in self._conductor.away:  # enough without it
                    self._conductor.lose(other, "it was waited for, and others came")

    def _site_lost(self, site: str, error: FedgateError) -> None:
        self._site_files.lost(site)
        self._without(site, error)
        if not self._running:
            return
        if self._quorum.now(len(self._attendance.left)):
            self._log.tell(f"waiting {self._quorum.seconds:g} s for it to come back", site=site)
            self._conductor.wait_for(site)
        else:
            self._conductor.lose(site, str(error))

    def _too_few(self) -> None:
        left, least = len(self._attendance.left), self._quorum.least
        self._fail(
            Unavailable(
                "the job lost too many sites",
                why=f"{left} of at least {least} are left",
                notice=Notice(
                    Code.LOST_TOO_MANY_SITES,
                    {"left": left, "least": least},
                    self._attendance.losses(),
                ),
            )
        )

    def _without(self, site: str, error: FedgateError) -> None:
        """The job does not wait for it: everybody who watches or audits reads why."""
        self._reports.session("site.lost", site, public(error))
        self._reports.site_state(site, "lost", public(error))
        self._log.tell(str(error), site=site)

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
