"""One job at a site: its session, its worker child, and everything that goes in and out."""

from __future__ import annotations

import asyncio
import functools
import logging
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedgate.codes import Code
from fedgate.errors import (
    Denied,
    FedgateError,
    InvalidMessage,
    SealBroken,
    Unavailable,
    WorkloadFailed,
)
from fedgate.manifest import Manifest
from fedgate.model import Model
from fedgate.notice import Notice, public
from fedgate.task import Failure
from fedgate_gateway.attestation import Claims
from fedgate_gateway.child import notes
from fedgate_gateway.child.host import Child, ChildSpec, Incoming, check_message
from fedgate_gateway.child.memory import Buffer, Pool
from fedgate_gateway.config import SiteConfig
from fedgate_gateway.governance import SignedRequest
from fedgate_gateway.inspection import Inspects
from fedgate_gateway.link.channel import Channel
from fedgate_gateway.link.client import LinkClient
from fedgate_gateway.link.closing import closing
from fedgate_gateway.link.control import (
    read_again,
    read_cargo,
    read_control,
    write_control,
    write_leaving,
)
from fedgate_gateway.link.facts import told_rules
from fedgate_gateway.link.kept import KeptCargo
from fedgate_gateway.link.receiver import Received, Receiver
from fedgate_gateway.link.report import Entry
from fedgate_gateway.link.spec import Spec
from fedgate_gateway.link.terms import Terms, project_terms
from fedgate_gateway.pki import PeerKind
from fedgate_gateway.policy import Decision, EvidenceFacts, FileFacts
from fedgate_gateway.sandbox.contract import Sandbox
from fedgate_gateway.sealed import IdentityKey, LetterHeader, LetterKind
from fedgate_gateway.site.datasets import hand_over
from fedgate_gateway.site.decision import Decider, Examined
from fedgate_gateway.site.egress import Egress
from fedgate_gateway.site.guard import EgressGuard
from fedgate_gateway.site.logs import WorkerLogs
from fedgate_gateway.site.outputs import SiteOutputs
from fedgate_gateway.site.series import SeriesFolders, SeriesKey, series_of
from fedgate_gateway.site.session import SiteSession
from fedgate_gateway.site.site_files import SiteFiles
from fedgate_proto.v1 import link_pb2 as pb

log = logging.getLogger(__name__)
#: Handshakes before a site gives up: the last message of one can be lost with a connection.
_OPENINGS = 3
#: Lines of ours in the log of a worker.
_MOST_TOLD = 200


