"""The enclave host: takes the jobs that the gateway assigns; each is an :class:`EnclaveJob`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil

from fedgate import __version__ as fedgate_version
from fedgate.codes import Code
from fedgate.errors import Conflict, FedgateError, NotFound
from fedgate.notice import Notice, public
from fedgate_gateway import operator_log
from fedgate_gateway.attestation import load_attester
from fedgate_gateway.child.frameworks import require_frameworks
from fedgate_gateway.config import EnclaveConfig, ProjectConfig, load_config
from fedgate_gateway.enclave import admission
from fedgate_gateway.enclave.job import EnclaveJob
from fedgate_gateway.inspection import Inspector, Inspects
from fedgate_gateway.link.client import LinkClient, load_identity
from fedgate_gateway.link.methods import PROTOCOL
from fedgate_gateway.link.report_outbox import ReportOutbox
from fedgate_gateway.link.request_book import RequestBook
from fedgate_gateway.link.spec import Spec
from fedgate_gateway.sandbox.choose import open_sandbox
from fedgate_proto.v1 import link_pb2 as pb

log = logging.getLogger(__name__)


class EnclaveHost:
    """One process; in production it is the whole of what a TEE measures and runs."""

    def __init__(self, config: EnclaveConfig, inspector: Inspects | None = None) -> None:
        """``inspector`` reads bundles; None: one whose process starts when it is needed."""
        require_frameworks(config.adapters, config.runtime)
        self._config = config
        self._inspector = inspector or Inspector(config.adapters, config.inspection)
        self._projects: dict[str, ProjectConfig] = {}
        for path in config.projects:
            project = load_config(ProjectConfig, path)
            self._projects[project.name] = project
        self._attester = load_attester(config.attester)
        self._sandbox = open_sandbox(config.runtime.sandbox)
        self._identity = load_identity(config.data)
        self._requests = RequestBook(config.data)
        self._jobs: dict[str, EnclaveJob] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self.link = LinkClient(
            config.gateway, config.data,
            hello=self._hello, on_message=self._on_message,
            on_up=self._on_up, on_down=lambda: self._outbox.down(),  # noqa: PLW0108 - made below
            proxy=config.proxy,
        )  # fmt: skip
        self._outbox = ReportOutbox(config.data, self.link.send, self._log_failed)

    def _hello(self) -> pb.PeerHello:
        return pb.PeerHello(
            protocol=PROTOCOL,
            version=fedgate_version,
            frameworks=[pb.Framework(name=name) for name in self._config.adapters],
            max_jobs=self._config.max_jobs,
            jobs=list(self._jobs),
            sandbox=self._sandbox.name,
            project_files={name: p.digest() for name, p in self._projects.items()},
        )

    def _on_up(self) -> None:
        self._outbox.up()
        for job in self._jobs.values():
            job.report_again()

    def _log_failed(self, job: str, error: FedgateError) -> None:
        if job in self._jobs:
            self._jobs[job].log_failed(error)

    def _on_message(self, message: pb.GatewayMessage) -> None:
        match message.WhichOneof("body"):
            case "assign":
                self._assign(message.assign)
            case "over":
                self._over(message.over)
            case "taken":
                self._outbox.taken(message.taken)
            case "heartbeat":
                pass
            case kind:
                job = self._jobs.get(getattr(message, kind).job) if kind else None
                if job is not None:
                    job.handle(message)

    def _assign(self, message: pb.JobSpec) -> None:
        before, running = self._jobs.get(message.job), self._running.get(message.job)
        if before is not None:
            if before.ending and running is not None:  # a former attempt is on its way out
                running.add_done_callback(lambda _: self._assign(message))
            return
        try:
            job = self._make(Spec.read(message))
        except Exception as error:  # whatever it is, the gateway must not wait for this enclave
            if not isinstance(error, FedgateError):
                log.exception("job %s: it cannot be made", message.job)
            log.debug("refused job %s: %s", message.job, error)
            notice = public(error) if isinstance(error, FedgateError) else Notice(Code.INTERNAL)
            operator_log.tell("job.refused", {"code": str(notice.code)}, job=message.job)
            refused = pb.JobReport(job=message.job, refused=notice.to_text())
            self.link.send(pb.PeerMessage(report=refused))
            return
        self._jobs[message.job] = job
        operator_log.tell("job.assigned", {"project": message.project}, job=message.job)
        task = asyncio.get_running_loop().create_task(job.run(), name=message.job)
        self._running[message.job] = task
        task.add_done_callback(lambda _: self._ended(job))

    def _ended(self, job: EnclaveJob) -> None:
        self._running.pop(job.spec.job, None)
        if job.finished is not None and job.finished.succeeded:
            self._requests.done(job.signed)

    def _make(self, spec: Spec) -> EnclaveJob:
        running = sum(not job.ending for job in self._jobs.values())
        if running >= self._config.max_jobs:
            raise Conflict(
                "this enclave has no room",
                why=f"{running} jobs are running",
                notice=Notice(Code.NO_ROOM, {"jobs": running}),
            )
        project = self._projects.get(spec.project)
        if project is None:
            raise NotFound(
                f"this enclave does not know project {spec.project!r}",
                why=f"it knows: {', '.join(self._projects) or 'none'}",
                notice=Notice(Code.UNKNOWN_PROJECT),
            )
        signed = admission.check(spec, project)
        self._requests.claim(signed, spec.job)
        return EnclaveJob(
            spec,
            signed,
            config=self._config,
            project=project,
            link=self.link,
            outbox=self._outbox,
            attester=self._attester,
            sandbox=self._sandbox,
            identity=self._identity,
            inspector=self._inspector,
        )

    def _over(self, message: pb.JobOver) -> None:
        """The gateway's last word on a job: stop it if it still runs, then forget it."""
        job = self._jobs.get(message.job)
        if job is None:
            return
        if job.finished is None:
            job.cancel(message.reason or message.state)
            task = self._running.get(message.job)
            if task is not None:
                task.add_done_callback(lambda _: self._jobs.pop(message.job, None))
        else:
            del self._jobs[message.job]

    async def run(self) -> None:
        """Until cancelled; then every job ends and every child with it."""
        shutil.rmtree(self._config.data / "jobs", ignore_errors=True)  # of a killed predecessor
        link = asyncio.create_task(self.link.run())
        outbox = asyncio.create_task(self._outbox.run())
        try:
            done, _ = await asyncio.wait([link, outbox], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in list(self._running.values()):
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)
            self._outbox.close()
            await asyncio.gather(outbox, return_exceptions=True)
            link.cancel()
            with contextlib.suppress(asyncio.CancelledError, FedgateError):
                await link
