"""The server side of a job, run to its end inside the coordinator child."""

from __future__ import annotations

import gc
import logging
import threading
from typing import Any

from nvflare.apis.fl_constant import FLContextKey

from fedgate.adapter import Federation, Workload
from fedgate.errors import WorkloadFailed
from fedgate.task import Frame
from fedgate_flare import _nvflare_private as private
from fedgate_flare import cells, fed_events, final_model, lifecycle, status
from fedgate_flare.artifacts import RunFolder
from fedgate_flare.hub import Hub
from fedgate_flare.ledger import Ledger
from fedgate_flare.liveness import Liveness
from fedgate_flare.process import prepare
from fedgate_flare.release import Publisher
from fedgate_flare.server import Observer, Runner, Server, arguments, make_wakeful
from fedgate_flare.wake import Bell
from fedgate_flare.workspace import Deployed, deploy

_LOG = logging.getLogger("fedgate.flare")


def run_coordinator(workload: Workload, federation: Federation) -> None:
    """Run the job's workflows; raises :class:`WorkloadFailed` with the reason when they fail."""
    deployed = deploy(workload, "server")
    folder = RunFolder(deployed)
    try:
        _Coordinator(workload, federation, deployed).run()
    finally:
        folder.collect(workload.scratch)


class _Coordinator:
    def __init__(self, workload: Workload, federation: Federation, deployed: Deployed) -> None:
        self._federation = federation
        self._deployed = deployed
        self._reason = ""
        self._reason_lock = threading.Lock()
        self._frozen = False
        self._bell = Bell()
        self._workspace = prepare(deployed)
        make_wakeful(self._bell)
        self._args = arguments(deployed)
        self._server = Server(self._args, self._bell, self._before_start)
        self._server.engine.roster = workload.sites
        self._publisher = Publisher(federation)
        self._ledger = Ledger()
        self._liveness = Liveness(
            self._server, deployed.meta, workload.sites, self._bell, self._fail
        )
        self._server.engine.on_roster = self._liveness.settle
        self._edges = lifecycle.matters(workload.manifest)
        self._server.engine.on_end = lambda: self._tell_sites(lifecycle.END)
        self._hub = Hub(
            server=self._server, federation=federation, liveness=self._liveness,
            ledger=self._ledger, bell=self._bell, job_id=deployed.job_id, sites=workload.sites,
        )  # fmt: skip

    def run(self) -> None:
        job = self
        Runner.on_workflow = staticmethod(job._workflow_changed)
        Runner.is_lost = staticmethod(lambda site: site in job._liveness.lost)
        private.fed_server_module.ServerRunner = Runner
        self._federation.on_site_lost(
            lambda site, reason: self._liveness.gone(site, reason, self._federation)
        )
        self._open_line()
        self._hub.start()
        try:
            private.ServerAppRunner(self._server).start_server_app(
                self._workspace, self._args, str(self._deployed.app), self._deployed.job_id, None,
                _LOG, kv_list=self._args.set, event_handlers=[],
            )  # fmt: skip
        except Exception as error:
            raise WorkloadFailed(
                "the job's server side failed",
                why=self._reason or f"{type(error).__name__}: {error}",
                remedy="the job's log has the traceback",
            ) from error
        finally:
            self._hub.close()
        self._conclude()

    def _conclude(self) -> None:
        """FLARE returns normally in all cases; say which of them was none."""
        if self._reason:
            why = self._reason
            told = self._liveness.lost if self._liveness.problem() else ()
            detail = self._ledger.last_failure(beside=told)
            if detail and detail not in why:
                why = f"{why}; {detail}"
            raise WorkloadFailed(
                "the job was aborted", why=why[:4000], remedy="the job's log has what sites said"
            )
        self._ledger.require_success()
        if not self._publisher.finish() and status.is_controlled_by_sites():
            model = final_model.ask_for_it(self._federation)
            if model is not None:
                self._federation.publish(model, round=0)

    # -- called while the job runs ---------------------------------------------------------------

    def _before_start(self, conf: Any) -> None:
        """The job's components exist: watch those that save models."""
        config = conf.runner_config
        self._publisher.watch(config.components.values(), [w.controller for w in config.workflows])
        config.handlers.append(
            Observer(
                on_start=lambda: self._tell_sites(lifecycle.BEGIN),
                on_fatal=self._note_reason,
                on_model=self._publisher.saw_global_model,
            )
        )
        fed_events.do_not_linger(config.handlers)
        status.wake(self._bell)

    def _workflow_changed(self) -> None:
        if not self._frozen:
            self._frozen = True
            gc.freeze()  # what is loaded by now stays: collecting is quick afterwards
        runner = self._server.server_runner
        manager = self._server.run_manager
        if manager is not None:
            fed_events.do_not_linger(manager.handlers)
        if runner is not None and self._liveness.lost:
            if self._reason:
                self._fail(self._reason)
            self._liveness.settle()
        self._bell.ring()

    def _tell_sites(self, what: str) -> None:
        if self._edges and not self._reason:  # of an aborted job nothing more is wanted
            lifecycle.tell(self._federation, what)

    def _note_reason(self, reason: str) -> None:
        with self._reason_lock:
            self._reason = self._reason or reason or "a component reported a fatal error"

    def _fail(self, reason: str) -> None:
        """Abort the job as FLARE would, with a reason of ours."""
        self._note_reason(reason)
        runner = self._server.server_runner
        if runner is None or self._server.run_manager is None:
            return  # said again when the first workflow begins
        with self._server.engine.new_context() as context:
            context.set_prop(FLContextKey.FATAL_SYSTEM_ERROR, True, private=True, sticky=True)
            runner.abort(context)

    def _open_line(self) -> None:
        """FLARE's message layer, for what is neither task nor result."""
        line = cells.server_line(
            self._deployed.job_id, tuple(s.name for s in self._federation.sites()),
            self._federation.post,
        )  # fmt: skip

        def receive(site: str, frame: Frame) -> None:
            if frame.channel == status.CHANNEL:
                self._hub.take_status(site, frame)
            else:
                line.receive(site, frame)

        self._federation.on_frame(receive)
        self._federation.on_site_lost(lambda site, _reason: line.drop(site))
        cell = cells.open_server_cell(self._server, self._deployed.job_id, line, self._bell)
        self._server.cell = cell
        self._server.engine.set_cell(cell)