class SiteJob:
    """Runs until the enclave says it is over, the session ends, or the worker dies."""

    def __init__(
        self,
        spec: Spec,
        examined: Examined,
        signed: SignedRequest,
        *,
        config: SiteConfig,
        decider: Decider,
        link: LinkClient,
        identity: IdentityKey,
        sandbox: Sandbox,
        report: Callable[[str, Entry], None],
        series: SeriesFolders,
        outputs: SiteOutputs,
        inspector: Inspects,
    ) -> None:
        self.spec = spec
        self.signed = signed
        #: The enclave said, in its session, that the job has succeeded.
        self.succeeded = False
        self._examined = examined
        self._config = config
        self._decider = decider
        self._link = link
        self._sandbox = sandbox
        self._send_entry = report
        self._guard = EgressGuard(config.guard)
        self._work = config.data / "jobs" / spec.job
        self._series = series
        self._outputs = outputs
        self._inspector = inspector
        self._state = config.data / "state" / spec.job
        self._child: Child | None = None
        self._receiver: Receiver | None = None
        self._in_hand: Counter[str] = Counter()  # ids of the tasks that the worker has now
        self._evidence: EvidenceFacts | None = None
        self._worker_ready = False
        self._restarts = 0
        self._restarting: asyncio.Task[None] | None = None
        #: What the enclave sends is for a worker that has crashed: it has not heard so yet.
        self._unheard = False
        self._told = 0
        self._collecting: asyncio.Task[None] | None = None
        self._failed = False  # by the enclave's word, in its session
        self._over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        project = decider.project(spec)
        terms = project_terms(
            project, job=spec.job, bundle=spec.bundle, sites=spec.sites,
            min_sites=spec.min_sites, recipient=spec.recipient, request=signed.digest, sandbox="",
        )  # fmt: skip
        self.session = SiteSession(
            spec, site=config.name, link=link, identity=identity,
            enclave_identity=project.enclave_identity(spec.enclave), terms=terms,
            kinds=config.evidence, approve=self._approve,
        )  # fmt: skip
        self._egress = Egress(
            spec.job, config.name, guard=self._guard, link=link,
            channel=lambda: self.session.channel,
            report=self._report, tell=self._tell_owner,
            on_flood=self._give_up, known=(
                *config.guard.frames, *examined.manifest.declared_frames(),
            ),
        )  # fmt: skip
        self._files = SiteFiles(
            spec.job, asked=signed.request.site_files, rules=project.release, outputs=outputs,
            permits=self._permits_files, folder=config.data / "jobs",
            report=self._report, tell=self._tell_owner,
        )  # fmt: skip

    def _permits_files(self, found: FileFacts) -> Decision:
        assert self._evidence is not None  # a session was opened by it
        return self._decider.release_files(
            self.spec, self._examined.manifest, self.signed, self._evidence, found
        )

    def _approve(self, claims: Claims, theirs: Terms) -> None:
        self._evidence = EvidenceFacts(
            claims.kind, claims.hardware, claims.measurement, theirs.sandbox
        )
        decision = self._decider.with_claims(
            self.spec, self._examined.manifest, self.signed, claims, theirs.sandbox
        )
        self._report(
            "enclave.appraised",
            evidence=claims.kind, hardware=str(claims.hardware).lower(),
            measurement=claims.measurement, sandbox=theirs.sandbox,
            rules=told_rules(rule.id for rule in decision.reasons),
        )  # fmt: skip

    def _report(self, kind: str, notice: Notice | None = None, /, **told: Any) -> None:
        """Into the audit log; raises :class:`InvalidMessage` for what it does not take."""
        entry = Entry(PeerKind.SITE, kind, self.spec.sites, notice, **told)
        self._send_entry(self.spec.job, entry)

    @property
    def manifest(self) -> Manifest:
        return self._examined.manifest

    # -- the course of a job -----------------------------------------------------------------

    async def run(self) -> str:
        """Returns why it ended; never raises anything of ours."""
        try:
            await self._open()
            await self._remember()
            await self._prepare()
            if not self._over.done():
                self._start_worker()
            return await self._over
        except FedgateError as error:
            if self._over.done():  # it was taken from us: a word now would be about another attempt
                return self._over.result()
            return self._refuse(error)
        except Exception as error:  # whatever it is, the enclave must not wait for this site
            log.exception("job %s failed inside the site agent", self.spec.job)
            return self._refuse(FedgateError("the site agent failed", why=repr(error)))
        finally:
            await self._close()

    async def _open(self) -> None:
        """A session that the enclave has confirmed."""
        for attempt in range(1, _OPENINGS + 1):
            keys = await self.session.open()
            channel = self.session.attach(keys, on_letter=self._letter, on_broken=self._broken)
            self._receiver = self._receive(channel)
            try:
                await self.session.confirmed()
            except SealBroken:
                if attempt == _OPENINGS or self._over.done():
                    raise
                channel.close()
                self._receiver.close()
            else:
                return

    def _receive(self, channel: Channel) -> Receiver:
        return Receiver(
            self.spec.job, self._link, channel.keys,
            pool=self._pool, limit=self._config.guard.result_bytes,
            answer=functools.partial(channel.post, LetterKind.CONTROL),
            on_packet=self._task, on_broken=channel.fail,
        )  # fmt: skip

    async def _remember(self) -> None:
        """What a worker keeps goes with its job, unless it stays for the next one of a series."""
        spec, manifest = self.spec, self._examined.manifest
        if name := series_of(spec.config):
            key = SeriesKey(spec.project, spec.submitter, manifest.framework, manifest.name, name)
            self._state = await self._series.take(key, spec.job)

    def _refuse(self, error: FedgateError) -> str:
        log.debug("job %s: %s", self.spec.job, error)
        self._tell_owner(f"this site refused the job: {error}")
        self._report("site.refused", public(error))
        self._leave(error)
        self._tell_closed(error)
        return str(error)

    def _broken(self, error: FedgateError) -> None:
        """The session cannot go on, and the enclave must not wait for us until its deadline."""
        if not self.session.unconfirmed:
            self._tell_owner(f"the session ended: {error}")
            self._report("session.ended", public(error))
        self._tell_closed(error)
        self._end(str(error))

    def _tell_closed(self, error: FedgateError) -> None:
        closed = self.session.closed()
        closed.notice = public(error).to_text()
        self._link.send(pb.PeerMessage(session_closed=closed))

    async def _prepare(self) -> None:
        await asyncio.to_thread(shutil.rmtree, self._work, ignore_errors=True)
        self._state.mkdir(parents=True, exist_ok=True)
        await self._inspector.unpack(
            self._examined.archive, self._work / "bundle", holder=self.spec.submitter
        )

    def _start_worker(self) -> None:
        config, spec = self._config, self.spec
        handed = hand_over(config.datasets, spec.datasets)
        handed.place(self._work / "scratch")
        child_spec = ChildSpec(
            role="worker",
            job=spec.job,
            manifest=self._examined.manifest,
            root=self._work / "bundle",
            scratch=self._work / "scratch",
            sites=spec.sites,
            adapters=config.adapters,
            config=spec.config,
            site=config.name,
            index=spec.sites.index(config.name),
            state=self._state,
            datasets=handed.paths,
            settings=handed.settings,
            environment=handed.environment,
            part_bytes=config.guard.result_bytes,
            scratch_bytes=config.scratch_bytes,
            trainers=config.trainers if self._examined.manifest.attaches else None,
        )
        self._child = Child(
            child_spec, self._examined.runtime, self._sandbox,
            on_message=self._from_worker, on_end=self._worker_ended, log=self.log_file,
            crowded=self._egress.crowded,
        )  # fmt: skip

    @property
    def log_file(self) -> Path:
        """The worker's output stays at the site."""
        return WorkerLogs(self._config.data).path(self.spec.job)

    def _tell_owner(self, text: str) -> None:
        """Names that job code chose stay here, with what its worker printed."""
        self._told += 1
        if self._told <= _MOST_TOLD:
            WorkerLogs(self._config.data).add(self.spec.job, text)

    def _pool(self) -> Pool:
        if self._child is None or self._child.ended:
            raise Unavailable("the worker has ended")
        return self._child.pool

    @property
    def ending(self) -> bool:
        """True once it is over here; its worker has seconds at most to go."""
        return self._over.done()

    def _end(self, reason: str) -> None:
        if not self._over.done():
            self._over.set_result(reason)

    def _leave(self, error: FedgateError) -> None:
        if self.session.channel is not None:
            self.session.channel.post(
                LetterKind.CONTROL, write_leaving(error, self._config.guard.custom.body_bytes)
            )

    def stop(self, reason: str) -> None:
        """The gateway, or this site's operator, ends the job here."""
        self._end(reason)
        self.session.refused(Notice(Code.ENCLAVE_ENDED))

    def closed_by_enclave(self, message: pb.SessionClosed) -> None:
        channel, notice = self.session.channel, closing(message, Code.ENCLAVE_ENDED)
        if channel is None:
            self.session.refused(notice)
        elif message.session == channel.keys.session:
            if self.session.unconfirmed:
                self.session.refused(notice)
            else:
                self.stop(notice.sentence)

    async def _close(self) -> None:
        if self._collecting is not None:
            self._collecting.cancel()
            await asyncio.gather(self._collecting, return_exceptions=True)
        await self._stop_worker()
        if self._receiver is not None:
            self._receiver.close()
        if self.session.channel is not None:
            self.session.channel.close()
        self._egress.close()
        self._series.give_back(self.spec.job)
        await asyncio.to_thread(self._keep_outputs)
        if self._failed:
            await self._files.stay()

    async def _stop_worker(self) -> None:
        if self._restarting is not None:
            self._restarting.cancel()
        if self._child is not None and not self._child.ended:
            await self._child.stop()

    async def _hand_over(self) -> None:
        """The coordinator has ended well, and the enclave asks for what the worker left."""
        channel = self.session.channel
        assert channel is not None  # it asks in a session
        try:
            await self._stop_worker()
            await asyncio.to_thread(self._keep_outputs)
            await self._files.hand_over(channel, self._egress.deliveries)
        except FedgateError as error:
            self._give_up(error)
        except Exception as error:  # the enclave must not wait for it
            log.exception("job %s: its files cannot be handed over", self.spec.job)
            self._give_up(FedgateError("the site agent failed", why=repr(error)))

    def _keep_outputs(self) -> None:
        try:
            self._outputs.keep(self.spec.job, self._work / "scratch")
        except OSError as error:
            log.warning("job %s: its files cannot be kept: %s", self.spec.job, type(error).__name__)
        shutil.rmtree(self._work, ignore_errors=True)

    def forget(self) -> None:
        """The job has ended everywhere: its state is no longer needed, unless a series' is."""
        shutil.rmtree(self._config.data / "state" / self.spec.job, ignore_errors=True)

    # -- from the enclave ----------------------------------------------------------------------

    def _letter(self, header: LetterHeader, body: bytes) -> None:
        if self._receiver is None:
            raise Unavailable("a letter before the session was ready")
        match header.kind:
            case LetterKind.TASK:
                if not self._unheard:
                    self._receiver.put(header, body)
            case LetterKind.CARGO:
                self._receiver.witness(body)
            case LetterKind.FRAME:
                self._take_frame(body)
            case LetterKind.CONTROL:
                self._control(self._receiver, *read_control(body))

    def _control(self, receiver: Receiver, what: str, fields: dict[str, Any]) -> None:
        if what == "over":
            self._failed = bool(fields.get("reason"))
            self.succeeded = not self._failed
            self._end(str(fields.get("reason", "")))
        elif what == "welcome":
            self._unheard = False
        elif what == "collect":
            if self._collecting is None and not self._over.done():
                self._collecting = asyncio.get_running_loop().create_task(self._hand_over())
        elif what in ("got", "lost"):
            self._egress.deliveries.heard("", read_cargo(fields), got=what == "got")
        elif what in ("again", "gone"):
            news = read_again(fields) if what == "again" else None
            receiver.arrivals.instead(read_cargo(fields), news)

    def _take_frame(self, body: bytes) -> None:
        """The same list for what comes in: a worker meets no traffic its owner did not allow."""
        crosses = self._egress.may_cross(notes.read_frame(body), body)
        if crosses and self._child is not None and not self._unheard:
            self._child.send("frame", note=body)

    def log_failed(self, error: FedgateError) -> None:
        """Something of this job is not in the audit log: it does not go on here."""
        self._tell_owner(str(error))
        self._give_up(error)

    def _give_up(self, error: FedgateError) -> None:
        """It ends here, and the enclave hears why."""
        if not self._over.done():
            self._leave(error)
            self._end(str(error))

    def _task(self, received: Received) -> None:
        if received.error is not None:
            self._egress.fail(received.task, Failure.UNAVAILABLE, str(received.error))
            return
        task = notes.read_task(received.note, None)
        if task.site != self._config.name:
            raise Denied("the enclave sent a task for another site", why=task.site)
        model = received.model
        assert not isinstance(model, KeptCargo)  # a site keeps nothing sealed
        view = model.view if isinstance(model, Buffer) else model
        if view is not None:
            Model.parse(view)
        self._guard.remember(task, view)
        if self._child is not None:
            self._in_hand[task.id] += 1
            self._child.send("task", note=received.note, model=model)

    # -- from the worker -----------------------------------------------------------------------

    def _from_worker(self, incoming: Incoming) -> None:
        check_message(incoming, ("ready", "result", "frame"))
        if incoming.type == "result":
            self._take_result(incoming)
            return
        incoming.release()
        if incoming.type == "frame":
            self._egress.frame(notes.read_frame(incoming.note), incoming.note)
        elif not self._worker_ready and self.session.channel is not None:
            self._worker_ready = True
            self.session.channel.post(LetterKind.CONTROL, write_control("ready"))

    def _take_result(self, incoming: Incoming) -> None:
        """One result for each task in hand: a second one would pass the guard unremembered."""
        try:
            result = notes.read_result(incoming.note, None)
            if result.site != self._config.name:
                raise InvalidMessage(
                    "the worker answered in another site's name",
                    why=result.site,
                    notice=Notice(Code.FORGED_RESULT),
                )
            if self._in_hand[result.task] < 1:
                raise InvalidMessage(
                    "the worker answered a task that it does not have",
                    notice=Notice(Code.FORGED_RESULT),
                )
        except FedgateError:
            incoming.release()
            raise
        self._in_hand[result.task] -= 1
        self._in_hand += Counter()  # drops the zeros
        self._egress.result(incoming, result)

    def _worker_ended(self, error: FedgateError | None) -> None:
        if self._over.done() or self._collecting is not None:
            return
        if error is None:
            error = WorkloadFailed(
                "the worker ended before the job did", notice=Notice(Code.WORKER_DIED)
            )
        if _crashed(error) and self._restarts < self._config.worker_restarts:
            self._restarts += 1
            self._restarting = asyncio.get_running_loop().create_task(self._restart(error))
            return
        for task in list(self._in_hand):
            self._egress.fail(task, Failure.WORKLOAD, str(error))
        self._leave(error)
        self._end(str(error))

    async def _restart(self, crash: FedgateError) -> None:
        """It costs the tasks in hand, which the enclave fails or its workflow hands out again, and
        what the worker had in memory and scratch; not this site's part in the job.
        """
        most = self._config.worker_restarts
        self._tell_owner(f"the worker is started again ({self._restarts} of {most}): {crash}")
        channel, old = self.session.channel, self._receiver
        assert channel is not None  # a worker starts in a session
        assert old is not None
        old.close()
        self._receiver = self._receive(channel)
        self._unheard, self._worker_ready = True, False
        self._in_hand.clear()
        try:
            await self._egress.settled()  # results that it had finished count
            said = write_leaving(crash, self._config.guard.custom.body_bytes, "restarting")
            channel.post(LetterKind.CONTROL, said)
            await asyncio.to_thread(shutil.rmtree, self._work / "scratch", ignore_errors=True)
            if not self._over.done():
                self._start_worker()
        except FedgateError as error:
            self._give_up(error)


def _crashed(error: FedgateError) -> bool:
    """Did its process end without a word, as a fault or the kernel's want of memory ends it?

    One that was ended at a limit of ours has a code of that limit: started again it would meet it
    again, at the cost of whatever else runs here.
    """
    return error.notice is not None and error.notice.code is Code.WORKER_DIED
