"""One job at a site: its session, its worker child, and everything that goes in and out."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from fedgate.errors import Denied, FedgateError, Unavailable
from fedgate.task import Failure, Result, TaskError
from fedgate_gateway.attestation import Claims
from fedgate_gateway.child import notes
from fedgate_gateway.child.host import Child, ChildSpec, Incoming, check_message
from fedgate_gateway.child.memory import Buffer, Pool
from fedgate_gateway.config import SiteConfig
from fedgate_gateway.link import cargo
from fedgate_gateway.link.client import LinkClient
from fedgate_gateway.link.control import read_control, write_control
from fedgate_gateway.link.packet import INLINE_MODEL, INLINE_NOTE, Packet
from fedgate_gateway.link.receiver import Received, Receiver
from fedgate_gateway.link.spec import Spec
from fedgate_gateway.link.terms import Terms, project_terms
from fedgate_gateway.sandbox.contract import Sandbox
from fedgate_gateway.sealed import CargoKey, IdentityKey, LetterHeader, LetterKind
from fedgate_gateway.site.datasets import hand_over
from fedgate_gateway.site.decision import Decider, Examined
from fedgate_gateway.site.guard import EgressGuard, denied
from fedgate_gateway.site.session import SiteSession
from fedgate_proto.v1 import link_pb2 as pb

log = logging.getLogger(__name__)


class SiteJob:
    """Runs until the enclave says it is over, the session ends, or the worker dies."""

    def __init__(
        self,
        spec: Spec,
        examined: Examined,
        *,
        config: SiteConfig,
        decider: Decider,
        link: LinkClient,
        identity: IdentityKey,
        sandbox: Sandbox,
        report: Callable[[str, str, dict[str, str]], None],
    ) -> None:
        self.spec = spec
        self._examined = examined
        self._config = config
        self._decider = decider
        self._link = link
        self._sandbox = sandbox
        self._report = report
        self._guard = EgressGuard(config.guard)
        self._work = config.data / "jobs" / spec.job
        self._state = config.data / "state" / spec.job
        self._child: Child | None = None
        self._receiver: Receiver | None = None
        self._in_hand: dict[str, str] = {}  # task id -> site, at the worker now
        self._tasks: set[asyncio.Task[None]] = set()
        self._snapshots = Pool("fedgate-egress")
        self._over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        terms = project_terms(
            decider.project(spec), job=spec.job, bundle=spec.bundle, sites=spec.sites,
            min_sites=spec.min_sites, recipient=spec.recipient, sandbox="",
        )  # fmt: skip
        self.session = SiteSession(
            spec, site=config.name, link=link, identity=identity, terms=terms,
            kinds=config.evidence, approve=self._approve,
        )  # fmt: skip

    def _approve(self, claims: Claims, theirs: Terms) -> None:
        decision = self._decider.with_claims(self.spec, self._examined.manifest, claims)
        self._report(self.spec.job, "enclave.appraised", {
            "evidence": claims.kind, "hardware": str(claims.hardware).lower(),
            "measurement": claims.measurement, "sandbox": theirs.sandbox, "why": decision.why[:500],
        })  # fmt: skip

    # -- the course of a job -----------------------------------------------------------------

    async def run(self) -> str:
        """Returns why it ended; never raises anything of ours."""
        try:
            keys = await self.session.open()
            channel = self.session.attach(
                keys, on_letter=self._letter, on_broken=lambda e: self._end(str(e))
            )
            self._receiver = Receiver(
                self.spec.job, self._link, keys,
                pool=self._pool, limit=self._config.guard.result_bytes,
                on_packet=self._task, on_broken=channel.fail,
            )  # fmt: skip
            await asyncio.to_thread(self._prepare)
            self._start_worker()
            return await self._over
        except FedgateError as error:
            log.warning("job %s: %s", self.spec.job, error)
            self._report(self.spec.job, "site.refused", {"why": str(error)[:1000]})
            reason = str(error)
            self._leave(reason)
            self._link.send(
                pb.PeerMessage(
                    session_closed=pb.SessionClosed(
                        job=self.spec.job, site=self._config.name, reason=reason[:1000]
                    )
                )
            )
            return reason
        finally:
            await self._close()

    def _prepare(self) -> None:
        shutil.rmtree(self._work, ignore_errors=True)
        self._examined.bundle.tree.write_to(self._work / "bundle")
        self._state.mkdir(parents=True, exist_ok=True)

    def _start_worker(self) -> None:
        config, spec = self._config, self.spec
        handed = hand_over(config.datasets, spec.datasets)
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
        )
        self._child = Child(
            child_spec, config.runtime, self._sandbox,
            on_message=self._from_worker, on_end=self._worker_ended, log=self.log_file,
        )  # fmt: skip

    @property
    def log_file(self) -> Path:
        """The worker's output stays at the site."""
        return self._config.data / "logs" / f"{self.spec.job}.log"

    def _pool(self) -> Pool:
        if self._child is None or self._child.ended:
            raise Unavailable("the worker has ended")
        return self._child.pool

    def _end(self, reason: str) -> None:
        if not self._over.done():
            self._over.set_result(reason)

    def _leave(self, reason: str) -> None:
        if self.session.channel is not None:
            self.session.channel.post(
                LetterKind.CONTROL, write_control("left", reason=reason[:1000])
            )

    def stop(self, reason: str) -> None:
        """The gateway, or this site's operator, ends the job here."""
        self._end(reason)
        self.session.refused(reason)

    def closed_by_enclave(self, message: pb.SessionClosed) -> None:
        channel = self.session.channel
        if channel is None:
            self.session.refused(message.reason)
        elif message.session == channel.keys.session:
            self.stop(message.reason[:1000])

    async def _close(self) -> None:
        if self._child is not None and not self._child.ended:
            await self._child.stop()
        if self._receiver is not None:
            self._receiver.close()
        for task in self._tasks:
            task.cancel()
        if self.session.channel is not None:
            self.session.channel.close()
        self._snapshots.close()
        await asyncio.to_thread(shutil.rmtree, self._work, ignore_errors=True)

    def forget(self) -> None:
        """The job has ended everywhere: its state is no longer needed."""
        shutil.rmtree(self._state, ignore_errors=True)

    # -- from the enclave ----------------------------------------------------------------------

    def _letter(self, header: LetterHeader, body: bytes) -> None:
        if self._receiver is None:
            raise Unavailable("a letter before the session was ready")
        match header.kind:
            case LetterKind.TASK:
                self._receiver.put(header, body)
            case LetterKind.CARGO:
                self._receiver.witness(body)
            case LetterKind.FRAME:
                if self._child is not None:
                    notes.read_frame(body)  # parsed before it reaches the worker
                    self._child.send("frame", note=body)
            case LetterKind.CONTROL:
                what, fields = read_control(body)
                if what == "over":
                    self._end(str(fields.get("reason", "")))

    def _task(self, received: Received) -> None:
        task = notes.read_task(received.note, None)
        if task.site != self._config.name:
            raise Denied("the enclave sent a task for another site", why=task.site)
        model = received.model
        self._guard.remember(task, model.view if isinstance(model, Buffer) else model)
        if self._child is not None:
            self._in_hand[task.id] = str(task.kind)
            self._child.send("task", note=received.note, model=model)

    # -- from the worker -----------------------------------------------------------------------

    def _from_worker(self, incoming: Incoming) -> None:
        check_message(incoming, ("ready", "result", "frame"))
        channel = self.session.channel
        if incoming.type == "result":
            self._spawn_result(incoming)
            return
        incoming.release()
        if channel is None:
            return
        if incoming.type == "ready":
            channel.post(LetterKind.CONTROL, write_control("ready"))
            return
        frame = notes.read_frame(incoming.note)
        try:
            self._guard.check_frame(frame)
        except Denied as error:
            name = f"{frame.channel}:{frame.topic}"
            self._report(self.spec.job, "frame.refused", {"frame": name[:200], "why": str(error)})
        else:
            channel.post(LetterKind.FRAME, incoming.note)

    def _spawn_result(self, incoming: Incoming) -> None:
        task = asyncio.get_running_loop().create_task(self._send_result(incoming))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send_result(self, incoming: Incoming) -> None:
        """Copy, check, seal: what is sealed is what was checked, whatever the worker does to its
        own memory meanwhile.
        """
        note, copy = incoming.note, None
        try:
            result = notes.read_result(note, None)
            self._in_hand.pop(result.task, None)
            if incoming.model is not None:
                view = incoming.model.view
                copy = self._snapshots.take(len(view))
                if len(view) > INLINE_MODEL:
                    await asyncio.to_thread(_copy, copy, view)
                    await asyncio.to_thread(self._guard.check_result, result, copy.view)
                else:
                    _copy(copy, view)
                    self._guard.check_result(result, copy.view)
            else:
                self._guard.check_result(result, None)
            if result.site != self._config.name:
                raise Denied("the worker answered in another site's name", why=result.site)
        except FedgateError as error:
            self._report(self.spec.job, "egress.refused", {"why": str(error)[:1000]})
            self._fail_task(notes.read_result(note, None).task, Failure.REFUSED, denied(error))
            if copy is not None:
                self._snapshots.give_back(copy.number)
            return
        finally:
            incoming.release()
        try:
            await self._seal(result, note, copy)
        except FedgateError as error:
            log.warning("job %s: a result did not get out: %s", self.spec.job, error)
            self._fail_task(result.task, Failure.UNAVAILABLE, str(error))
        finally:
            if copy is not None:
                self._snapshots.give_back(copy.number)

    async def _seal(self, result: Result, note: bytes, model: Buffer | None) -> None:
        packed: bytes | CargoKey = note
        if len(note) > INLINE_NOTE:
            packed = CargoKey.generate(len(note))
        inline = None if model is None or model.size > INLINE_MODEL else bytes(model.view)
        key = None if model is None or inline is not None else CargoKey.generate(model.size)
        packet = Packet(packed, inline if key is None else key)
        if self.session.channel is None:
            return
        self.session.channel.post(
            LetterKind.RESULT, packet.to_bytes(), task=result.task, cargo=packet.cargo
        )
        if isinstance(packed, CargoKey):
            await cargo.upload(self._link, self.spec.job, packed, memoryview(note))
        if key is not None and model is not None:
            await cargo.upload(self._link, self.spec.job, key, model.view)

    def _fail_task(self, task: str, failure: Failure, reason: str) -> None:
        result = Result(task, self._config.name, error=TaskError(failure, reason[:4000]))
        packet = Packet(notes.result_note(result))
        if self.session.channel is not None:
            self.session.channel.post(LetterKind.RESULT, packet.to_bytes(), task=task)

    def _worker_ended(self, error: FedgateError | None) -> None:
        if self._over.done():
            return
        reason = str(error or "the worker ended before the job did")
        for task in list(self._in_hand):
            self._fail_task(task, Failure.WORKLOAD, reason)
        self._leave(reason)
        self._end(reason)


def _copy(buffer: Buffer, view: memoryview) -> None:
    buffer.view[:] = view
