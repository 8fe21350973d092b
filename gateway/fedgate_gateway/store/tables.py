"""The gateway's state. Nothing here is a weight, a key of somebody else, or a token in clear."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, Integer, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from fedgate_gateway.store.base import Base, UtcDateTime

#: SQLite counts rows by itself only in a column that is exactly INTEGER.
_Serial = BigInteger().with_variant(Integer, "sqlite")


class TokenRow(Base):
    """A bearer token of the API; the token itself is shown once and never stored."""

    __tablename__ = "tokens"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(128))
    hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)  # SHA-256
    scopes: Mapped[list[str]] = mapped_column(JSON)
    projects: Mapped[list[str] | None] = mapped_column(
        JSON(none_as_null=True)
    )  # NULL: every project
    created: Mapped[datetime] = mapped_column(UtcDateTime)
    expires: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked: Mapped[datetime | None] = mapped_column(UtcDateTime)


class EnrolmentRow(Base):
    """The right to enrol one named peer once."""

    __tablename__ = "enrolments"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)  # SHA-256
    kind: Mapped[str] = mapped_column(String(16))  # site | enclave
    name: Mapped[str] = mapped_column(String(63))
    created: Mapped[datetime] = mapped_column(UtcDateTime)
    expires: Mapped[datetime] = mapped_column(UtcDateTime)
    used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class PeerRow(Base):
    """A certificate that a site or an enclave got; enrolling again revokes the one before."""

    __tablename__ = "peers"
    __table_args__ = (Index("ix_peers_kind_name", "kind", "name"),)

    fingerprint: Mapped[str] = mapped_column(String(64), primary_key=True)  # SHA-256 of the DER
    kind: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(String(63))
    serial: Mapped[str] = mapped_column(String(40))  # hex
    identity: Mapped[bytes] = mapped_column(LargeBinary(32))  # raw Ed25519 public key
    enrolled: Mapped[datetime] = mapped_column(UtcDateTime)
    expires: Mapped[datetime] = mapped_column(UtcDateTime)
    revoked: Mapped[datetime | None] = mapped_column(UtcDateTime)


class BundleRow(Base):
    """A stored bundle and what its adapter read from it; content-addressed."""

    __tablename__ = "bundles"

    digest: Mapped[str] = mapped_column(String(71), primary_key=True)  # sha256:<hex>
    size: Mapped[int] = mapped_column(BigInteger)
    framework: Mapped[str] = mapped_column(String(64))
    manifest: Mapped[dict[str, Any]] = mapped_column(JSON)
    object_key: Mapped[str] = mapped_column(String(255))
    created: Mapped[datetime] = mapped_column(UtcDateTime)


class JobRow(Base):
    """One job; ``state`` is only ever changed together with a row of ``job_events``."""

    __tablename__ = "jobs"
    __table_args__ = (Index("ix_jobs_project_id", "project", "id"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)  # sorts by time
    project: Mapped[str] = mapped_column(String(63))
    bundle: Mapped[str] = mapped_column(ForeignKey("bundles.digest"))
    framework: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(255))
    submitter: Mapped[str] = mapped_column(String(128))
    datasets: Mapped[list[str]] = mapped_column(JSON)
    min_sites: Mapped[int] = mapped_column(Integer)
    config: Mapped[dict[str, Any]] = mapped_column(JSON)
    task_seconds: Mapped[float | None]
    state: Mapped[str] = mapped_column(String(16), index=True)
    reason: Mapped[str] = mapped_column(Text, default="")
    enclave: Mapped[str] = mapped_column(String(63), default="")
    created: Mapped[datetime] = mapped_column(UtcDateTime)
    pending_until: Mapped[datetime] = mapped_column(UtcDateTime)
    started: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended: Mapped[datetime | None] = mapped_column(UtcDateTime)


class RequestRow(Base):
    """What was signed for a job; peers verify it, the gateway only passes it on."""

    __tablename__ = "job_requests"

    job: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    digest: Mapped[str] = mapped_column(String(71), unique=True)  # sha256:<hex> of the payload
    envelope: Mapped[bytes] = mapped_column(LargeBinary)
    signed_by: Mapped[str] = mapped_column(String(16))  # submitter | gateway
    expires: Mapped[datetime] = mapped_column(UtcDateTime)


class RecipientRow(Base):
    """The submitter's public key that a job's outputs are sealed to: raw X-Wing, 1216 bytes."""

    __tablename__ = "recipients"

    job: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    public_key: Mapped[bytes] = mapped_column(LargeBinary(1216))


class JobSiteRow(Base):
    """A site of a job, in the order of the roster, and what its owner decided."""

    __tablename__ = "job_sites"

    job: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    site: Mapped[str] = mapped_column(String(63), index=True)
    decision: Mapped[str] = mapped_column(String(16), default="pending")
    reason: Mapped[str] = mapped_column(Text, default="")
    decided: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: What the job's enclave said last: ready, lost, or nothing yet; and why it was lost.
    state: Mapped[str | None] = mapped_column(String(16))
    why: Mapped[str | None] = mapped_column(Text)


class ReportMarkRow(Base):
    """How far the reports of a peer about a job are written down; of each of its outboxes."""

    __tablename__ = "report_marks"

    peer: Mapped[str] = mapped_column(String(80), primary_key=True)  # kind:name
    job: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    outbox: Mapped[bytes] = mapped_column(LargeBinary(16), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger)
    refused: Mapped[bool]


class JobEventRow(Base):
    """What happened to a job; ``id`` is the id of the server-sent event."""

    __tablename__ = "job_events"
    __table_args__ = (
        Index("ix_job_events_job_id", "job", "id"),
        {"sqlite_autoincrement": True},  # an id is never used twice, even after a deletion
    )

    id: Mapped[int] = mapped_column(_Serial, primary_key=True, autoincrement=True)
    job: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    kind: Mapped[str] = mapped_column(String(32))
    data: Mapped[dict[str, Any]] = mapped_column(JSON)


class OutputRow(Base):
    """Something a job released: its model, its artifacts or its log."""

    __tablename__ = "outputs"

    job: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))  # model | artifacts | log
    object_key: Mapped[str] = mapped_column(String(255))
    size: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[str] = mapped_column(String(71))  # of the stored bytes, sha256:<hex>
    sealed: Mapped[bool]
    created: Mapped[datetime] = mapped_column(UtcDateTime)


class IdempotencyRow(Base):
    """A submission that may be repeated: the same key and request give the same job."""

    __tablename__ = "idempotency"

    token: Mapped[str] = mapped_column(ForeignKey("tokens.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request: Mapped[bytes] = mapped_column(LargeBinary(32))  # SHA-256
    job: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    created: Mapped[datetime] = mapped_column(UtcDateTime)
