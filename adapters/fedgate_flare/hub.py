"""One thread for each site that asks the workflow for tasks in the site's name and runs them there.

Fedgate pushes tasks; FLARE's clients pull them. The thread pulls as soon as something happened,
dispatches what it got, and hands the answer back when it is the site's turn.
"""

from __future__ import annotations

import gc
import logging
import math
import threading
import uuid
from collections.abc import Iterator
from typing import Any

from nvflare.apis.client import Client
from nvflare.apis.fl_constant import FLContextKey, ReturnCode, ServerCommandKey
from nvflare.apis.shareable import ReservedHeaderKey, Shareable, make_reply

from fedgate.adapter import Federation
from fedgate.errors import FedgateError
from fedgate.task import Failure, Frame, Result, Task
from fedgate_flare import _nvflare_private as private
from fedgate_flare import messages, standing, status, steps
from fedgate_flare.arrivals import Arrivals
from fedgate_flare.codec import decode, encode
from fedgate_flare.ledger import Ledger
from fedgate_flare.liveness import Liveness
from fedgate_flare.order import RosterOrder
from fedgate_flare.server import Server, token
from fedgate_flare.shared_models import SharedModels
from fedgate_flare.wake import Bell
from fedgate_flare.window import Window, guard

#: Workflows also change their mind with time (assignment timeouts), so ask again now and then.
_ASK_AGAIN = 0.5
_RESENDS = 3
#: A workflow gives up a task by its own clock first; then nobody waits for the answer.
_LATE = 1.0
#: Bytes of a result from which garbage is collected at once; small jobs need not pay for it.
_LARGE = 1 << 20
_LOG = logging.getLogger("fedgate.flare")


