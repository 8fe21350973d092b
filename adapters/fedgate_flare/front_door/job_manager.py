"""FLARE's job manager, which keeps the door's book: whatever is created here is handed in."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.job_def_manager import SimpleJobDefManager
from nvflare.apis.job_def import JobMetaKey, RunStatus, is_valid_job_id, new_job_id
from nvflare.apis.storage import WORKSPACE

from fedgate.errors import DeadlineExceeded, FedgateError, Unauthenticated, Unavailable
from fedgate.job import Job, JobState
from fedgate.side_door import Happening, Submitter
from fedgate_flare.front_door.archive import pack, read_upload
from fedgate_flare.front_door.errands import Errands
from fedgate_flare.front_door.folder import DoorFolder
from fedgate_flare.front_door.job_log import JobLogs
from fedgate_flare.front_door.results import collect
from fedgate_flare.front_door.server_config import JOB_STORE
from fedgate_flare.front_door.told import TOLD, Told
from fedgate_flare.run_status import STATUS

#: Written here; what a job's own meta says under these names is dropped.
_OURS = (TOLD, "job_deploy_detail", "schedule_history", "schedule_count", "last_schedule_time")
_TITLE = 200


@dataclass(frozen=True)
class ActiveJob:
    """A job under way, as status reports show it."""

    id: str
    name: str
    status: str
    sites: tuple[str, ...]

    @classmethod
    def of(cls, meta: Mapping[str, Any]) -> ActiveJob:
        keys = (JobMetaKey.JOB_ID, JobMetaKey.JOB_NAME, JobMetaKey.STATUS)
        job, name, status = (str(meta.get(key.value, "")) for key in keys)
        return cls(job, name, status, tuple(Told.of(meta).sites))


class DoorJobManager(SimpleJobDefManager):  # type: ignore[misc]
    """Jobs in FLARE's store, and an errand for each that has not ended.

    A job that has ended stays as it is: FLARE's commands and late events change nothing.
    """

    def __init__(
        self, folder: DoorFolder, errands: Errands, submitter: Submitter, logs: JobLogs
    ) -> None:
        super().__init__(uri_root=str(folder.jobs), job_store_id=JOB_STORE)
        self._folder = folder
        self._errands = errands
        self._submitter = submitter
        self._lock = threading.RLock()
        self._engine: Any = None
        self.logs = logs
        #: The last refusal in this thread: FLARE's commands put exceptions into words of their own.
        self.refusal = threading.local()
        #: The last round of each job under way.
        self.stats: dict[str, Mapping[str, Any]] = {}

    def attach(self, engine: Any) -> None:
        """Go on with what an earlier run of the door left unfinished."""
        self._engine = engine
        with engine.new_context() as context:
            for job in self.get_all_jobs(context):
                if not _ended(job.meta):
                    self.logs.start(job.job_id)  # what happened before is told again
                    self._errands.resume(job.job_id, Told.of(job.meta).job, self)

    def active(self) -> list[ActiveJob]:
        """Jobs under way."""
        with self._engine.new_context() as context:
            jobs = [self.get_job(name, context) for name in self._errands.active()]
        return [ActiveJob.of(job.meta) for job in jobs if job is not None]

    def is_active(self, name: str) -> bool:
        return name in self._errands.active()

    # -- what FLARE's commands call -----------------------------------------------------------

    def create(
        self, meta: dict[str, Any], uploaded_content: Any, fl_ctx: FLContext
    ) -> dict[str, Any]:
        for key in _OURS:
            meta.pop(key, None)
        if not is_valid_job_id(meta.get(JobMetaKey.JOB_ID.value)):
            meta[JobMetaKey.JOB_ID.value] = new_job_id()
        made: dict[str, Any] = super().create(meta, uploaded_content, fl_ctx)
        self._hand_in(made, fl_ctx)
        return made

    def clone(self, from_jid: str, meta: dict[str, Any], fl_ctx: FLContext) -> dict[str, Any]:
        made: dict[str, Any] = super().clone(from_jid, meta, fl_ctx)
        self._hand_in(made, fl_ctx)
        return made

    def delete(self, jid: str, fl_ctx: FLContext) -> None:
        """A job that has not ended is cancelled first."""
        if jid in self._errands.active():
            self._errands.cancel(jid)
        super().delete(jid, fl_ctx)
        self.logs.remove(jid)

    def set_status(self, jid: str, status: RunStatus, fl_ctx: FLContext) -> None:
        """FLARE's own abort of a job that has not begun: it has at the gateway."""
        if status == RunStatus.FINISHED_ABORTED and jid in self._errands.active():
            self._errands.cancel(jid)
        self._change(jid, status, {})

    def update_meta(self, jid: str, meta: dict[str, Any], fl_ctx: FLContext) -> None:
        with self._lock:
            super().update_meta(jid, meta, fl_ctx)

    def _hand_in(self, meta: Mapping[str, Any], fl_ctx: FLContext) -> None:
        name = str(meta[JobMetaKey.JOB_ID.value])
        try:
            self._errands.hand_in(name, self)
        except FedgateError as error:
            super().delete(name, fl_ctx)
            self.logs.remove(name)
            self.refusal.error = error
            raise

    # -- the book of the errands --------------------------------------------------------------

    def bundle(self, name: str) -> tuple[bytes, str]:
        path = Path(self.job_uri(name)) / "data"
        meta = self._meta(name)
        title = str(meta.get(JobMetaKey.JOB_NAME.value) or "FLARE job")[:_TITLE]
        who = str(meta.get(JobMetaKey.SUBMITTER_NAME.value) or "?")
        self.logs.start(name)
        return pack(read_upload(path)), f"{title} (FLARE: {who})"

    def handed_in(self, name: str, job: Job) -> None:
        self.logs.tell(name, f"handed in as {job.id} of project {job.project}, {job.bundle}")
        self._change(name, STATUS[job.state], Told.start(job).to_meta())

    def happened(self, name: str, happening: Happening) -> None:
        if happening.line:
            self.logs.tell(name, happening.line, at=str(happening.data.get("at", "")))
        if happening.kind == "round":
            self.stats[name] = dict(happening.data)
        before = Told.of(self._meta(name))
        told = before.after(happening)
        if told != before:
            status = None if told.state.final else STATUS[told.state]
            self._change(name, status, told.to_meta())

    def ended(self, name: str, job: Job) -> None:
        status, why = STATUS[job.state], job.reason
        try:
            self._keep_results(name, job)
        except (Unavailable, DeadlineExceeded, Unauthenticated):
            raise
        except OSError as error:
            raise Unavailable("cannot keep a job's results", why=str(error)) from error
        except FedgateError as error:
            self.logs.tell(name, f"results cannot be opened: {error}")
            if job.state is JobState.SUCCEEDED:
                status, why = RunStatus.FINISHED_ABNORMAL, str(error)
        self._close(name, status, job.state, why)

    def refused(self, name: str, error: FedgateError) -> None:
        self.logs.tell(name, f"refused: {error}")
        self._close(name, RunStatus.FINISHED_CANT_SCHEDULE, JobState.DENIED, str(error))

    def aborted(self, name: str) -> None:
        self._close(name, RunStatus.FINISHED_ABORTED, JobState.CANCELLED, "")

    def _close(self, name: str, status: RunStatus, state: JobState, why: str) -> None:
        self.stats.pop(name, None)
        self._change(name, status, Told.of(self._meta(name)).ended(state, why).to_meta())

    def _keep_results(self, name: str, job: Job) -> None:
        with collect(self._submitter, job.id, self._folder.scratch / name) as found:
            if found.log is not None:
                self.logs.append(name, found.log.read_text("utf-8", "replace"))
            told = self.logs.read(name) or ""
            (found.workspace / "log.txt").write_text(told, encoding="utf-8")
            store = self._engine.get_component(JOB_STORE)
            store.update_object(self.job_uri(name), [str(found.workspace)], WORKSPACE)

    # -- writing ------------------------------------------------------------------------------

    def _meta(self, name: str) -> dict[str, Any]:
        with self._engine.new_context() as context:
            job = self.get_job(name, context)
        return {} if job is None else dict(job.meta)

    def _change(self, name: str, status: RunStatus | None, meta: Mapping[str, Any]) -> None:
        """Nothing for a job that has ended here, or was deleted."""
        with self._lock, self._engine.new_context() as context:
            job = self.get_job(name, context)
            if job is None or _ended(job.meta):
                return
            if meta:
                super().update_meta(name, dict(meta), context)
            if status is not None and job.meta.get(JobMetaKey.STATUS.value) != status.value:
                super().set_status(name, status, context)


def _ended(meta: Mapping[str, Any]) -> bool:
    return str(meta.get(JobMetaKey.STATUS.value, "")).startswith("FINISHED:")
