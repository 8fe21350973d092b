"""FLARE's server objects without a network: they keep their logic and lose their wires."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import Any

from nvflare.apis.client import Client
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_constant import FLContextKey, JobConstants, ReservedTopic
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.app_event_type import AppEventType

from fedgate_flare import _nvflare_private as private
from fedgate_flare import cells, wake
from fedgate_flare.workspace import Deployed

# ruff: noqa: ARG005 - the signatures of overridden methods are FLARE's
_WORKFLOWS = "nvflare.app_common.workflows."
_SLEEPERS = (
    "nvflare.apis.impl.wf_comm_server",
    "nvflare.private.fed.tbi",
    "nvflare.private.fed.server.fed_server",
    _WORKFLOWS + "fedavg",
    _WORKFLOWS + "cross_site_model_eval",
    _WORKFLOWS + "cross_site_eval",
    _WORKFLOWS + "broadcast_operator",
    _WORKFLOWS + "statistics_controller",
)


def make_wakeful(bell: wake.Bell) -> None:
    """Let FLARE's server loops wake on events instead of sleeping."""
    communicator = private.WFCommServer
    for method in ("_schedule_task", "process_submission", "cancel_task", "cancel_all_tasks"):
        wake.ring_after(communicator, method, bell.ring)
    wake.ring_after(private.ServerRunner, "abort", bell.ring)
    check = communicator._do_check_tasks

    def checking(self: Any) -> None:
        before = len(self._tasks)
        check(self)
        if len(self._tasks) != before:
            bell.ring()

    communicator._do_check_tasks = checking
    # It would import torch (seconds, hundreds of MB) merely to see that nothing is under way.
    communicator._cleanup_inflight_tensor_downloads = lambda self, fl_ctx: None
    wake.wake_modules(bell, *_SLEEPERS)


class Runner(private.ServerRunner):  # type: ignore[misc]
    """Says when a workflow begins or ends, and does not take a lost site's word for being alive."""

    on_workflow: Callable[[], None] = staticmethod(lambda: None)
    is_lost: Callable[[str], bool] = staticmethod(lambda site: False)

    @property
    def current_wf(self) -> Any:
        return self.__dict__.get("_current_wf")

    @current_wf.setter
    def current_wf(self, workflow: Any) -> None:
        self.__dict__["_current_wf"] = workflow
        self.on_workflow()

    def _report_client_active(self, reason: str, fl_ctx: FLContext) -> None:
        peer = fl_ctx.get_peer_context()
        if peer is not None and not self.is_lost(peer.get_identity_name()):
            super()._report_client_active(reason, fl_ctx)


class Engine(private.ServerEngine):  # type: ignore[misc]
    """The roster comes from the job; sites learn of the end from Fedgate."""

    roster: tuple[str, ...] = ()
    on_roster: Callable[[], None] = staticmethod(lambda: None)
    on_end: Callable[[], None] = staticmethod(lambda: None)

    def sync_clients_from_main_process(self) -> None:
        self.client_manager.set_clients({token(s): Client(s, token(s)) for s in self.roster})
        self.on_roster()

    def update_job_run_status(self) -> None:
        """There is no parent process of FLARE's to tell."""

    def persist_components(self, fl_ctx: FLContext, completed: bool) -> None:
        """A job starts over when its enclave dies; there are no snapshots."""

    def set_run_manager(self, run_manager: Any) -> None:
        super().set_run_manager(run_manager)
        cells.make_discreet(run_manager.aux_runner)

    def send_aux_request(
        self, targets: Any, topic: str, request: Shareable, timeout: float, fl_ctx: FLContext,
        optional: bool = False, secure: bool = False,
    ) -> dict[str, Shareable]:  # fmt: skip
        if topic == ReservedTopic.END_RUN:
            self.on_end()
            return {}
        replies: dict[str, Shareable] = super().send_aux_request(
            targets, topic, request, timeout, fl_ctx, optional, secure
        )
        return replies


class Server(private.FederatedServer):  # type: ignore[misc]
    """One job's server. ``on_start`` runs once its components exist and before it runs."""

    def __init__(self, args: Namespace, bell: wake.Bell, on_start: Callable[[Any], None]) -> None:
        self._bell = bell
        self._on_start = on_start
        # The frequency is a mere fallback: the end of the run rings the bell.
        super().__init__(project_name="fedgate", args=args, check_engine_frequency=1.0)
        self.server_state.ssid = "fedgate"

    def _create_server_engine(self, args: Namespace, snapshot_persistor: Any) -> Engine:
        return Engine(self, args, self.client_manager, snapshot_persistor)

    def _send_parent_heartbeat(self, job_id: str) -> None:
        """There is no parent process of FLARE's."""

    def start_run(self, job_id: str, run_root: str, conf: Any, args: Any, snapshot: Any) -> None:
        self._on_start(conf)
        super().start_run(job_id, run_root, conf, args, snapshot)

    def run_engine(self) -> None:
        super().run_engine()
        # FLARE says STARTED once more after it has started this thread, and would wait for ever
        # for a run that was over by then: one that was aborted before it began.
        self.engine.asked_to_stop = True
        self._bell.ring()


class Observer(FLComponent):  # type: ignore[misc]
    """Sees the events of a run that decide what it means."""

    def __init__(
        self, *, on_start: Callable[[], None], on_fatal: Callable[[str], None],
        on_model: Callable[[FLContext], None],
    ) -> None:  # fmt: skip
        super().__init__()
        self._on_start = on_start
        self._on_fatal = on_fatal
        self._on_model = on_model

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        if event_type == EventType.START_RUN:
            self._on_start()
        elif event_type == EventType.FATAL_SYSTEM_ERROR:
            self._on_fatal(str(fl_ctx.get_prop(FLContextKey.EVENT_DATA, "")))
        elif event_type == AppEventType.AFTER_SHAREABLE_TO_LEARNABLE:
            self._on_model(fl_ctx)


def token(site: str) -> str:
    return f"fedgate-{site}"


def arguments(deployed: Deployed) -> Namespace:
    """What FLARE's command line would give its server process."""
    return Namespace(
        workspace=str(deployed.root),
        job_id=deployed.job_id,
        config_folder="config",
        server_config=f"config/{JobConstants.SERVER_JOB_CONFIG}",
        set=["secure_train=False"],
        env="config/environment.json",
        log_config=None,
        snapshot=None,
        root_url="",
        parent_url="",
        host="fedgate",
        port="0",
        ssid="fedgate",
    )