class Hub:
    def __init__(
        self, *, server: Server, federation: Federation, liveness: Liveness, ledger: Ledger,
        bell: Bell, job_id: str, sites: tuple[str, ...],
    ) -> None:  # fmt: skip
        self._server = server
        self._federation = federation
        self._liveness = liveness
        self._ledger = ledger
        self._bell = bell
        self._job_id = job_id
        self._sites = sites
        self._over = threading.Event()
        roster = {site: index for index, site in enumerate(sites)}
        self._arrivals = Arrivals()
        window = Window(self._arrivals, liveness.now_lost)
        guard(window)
        self._order = RosterOrder(roster, bell, window, self._over.is_set)
        self._shared = SharedModels()
        self._steps = steps.Steps(federation)
        steps.watch(self._steps.end)
        self._status: dict[str, dict[str, Any]] = {}
        self._told: dict[str, dict[str, Any]] = {}
        self._tries: dict[tuple[str, str], int] = {}  # site, task id -> times it was away

    def start(self) -> None:
        for site in self._sites:
            threading.Thread(
                target=self._serve, args=(site,), name=f"site {site}", daemon=True
            ).start()

    def close(self) -> None:
        self._over.set()
        self._bell.ring()

    def take_status(self, site: str, frame: Frame) -> None:
        """A site's report about workflows that the sites control; shown at its next pull."""
        try:
            self._status[site] = status.read_reports(frame.body)
        except FedgateError as error:
            _LOG.warning("a status report of %s was dropped: %s", site, error)
        self._bell.ring()

    def _serve(self, site: str) -> None:
        client = Client(site, token(site))
        properties: dict[str, Any] = {}
        handed: dict[str, int] = {}  # task id -> how often it came
        while not self._over.is_set():
            seen = self._bell.rings
            try:
                if self._federation.cancelled:
                    self._liveness.stop("the job is being cancelled")
                if site in self._liveness.lost:
                    self._liveness.settle()
                request = self._pull(client, properties)
                if request is None:
                    self._bell.wait(seen, _ASK_AGAIN)
                    continue
                if _command(request) == private.SpecialTaskName.END_RUN:
                    return
                task_id = str(request.get_header(ReservedHeaderKey.TASK_ID))
                handed[task_id] = handed.get(task_id, 0) + 1
                if handed[task_id] > _RESENDS:
                    self._liveness.stop(f"the workflow keeps rejecting the result of {site}")
                    return
                again = handed[task_id] > 1
                done = self._do(client, request, task_id, again=again)
                request = None
                if done is None:
                    handed.pop(task_id)
                else:
                    properties = done
            except FedgateError as error:
                self._liveness.stop(str(error))
                return
            except Exception as error:
                self._liveness.stop(f"serving {site} failed: {type(error).__name__}: {error}")
                return

    def _pull(self, client: Client, properties: dict[str, Any]) -> Shareable | None:
        """A task for the site or the end of the run; None when there is nothing now."""
        runner = self._server.server_runner
        if runner is None or self._server.run_manager is None:
            return None
        request = Shareable()
        request.set_header(ServerCommandKey.FL_CLIENT, client)
        reports = self._status.get(client.name)
        if reports:
            properties = {**properties, status.TOPIC: reports}
        request.set_peer_context(messages.peer_context(client.name, self._job_id, properties))
        with self._server.engine.new_context() as context:
            if context.get_prop(FLContextKey.RUNNER) is None:
                return None
            reply: Shareable = private.GetTaskCommand().process(request, context)
        if reports is not None and self._told.get(client.name) is not reports:
            self._told[client.name] = reports  # the workflow has it only now
            self._bell.ring()
        return None if _command(reply) == private.SpecialTaskName.TRY_AGAIN else reply

    def _comes_back(self, site: str, task_id: str, reason: str) -> bool:
        """Can the site be given the task once more?"""
        tries = self._tries[site, task_id] = self._tries.get((site, task_id), 0) + 1
        if tries > _RESENDS:
            self._liveness.report(site, reason)
            return False
        return self._liveness.comes_back(site, reason, self._federation)

    def _do(
        self, client: Client, request: Shareable, task_id: str, *, again: bool
    ) -> dict[str, Any] | None:
        """Have the site do a task, and hand over the answer; gives the site's properties.

        None: the site was away and is back, and the workflow will give it the task again; or the
        workflow has closed the task meanwhile.
        ``again``: the workflow could not digest the site's answer and asks once more.
        """
        site = client.name
        name = messages.task_name_of(request)
        key = str(request.get_header(ReservedHeaderKey.MSG_ROOT_ID) or task_id)
        communicator = standing.communicator_of(self._server)
        endless, broadcast, due = self._manner(communicator, task_id)
        kind, round_ = messages.kind_of(name), messages.round_of(request)
        cookies = request.get_cookie_jar()
        workflow = str(request.get_cookie(ReservedHeaderKey.WORKFLOW))
        self._ledger.opened(key, name, kind, round_, broadcast=broadcast, workflow=workflow)
        if again or site in self._liveness.lost:
            if endless:
                self._over.wait(_ASK_AGAIN)
            self._ledger.failed(key, site, "its answer is unusable" if again else "it is gone")
            answer = make_reply(ReturnCode.EXECUTION_EXCEPTION)
            self._submit(client, name, task_id, cookies, answer, {})
            return {}
        timeout = request.get_header(ReservedHeaderKey.MSG_ROOT_TTL)
        deadline = float(timeout) + _LATE if timeout else None
        self._ledger.asked(key, site, due, f"no answer within {timeout} s")
        batch, step = key if broadcast else task_id, "" if endless else key
        task = self._task(site, name, request, key, batch=batch, step=step)
        del request
        self._arrivals.sent(site, task_id)
        try:
            results = self._send(task, key, deadline)
            del task
            if results is None:
                return None
            (result,) = results
            del results
            if result.error is not None and result.error.failure is Failure.UNAVAILABLE:
                self._ledger.failed(key, site, result.error.reason)
                if self._comes_back(site, task_id, result.error.reason):
                    return None
                if broadcast:
                    return {}  # the broadcast no longer waits for it
            self._arrivals.came(site, task_id)
            self._bell.ring()
            # Read only when it is its turn: a large model stays sealed outside until then.
            if communicator is not None:
                self._order.wait(communicator, site, task_id)
            answer, properties = self._answer(result, key)
            large = result.model is not None and result.model.nbytes > _LARGE
            del result
            self._submit(client, name, task_id, cookies, answer, properties)
            del answer
        finally:
            self._arrivals.settled(site)
            self._bell.ring()
        if large:
            gc.collect()  # FLARE's contexts sit in cycles and hold whole models
        return properties

    def _send(self, task: Task, key: str, deadline: float | None) -> Iterator[Result] | None:
        """None: the workflow has closed it."""
        if not self._steps.may_send(key):
            return None
        try:
            return self._federation.dispatch([task], deadline=deadline)
        finally:
            self._steps.sent(key)

    def _manner(self, communicator: Any, task_id: str) -> tuple[bool, bool, float]:
        """Is the task given again and again, is it for many, and until when is it waited for?"""
        if communicator is None:
            return False, True, math.inf
        with standing.client_task(communicator, task_id) as share:
            if share is None:
                return False, True, math.inf
            task = share.task
            endless = standing.is_endless(task)
            return endless, endless or standing.is_broadcast(task), standing.due(task)

    def _task(
        self, site: str, name: str, request: Shareable, key: str, *, batch: str, step: str
    ) -> Task:
        kind, round_ = messages.kind_of(name), messages.round_of(request)
        messages.detach_peer(request)
        request.set_header(private.TaskConstant.WAIT_TIME, 0.0)
        model, body = encode(request)
        return Task(
            id=uuid.uuid4().hex, site=site, kind=kind, round=round_, name=name,
            model=self._shared.share(key, model) if len(model) else None, body=body,
            batch=batch[:255], step=step[:255],
        )  # fmt: skip

    def _answer(self, result: Result, key: str) -> tuple[Shareable, dict[str, Any]]:
        """The site's Shareable, or one with a return code where there is none."""
        error = result.error
        if error is not None:
            self._ledger.failed(key, result.site, error.reason)
            if not result.body or error.failure is not Failure.WORKLOAD:
                return make_reply(messages.code_of(error.failure)), {}
        try:
            answer = messages.expect_shareable(decode(result.model, result.body))
            properties = messages.peer_properties(answer, messages.SITE_PROPERTIES)
        except FedgateError as problem:  # a damaged answer is that site's failure, not the job's
            self._ledger.failed(key, result.site, str(problem))
            return make_reply(ReturnCode.BAD_TASK_DATA), {}
        code = answer.get_return_code()
        if error is not None:  # only its code counts
            if text := messages.said(answer):
                _LOG.warning("no answer from %s, which said: %s", result.site, text)
            bad = ReturnCode.EXECUTION_EXCEPTION if code in messages.ANSWERS else code
            return make_reply(bad), properties
        if code in messages.ANSWERS:
            self._ledger.answered(key, result.site)
        else:
            self._ledger.failed(key, result.site, code)
        return answer, properties

    def _submit(
        self, client: Client, name: str, task_id: str, cookies: Any, answer: Shareable,
        properties: dict[str, Any],
    ) -> None:  # fmt: skip
        """Hand an answer to the workflow; which task it is for is ours to say, not the site's."""
        answer.set_cookie_jar(cookies)
        answer.set_header(ServerCommandKey.FL_CLIENT, client)
        answer.set_header(FLContextKey.TASK_NAME, name)
        answer.set_peer_context(messages.peer_context(client.name, self._job_id, properties))
        if self._server.run_manager is None:
            return
        with self._server.engine.new_context() as context:
            private.SubmitUpdateCommand().process(answer, context)
            messages.drop_payloads(context)
        self._bell.ring()


def _command(reply: Shareable) -> str:
    return str(reply.get_header(ServerCommandKey.TASK_NAME))
