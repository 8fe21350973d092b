"""What jobs released: models, artifacts and logs, as objects with a name."""

from __future__ import annotations

import re
import secrets

from sqlalchemy import select

from fedgate.errors import Conflict, InvalidMessage
from fedgate_gateway.control import rows
from fedgate_gateway.control.audit_sink import AuditSink
from fedgate_gateway.control.records import OUTPUT_EVENT, Output, OutputKind
from fedgate_gateway.control.transitions import add_event
from fedgate_gateway.link.output_names import site_of
from fedgate_gateway.store import Database, StoredObject
from fedgate_gateway.store.base import utc_now
from fedgate_gateway.store.tables import OutputRow

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def output_key(job_id: str, name: str) -> str:
    """Where the object store may keep an output; raises :class:`InvalidMessage` for a bad name.

    Another key for every call: an upload that died before it was registered is in nobody's way.
    """
    if not _NAME.fullmatch(name):
        raise InvalidMessage("that is no name for an output", why=f"{name!r:.100}")
    return f"outputs/{job_id}/{secrets.token_hex(6)}-{name}"


class JobOutputs:
    """The register of outputs."""

    def __init__(self, database: Database, audit: AuditSink) -> None:
        self._database = database
        self._audit = audit

    def add(
        self, job_id: str, kind: OutputKind, name: str, stored: StoredObject, *, sealed: bool
    ) -> Output:
        output_key(job_id, name)
        told = {
            "name": name,
            "kind": kind.value,
            "size": stored.size,
            "digest": stored.digest,
            "sealed": sealed,
        }
        with self._database.write() as session:
            rows.job_row(session, job_id, lock=True)
            if session.get(OutputRow, (job_id, name)) is not None:
                raise Conflict(f"{job_id} has an output {name!r} already")
            row = OutputRow(job=job_id, object_key=stored.key, created=utc_now(), **told)
            session.add(row)
            if site := site_of(name):  # whoever reads the log sees that no cohort stands behind it
                told["site"] = site
            add_event(session, job_id, OUTPUT_EVENT, told)
            self._audit.append("job.output", told, job=job_id, actor="gateway", session=session)
            return rows.output_record(row)

    def of(self, job_id: str) -> list[Output]:
        query = select(OutputRow).where(OutputRow.job == job_id)
        with self._database.read() as session:
            rows.job_row(session, job_id)
            ordered = query.order_by(OutputRow.created, OutputRow.name)
            return [rows.output_record(row) for row in session.scalars(ordered)]
