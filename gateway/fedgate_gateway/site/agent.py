"""The site agent: answers offers by its own policy, and takes part in the jobs it accepted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from fedgate import __version__ as fedgate_version
from fedgate.codes import Code
from fedgate.errors import Conflict, Denied, FedgateError
from fedgate.manifest import Manifest
from fedgate.notice import Notice, public
from fedgate.resources import held_by_others
from fedgate_gateway import operator_log
from fedgate_gateway.child.frameworks import require_frameworks
from fedgate_gateway.config import SiteConfig
from fedgate_gateway.inspection import Inspector, Inspects
from fedgate_gateway.link.cargo import fetch_bundle
from fedgate_gateway.link.client import LinkClient, load_identity
from fedgate_gateway.link.guard_rules import write_guard
from fedgate_gateway.link.methods import PROTOCOL
from fedgate_gateway.link.report import Entry
from fedgate_gateway.link.report_outbox import ReportOutbox
from fedgate_gateway.link.request_book import RequestBook
from fedgate_gateway.link.review_answer import ReviewAnswer
from fedgate_gateway.link.spec import Spec
from fedgate_gateway.pki import PeerKind
from fedgate_gateway.policy import digest
from fedgate_gateway.sandbox.choose import open_sandbox
from fedgate_gateway.site.decision import Examined, examine
from fedgate_gateway.site.job import SiteJob
from fedgate_gateway.site.job_states import JobStates
from fedgate_gateway.site.outputs import SiteOutputs
from fedgate_gateway.site.rules import Rules
from fedgate_gateway.site.series import SeriesFolders
from fedgate_proto.v1 import link_pb2 as pb

log = logging.getLogger(__name__)
_REMEMBERED = 256


class SiteAgent:
    """One per data owner. Everything it does follows from its own files."""

    def __init__(self, config: SiteConfig, inspector: Inspects | None = None) -> None:
        """``inspector`` reads bundles; None: one whose process starts when it is needed."""
        require_frameworks(config.adapters, config.runtime)
        self._config = config
        self._inspector = inspector or Inspector(config.adapters, config.inspection)
        self._rules = Rules.of(config)
        self._decider = self._rules.decider
        self._policy_digest = digest(self._decider.policy)
        self._sandbox = open_sandbox(config.runtime.sandbox)
        self._identity = load_identity(config.data)
        self._series = SeriesFolders(config.data, config.series_days)
        self._outputs = SiteOutputs(
            config.data, limit=config.outputs_bytes, days=config.outputs_days
        )
        self._states = JobStates(config.data, config.state_days)
        self._requests = RequestBook(config.data)
        self._accepted: dict[str, tuple[Spec, Examined]] = {}
        self._jobs: dict[str, SiteJob] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._ended: dict[str, SiteJob] = {}  # here, as far as the gateway has not said so
        self._tasks: set[asyncio.Task[None]] = set()
        self.link = LinkClient(
            config.gateway, config.data,
            hello=self._hello, on_message=self._on_message,
            on_up=self._on_up, on_down=self._on_down, proxy=config.proxy,
        )  # fmt: skip
        self._outbox = ReportOutbox(config.data, self.link.send, self._log_failed)
        self._grace: asyncio.TimerHandle | None = None

    def _hello(self) -> pb.PeerHello:
        return pb.PeerHello(
            protocol=PROTOCOL,
            version=fedgate_version,
            frameworks=[pb.Framework(name=name) for name in self._config.adapters],
            datasets=list(self._config.datasets),
            max_jobs=self._config.max_jobs,
            jobs=list(self._jobs),
            sandbox=self._sandbox.name,
            guard=write_guard(self._config.guard.rules()),
            resources=dict(self._config.resources),
            project_files=self._decider.project_files(),
        )

    def reload(self, path: Path) -> None:
        """Go by the owner's files as they are now; what is wrong with them is logged, once.

        Jobs that run go on by the rules that they were accepted by; all others are decided again.
        """
        self._spawn(self._reload(path))

    async def _reload(self, path: Path) -> None:
        def read() -> Rules:
            rules = self._rules.again(path)
            require_frameworks(rules.config.adapters, rules.config.runtime)
            return rules

        try:
            rules = await asyncio.to_thread(read)
        except FedgateError as error:
            log.warning("the site goes on by its former files: %s", error)
            return
        before = self._hello()
        self._rules, self._config, self._decider = rules, rules.config, rules.decider
        self._policy_digest = digest(self._decider.policy)
        self._accepted.clear()
        log.info("the site goes by its files as they are now")
        if self._hello() != before:
            self.link.start_over()  # the gateway hears anew what this site has and lets out

    def _on_up(self) -> None:
        if self._grace is not None:
            self._grace.cancel()
        self._outbox.up()
        for job in self._jobs.values():
            job.session.reconnect()

    def _log_failed(self, job: str, error: FedgateError) -> None:
        if job in self._jobs:
            self._jobs[job].log_failed(error)

    def _on_down(self) -> None:
        self._outbox.down()
        self._grace = asyncio.get_running_loop().call_later(
            self._config.grace_seconds, self._give_up
        )

    def _give_up(self) -> None:
        """Nobody can tell us any more that a job is over."""
        for job in self._jobs.values():
            job.stop(f"there was no gateway for {self._config.grace_seconds:g} s")

    def _on_message(self, message: pb.GatewayMessage) -> None:
        match message.WhichOneof("body"):
            case "offer":
                self._spawn(self._answer_offer(message.offer))
            case "join":
                self._spawn(self._join(message.join))
            case "over":
                self._over(message.over)
            case "taken":
                self._outbox.taken(message.taken)
            case "handshake" | "letter" | "resumed" | "session_closed" | "peer" as kind:
                self._to_job(kind, message)

    def _to_job(self, kind: str, message: pb.GatewayMessage) -> None:
        job = self._jobs.get(getattr(message, kind).job)
        if job is None:
            return
        match kind:
            case "handshake":
                job.session.answered(message.handshake)
            case "session_closed":
                job.closed_by_enclave(message.session_closed)
            case "peer" if message.peer.online:
                job.session.reconnect()
            case "letter":
                job.session.receive(message.letter)
            case "resumed":
                job.session.resumed(message.resumed)

    # -- offers --------------------------------------------------------------------------------

    async def _answer_offer(self, message: pb.JobSpec) -> None:
        try:
            answer = ReviewAnswer.yes(await self._consider(message))
        except FedgateError as error:
            log.debug("job %s is declined: %s", message.job, error)
            answer = ReviewAnswer.no(error)
        except Exception:  # whatever fails here must not become a yes
            log.exception("failed to consider job %s", message.job)
            answer = ReviewAnswer(Notice(Code.INTERNAL))
        notice = answer.notice
        told = {
            "decision": "accepted" if notice is None else "denied",
            "code": "" if notice is None else str(notice.code),
        }
        operator_log.tell("job.decided", told, job=message.job)
        reply = answer.reply(message.job, self._policy_digest)
        self.link.send(pb.PeerMessage(offer_reply=reply))

    async def _consider(self, message: pb.JobSpec) -> Sequence[str]:
        spec = Spec.read(message)
        signed = self._decider.signature(spec, self._requests)
        self._requests.check(signed, spec.job)
        archive = await fetch_bundle(self.link, spec.job, spec.bundle_bytes)
        examined = await examine(spec, archive, self._config, self._inspector)
        reasons = self._decider.before(spec, examined.manifest, signed)
        while len(self._accepted) >= _REMEMBERED:
            self._accepted.pop(next(iter(self._accepted)))
        self._accepted[spec.job] = (spec, examined)
        return reasons

    # -- jobs ----------------------------------------------------------------------------------

    async def _join(self, message: pb.JobSpec) -> None:
        before = self._jobs.get(message.job)
        if before is not None and not await self._make_way(before, message):
            return
        try:
            job = await self._make(message)
        except FedgateError as error:
            log.debug("job %s: cannot join: %s", message.job, error)
            self._cannot_join(message.job, public(error))
            return
        except Exception:  # whatever it is, the enclave must not wait for this site
            log.exception("job %s: cannot join", message.job)
            self._cannot_join(message.job, Notice(Code.INTERNAL))
            return
        if message.job in self._jobs:
            return
        self._jobs[message.job] = job
        self._running[message.job] = asyncio.get_running_loop().create_task(self._run(job))

    async def _make_way(self, before: SiteJob, message: pb.JobSpec) -> bool:
        """May a job start anew here once its former attempt has ended? It has when this returns."""
        if before.succeeded or (not before.ending and before.spec.enclave == message.enclave):
            return False
        before.stop("the job starts anew")
        running = self._running.get(message.job)
        if running is not None:
            await asyncio.wait([running])
        return message.job not in self._jobs

    def _cannot_join(self, job: str, notice: Notice) -> None:
        self._audit(job, Entry(PeerKind.SITE, "site.refused", (), notice))
        closed = pb.SessionClosed(job=job, site=self._config.name, notice=notice.to_text())
        self.link.send(pb.PeerMessage(session_closed=closed))

    async def _make(self, message: pb.JobSpec) -> SiteJob:
        if message.job not in self._accepted:  # we were restarted; decide again
            await self._consider(message)
        accepted, examined = self._accepted[message.job]
        spec = Spec.read(message)
        if spec.request != accepted.request or not set(spec.sites) <= set(accepted.sites):
            raise Denied("the job is not the one this site accepted", notice=Notice(Code.OTHER_JOB))
        # The request may have expired since, and others may have declined: our policy may mind.
        signed = self._decider.signature(spec, self._requests)
        self._decider.before(spec, examined.manifest, signed)
        running = sum(not job.ending for job in self._jobs.values())
        if running >= self._config.max_jobs:
            raise Conflict(
                "this site has no room",
                why=f"{running} jobs are running",
                notice=Notice(Code.NO_ROOM, {"jobs": running}),
            )
        self._check_resources(examined.manifest)
        self._requests.claim(signed, spec.job)
        return SiteJob(
            spec, examined, signed,
            config=self._config, decider=self._decider, link=self.link,
            identity=self._identity, sandbox=self._sandbox, report=self._audit,
            series=self._series, outputs=self._outputs, inspector=self._inspector,
        )  # fmt: skip

    def _check_resources(self, manifest: Manifest) -> None:
        """A gateway keeps such a job waiting; whether it does is for nobody here to believe."""
        jobs = [job for job in self._jobs.values() if not job.ending]
        short = held_by_others(
            manifest.resources_of(self._config.name),
            self._config.resources,
            [job.manifest.resources_of(self._config.name) for job in jobs],
        )
        if short:
            raise Conflict(
                "other jobs hold what this one asks for",
                why=", ".join(short),
                notice=Notice(Code.RESOURCES_HELD, {"jobs": len(jobs)}),
            )

    async def _run(self, job: SiteJob) -> None:
        name = job.spec.job
        try:
            reason = await job.run()
            operator_log.tell("job.ended", {}, job=name)
            log.debug("job %s has ended here: %s", name, reason)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("job %s failed inside the site agent", name)
        finally:
            self._jobs.pop(name, None)
            self._running.pop(name, None)
            self._ended[name] = job
            while len(self._ended) > _REMEMBERED:
                self._ended.pop(next(iter(self._ended))).forget()
            if job.succeeded:
                self._requests.done(job.signed)

    def _over(self, message: pb.JobOver) -> None:
        self._accepted.pop(message.job, None)
        self._forget(message.job)
        job = self._jobs.get(message.job)
        if job is not None:
            job.stop(message.reason or message.state)
            task = self._running.get(message.job)
            if task is not None:
                task.add_done_callback(lambda _: self._forget(message.job))

    def _forget(self, name: str) -> None:
        ended = self._ended.pop(name, None)
        if ended is not None:
            ended.forget()

    def _audit(self, job: str, entry: Entry) -> None:
        entry.tell_operator(job)
        report = pb.AuditReport(job=job, kind=entry.name, data=entry.text)
        self._outbox.put(pb.PeerMessage(audit=report))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def run(self) -> None:
        """Until cancelled; then every job ends and every child with it."""
        shutil.rmtree(self._config.data / "jobs", ignore_errors=True)  # of a killed predecessor
        self._spawn(self._outputs.expire())
        self._spawn(self._states.expire(self._jobs))
        link = asyncio.create_task(self.link.run())
        outbox = asyncio.create_task(self._outbox.run())
        try:
            done, _ = await asyncio.wait([link, outbox], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in [*self._running.values(), *self._tasks]:
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)
            self._outbox.close()
            await asyncio.gather(outbox, return_exceptions=True)
            link.cancel()
            with contextlib.suppress(asyncio.CancelledError, FedgateError):
                await link
