"""FLARE's admin commands as the door offers them: about jobs, and to see how things are."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from nvflare.apis.fl_constant import AdminCommandNames
from nvflare.apis.job_def import JobMetaKey

from fedgate.errors import Denied, FedgateError, InvalidBundle
from fedgate.side_door import Submitter
from fedgate_flare._nvflare_private import (
    AdminConnection,
    CommandFilter,
    ConnProps,
    InfoCollectorCommandModule,
    InternalCommands,
    JobCommandModule,
    MetaKey,
    MetaStatusValue,
    PreAuthzReturnCode,
    SystemCommandModule,
    TrainingCommandModule,
    make_meta,
)
from fedgate_flare.front_door.job_manager import DoorJobManager

_OFFERED = frozenset(
    {
        AdminCommandNames.SUBMIT_JOB, AdminCommandNames.LIST_JOBS, AdminCommandNames.GET_JOB_META,
        AdminCommandNames.GET_JOB_LOG, AdminCommandNames.ABORT_JOB, AdminCommandNames.CLONE_JOB,
        AdminCommandNames.DELETE_JOB, AdminCommandNames.DOWNLOAD_JOB, AdminCommandNames.LIST_JOB,
        AdminCommandNames.DOWNLOAD_JOB_COMPONENTS, AdminCommandNames.CHECK_STATUS,
        AdminCommandNames.REPORT_VERSION, AdminCommandNames.SHOW_STATS,
        InternalCommands.CERT_LOGIN, InternalCommands.LOGOUT, InternalCommands.GET_CMD_LIST,
        InternalCommands.CHECK_SESSION,
    }
)  # fmt: skip


_SITES_LOG = "a site's log stays with its owner, who reads it with `fedgate site logs`"


class OfferedCommands(CommandFilter):  # type: ignore[misc]
    """Refuses all other commands, whoever asks: shell, shutdown, network diagnosis, studies, …"""

    def pre_command(self, conn: Any, args: list[str]) -> bool:
        name = conn.get_prop(ConnProps.CMD_ENTRY).name
        if name in _OFFERED:
            return True
        text = f"a Fedgate front door does not offer {name!r}: sites belong to their owners"
        conn.append_error(text, meta=make_meta(MetaStatusValue.NOT_AUTHORIZED, text))
        return False


class JobCommands(JobCommandModule):  # type: ignore[misc]
    """What is wrong with a job, and what the gateway says to it, is told as it is."""

    def __init__(self, manager: DoorJobManager) -> None:
        super().__init__()
        self._manager = manager

    def submit_job(self, conn: Any, args: list[str]) -> None:
        self._in_its_own_words(conn, lambda: super(JobCommands, self).submit_job(conn, args))

    def clone_job(self, conn: Any, args: list[str]) -> None:
        self._in_its_own_words(conn, lambda: super(JobCommands, self).clone_job(conn, args))

    def _in_its_own_words(self, conn: Any, act: Any) -> None:
        self._manager.refusal.error = None
        act()
        if self._manager.refusal.error is not None:
            conn.buffer.reset()
            refuse(conn, self._manager.refusal.error)

    def _read_live_server_job_log(
        self, engine: Any, job_id: str, log_file_name: str = "log.txt"
    ) -> str | None:
        return self._manager.logs.read(job_id) if log_file_name == "log.txt" else None

    def abort_job(self, conn: Any, args: list[str]) -> None:
        """FLARE says of a job that has ended that it was told to."""
        status = str(conn.get_prop(self.JOB).meta.get(JobMetaKey.STATUS.value, ""))
        if status.startswith("FINISHED:"):
            text = f"the job has ended already, {status}: there is nothing to abort"
            conn.append_error(text, meta=make_meta(MetaStatusValue.JOB_NOT_RUNNING, text))
        else:
            super().abort_job(conn, args)

    def _add_client_job_log(
        self, conn: Any, payload: dict[str, Any], job_id: str, client_name: str, *_: Any
    ) -> None:
        payload.setdefault("unavailable", {})[client_name] = _SITES_LOG

    def _add_all_client_job_logs(
        self, conn: Any, payload: dict[str, Any], job_id: str, *_: Any, **__: Any
    ) -> None:
        for site in sorted(self._get_job_client_targets(conn.get_prop(self.JOB))):
            self._add_client_job_log(conn, payload, job_id, site)

    def _read_stored_workspace_zip(self, conn: Any, job_id: str) -> None:
        """Not for a log: results can be large."""


class StatusCommands(TrainingCommandModule):  # type: ignore[misc]
    """``check_status``: the door, the jobs under way, and the sites that are there."""

    def __init__(self, manager: DoorJobManager, submitter: Submitter) -> None:
        super().__init__()
        self._manager = manager
        self._submitter = submitter
        self._since = time.time()

    def check_status(self, conn: Any, args: list[str]) -> None:
        wanted = args[1] if len(args) > 1 else ""
        if wanted not in ("server", "client", "all"):
            conn.append_error("say server, client or all", make_meta(MetaStatusValue.SYNTAX_ERROR))
            return
        sites: list[str] = []
        try:
            sites = [site.name for site in self._submitter.sites() if site.online]
        except FedgateError as error:
            conn.append_string(f"the gateway does not say which sites are there: {error}")
        if wanted != "client":
            self._show_server(conn, sites)
        if wanted != "server":
            self._show_sites(conn, sites)

    def _show_server(self, conn: Any, sites: list[str]) -> None:
        status = {MetaKey.SERVER_STATUS: "started", MetaKey.SERVER_START_TIME: self._since}
        said = make_meta(MetaStatusValue.OK, extra=status)
        conn.append_string("Engine status: started", meta=said)
        jobs = conn.append_table(["job_id", "app name"], name=MetaKey.JOBS)
        for job in self._manager.active():
            told = {MetaKey.JOB_ID: job.id, MetaKey.APP_NAME: job.name}
            jobs.add_row([job.id, job.name], meta=told)
        table = conn.append_table(["client", "last connect time"], name=MetaKey.CLIENTS)
        now = time.time()
        for site in sites:
            row = [site, time.asctime(time.localtime(now))]
            seen = {MetaKey.CLIENT_NAME: site, MetaKey.CLIENT_LAST_CONNECT_TIME: now}
            table.add_row(row, meta=seen)

    def _show_sites(self, conn: Any, sites: list[str]) -> None:
        """Jobs of this door; what else a site runs is not told here."""
        conn.update_meta(make_meta(MetaStatusValue.OK))
        names = ["client", "app_name", "job_id", "status"]
        table = conn.append_table(names, name=MetaKey.CLIENT_STATUS)
        jobs = self._manager.active()
        for site in sites:
            rows = [[site, job.name, job.id, job.status] for job in jobs if site in job.sites]
            for row in rows or [[site, "?", "?", MetaStatusValue.NO_JOBS]]:
                keys = (MetaKey.CLIENT_NAME, MetaKey.APP_NAME, MetaKey.JOB_ID, MetaKey.STATUS)
                table.add_row(row, meta=dict(zip(keys, row, strict=True)))


class StatsCommands(InfoCollectorCommandModule):  # type: ignore[misc]
    """``show_stats``: the last round of a running job, with its metrics."""

    def __init__(self, manager: DoorJobManager) -> None:
        super().__init__()
        self._manager = manager

    def authorize_info_collection(self, conn: Any, args: list[str]) -> Any:
        code = self.authorize_job_id(conn, args)
        if code == PreAuthzReturnCode.ERROR:
            return code
        job = conn.get_prop(self.JOB_ID)
        if not self._manager.is_active(job):
            said = make_meta(MetaStatusValue.JOB_NOT_RUNNING, job)
            conn.append_error(f"Job_id: {job} is not running.", meta=said)
            return PreAuthzReturnCode.ERROR
        return code

    def show_stats(self, conn: Any, args: list[str]) -> None:
        last: Mapping[str, Any] = self._manager.stats.get(conn.get_prop(self.JOB_ID), {})
        shown = {k: last[k] for k in ("round", "task", "seconds", "sites", "failed") if k in last}
        conn.append_dict({"server": {"fedgate": {**shown, **dict(last.get("metrics", {}))}}})


def modules(manager: DoorJobManager, submitter: Submitter) -> list[Any]:
    """What FLARE's admin server registers."""
    return [
        JobCommands(manager),
        StatusCommands(manager, submitter),
        StatsCommands(manager),
        SystemCommandModule(),
    ]


def refuse(conn: AdminConnection, error: FedgateError) -> None:
    """An answer that FLARE's tools show whole, as their kind of error."""
    status = MetaStatusValue.INTERNAL_ERROR
    if isinstance(error, Denied):
        status = MetaStatusValue.NOT_AUTHORIZED
    elif isinstance(error, InvalidBundle) or error.status in (400, 404, 409):
        status = MetaStatusValue.INVALID_JOB_DEFINITION
    conn.append_error(str(error), meta=make_meta(status, str(error)))
