"""FLARE's client objects without a network: tasks come from a mailbox, results go there."""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Callable
from types import MethodType
from typing import Any

from nvflare.apis.fl_constant import FLContextKey, JobConstants, ReservedTopic, ServerCommandKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import ReturnCode, Shareable, make_reply
from nvflare.apis.utils.fl_context_utils import gen_new_peer_ctx
from nvflare.apis.utils.task_utils import (
    contains_lazy_download_ref,
    materialize_lazy_download_refs,
)
from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey
from nvflare.fuel.f3.cellnet.defs import ReturnCode as CellReturnCode

from fedgate_flare import _nvflare_private as private
from fedgate_flare import cells, fed_events, messages, status
from fedgate_flare.job_folder import SERVER
from fedgate_flare.mailbox import Mailbox, Nothing
from fedgate_flare.wake import Bell, HastyTime, ring_after, wake_modules
from fedgate_flare.workspace import Deployed

#: Answered here: our own session already shows that both sides are there.
_LOCAL = frozenset(
    {ReservedTopic.SYNC_RUNNER, ReservedTopic.JOB_HEART_BEAT, ReservedTopic.TASK_CHECK}
)
#: FLARE wants an address; nothing ever connects to it.
_NOWHERE = {"target": "fedgate:0", "scheme": "grpc"}
#: Seconds after which a workflow that sites control may report its status again.
_PATIENCE = 1.0
# ruff: noqa: ARG001, ARG005 - the signatures below are FLARE's


def make_wakeful(bell: Bell) -> HastyTime:
    """Let FLARE's client loops wake on events; gives the clock of the runner's module."""
    ring_after(private.DataBus, "publish", bell.ring)
    wake_modules(
        bell,
        "nvflare.client.in_process.api",
        "nvflare.app_common.executors.client_api.in_process_backend",
        "nvflare.private.fed.tbi",
    )
    clock = HastyTime()
    private.client_runner_module.time = clock
    return clock


def build_runner(
    deployed: Deployed,
    mailbox: Mailbox,
    reporter: status.StatusSender,
    bell: Bell,
    *,
    trainers: bool,
    hold: Callable[[], None],
) -> tuple[Any, Namespace]:
    """The job's client runner, with its executors built and its wires replaced.

    ``trainers``: the job starts trainers in other processes. ``hold``: called by the runner before
    it starts, returns when the server is there.
    """
    name = deployed.participant
    args = _arguments(deployed)
    deployer = private.BaseClientDeployer()
    deployer.build(
        {
            "client_name": name,
            "server_config": [{"name": "fedgate", "service": _NOWHERE}],
            "client_config": {"retry_timeout": 30},
            "server_host": None,
            "secure_train": False,
            "enable_byoc": True,
            "client_components": {},
            "client_handlers": None,
        }
    )
    federated = deployer.create_fed_client(args)
    federated.token, federated.token_signature, federated.ssid = args.token, "NA", "fedgate"
    federated.communicator.set_auth(name, args.token, "NA", "fedgate")
    application = private.ClientAppRunner()
    cell = cells.open_site_cell(
        name, deployed.job_id, federated, application, bell, trainers=trainers
    )
    runner = application.create_client_runner(
        str(deployed.app), args, "config", federated, False, []
    )
    federated.set_client_runner(runner)
    runner.engine.cell = cell
    runner.set_cell(cell)
    with runner.engine.new_context() as context:
        application.command_agent.start(context)
    application.sync_up_parents_process(federated)
    _replace_wires(federated.communicator, runner, mailbox, reporter)
    _answer_housekeeping(runner.engine, hold)
    runner.default_task_fetch_interval = 0.0
    fed_events.do_not_linger(runner.engine.handlers)
    return runner, args


def _answer_housekeeping(engine: Any, hold: Callable[[], None]) -> None:
    """Messages about the session are answered here; all others carry allowed properties only."""
    cells.make_discreet(engine.aux_runner)
    original = engine.send_aux_request

    def send(
        targets: Any, topic: str, request: Shareable, timeout: float, fl_ctx: FLContext,
        optional: bool = False, secure: bool = False,
    ) -> dict[str, Shareable]:  # fmt: skip
        if topic == ReservedTopic.SYNC_RUNNER:
            hold()
        if topic in _LOCAL:
            names = [SERVER] if not targets else [targets] if isinstance(targets, str) else targets
            return {name: make_reply(ReturnCode.OK) for name in names}
        replies: dict[str, Shareable] = original(
            targets, topic, request, timeout, fl_ctx, optional, secure
        )
        return replies

    engine.send_aux_request = send


def _no_task(reason: Nothing) -> Shareable:
    name = private.SpecialTaskName
    task = Shareable()
    task.set_header(
        ServerCommandKey.TASK_NAME, name.TRY_AGAIN if reason is Nothing.YET else name.END_RUN
    )
    task.set_header(private.TaskConstant.WAIT_TIME, 0.0)
    return task


def _replace_wires(
    communicator: Any, runner: Any, mailbox: Mailbox, reporter: status.StatusSender
) -> None:
    patience = _PATIENCE if status.is_controlled_by_sites() else math.inf

    def pull_task(
        self: Any, project_name: str, token: str, ssid: str, fl_ctx: FLContext, timeout: Any = None
    ) -> Any:
        reporter.offer(fl_ctx.get_prop(status.TOPIC))
        found = mailbox.fetch(lambda: runner.run_abort_signal.triggered, patience)
        properties: dict[str, Any] = {}
        if isinstance(found, Nothing):
            task = _no_task(found)
        else:
            task, properties = found, messages.peer_properties(found)
        del found
        task.set_peer_context(messages.peer_context(SERVER, runner.job_id, properties))
        fl_ctx.set_prop(FLContextKey.SSID, ssid, sticky=False)
        return private.new_cell_message(
            {MessageHeaderKey.RETURN_CODE: CellReturnCode.OK, MessageHeaderKey.PAYLOAD_LEN: 0}, task
        )

    def submit_update(
        self: Any, project_name: str, token: str, ssid: str, fl_ctx: FLContext, client_name: str,
        shareable: Shareable, execute_task_name: str, timeout: Any = None,
    ) -> Any:  # fmt: skip
        if contains_lazy_download_ref(shareable):  # arrays that still lie in a trainer's process
            shareable = materialize_lazy_download_refs(
                shareable, runner.engine.get_cell(), fl_ctx.get_run_abort_signal()
            )
        shareable.set_peer_context(gen_new_peer_ctx(fl_ctx))
        messages.detach_peer(shareable, messages.SITE_PROPERTIES)
        shareable.set_header(FLContextKey.TASK_NAME, execute_task_name)
        mailbox.deliver(shareable)
        return CellReturnCode.OK

    communicator.pull_task = MethodType(pull_task, communicator)
    communicator.submit_update = MethodType(submit_update, communicator)
    # The server was asked for this task a moment ago: it still wants it.
    runner._check_task_once = lambda task_id, fl_ctx: (
        private.client_runner_module._TASK_CHECK_RESULT_OK
    )


def _arguments(deployed: Deployed) -> Namespace:
    """What FLARE's command line would give its client process."""
    return Namespace(
        workspace=str(deployed.root),
        job_id=deployed.job_id,
        config_folder="config",
        client_name=deployed.participant,
        client_config=f"config/{JobConstants.CLIENT_JOB_CONFIG}",
        set=[],
        env="config/environment.json",
        token=f"fedgate-{deployed.participant}",
        token_signature="NA",  # noqa: S106 - FLARE's own authentication has no part in this
        ssid="fedgate",
        sp_target="fedgate:0",
        sp_scheme="grpc",
        parent_url="",
        parent_conn_sec="",
        startup="",
        fed_client="",
        local_rank=0,
    )
