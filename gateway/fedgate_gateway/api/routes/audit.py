"""The audit log: what happened, and proofs that nobody rewrote it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import datetime
from typing import IO, Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from fedgate.bundle import MIB
from fedgate.errors import Denied
from fedgate_gateway.api.access import AUDIT_READ, AuditReader, Gateway
from fedgate_gateway.api.problems import responses
from fedgate_gateway.api.routes import PREFIX
from fedgate_gateway.audit.export import write
from fedgate_gateway.audit.log import MAX_PAGE, LoggedEntry
from fedgate_gateway.control.ids import JOB_ID
from fedgate_gateway.control.principal import Principal

router = APIRouter(prefix=f"{PREFIX}/audit", tags=["audit"])
Position = Annotated[int, Query(ge=0, le=2**53 - 1)]
Size = Annotated[
    int | None, Query(ge=0, le=2**53 - 1, description="of the log; default: as it stands")
]


class CheckpointView(BaseModel):
    """The signed state of the log."""

    note: str = Field(description="C2SP signed note: origin, size, root hash, signature")
    key: str = Field(description="the log's verifier key; compare it with one you already have")


class EntryView(BaseModel):
    """One entry; the leaf hash is over `canonical`."""

    position: int
    at: datetime
    kind: str
    actor: str
    job: str | None
    data: dict[str, Any]
    canonical: str = Field(description="the entry's very bytes, as UTF-8")
    leaf_hash: str = Field(description="RFC 6962 leaf hash, hex")

    @classmethod
    def of(cls, logged: LoggedEntry) -> EntryView:
        entry = logged.entry
        return cls(
            position=logged.position,
            at=entry.at,
            kind=entry.kind,
            actor=entry.actor,
            job=entry.job,
            data=dict(entry.data),
            canonical=entry.encode().decode(),
            leaf_hash=logged.leaf_hash.hex(),
        )


class EntriesView(BaseModel):
    entries: list[EntryView]
    next_start: int | None = Field(description="`start` of the next page; null on the last one")


class ProofView(BaseModel):
    """An RFC 6962 proof for the log of `size` entries."""

    size: int
    root: str = Field(description="root hash at `size`, hex")
    hashes: list[str] = Field(description="the proof, hex, in the order of RFC 6962")


@router.get(
    "/checkpoint", operation_id="getCheckpoint", dependencies=[AUDIT_READ], responses=responses()
)
def get_checkpoint(state: Gateway) -> CheckpointView:
    """Sign the log as it stands."""
    return CheckpointView(note=state.audit.checkpoint(), key=str(state.audit.verifier))


@router.get("/entries", operation_id="listAuditEntries", responses=responses(404))
def list_entries(
    state: Gateway,
    principal: AuditReader,
    *,
    start: Position = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
    job: Annotated[
        str | None, Query(pattern=JOB_ID, description="only entries of this job")
    ] = None,
    kind: Annotated[str | None, Query(max_length=64, description="only this kind")] = None,
) -> EntriesView:
    """Entries, oldest first. A token that is limited to projects must name one of their jobs."""
    if job is None:
        _require_everything(principal)
    else:
        state.jobs.get(job, principal)
    found = state.audit.entries(start, limit, job=job, kind=kind)
    more = found[-1].position + 1 if len(found) == limit else None
    return EntriesView(entries=[EntryView.of(entry) for entry in found], next_start=more)


@router.get(
    "/proof/inclusion",
    operation_id="proveInclusion",
    dependencies=[AUDIT_READ],
    responses=responses(404),
)
def prove_inclusion(state: Gateway, position: Position, size: Size = None) -> ProofView:
    """Prove that the entry at `position` is in the log of `size` entries."""
    upto = state.audit.size() if size is None else size
    proof = state.audit.inclusion(position, upto)
    return _proof(proof, upto, state.audit.root(upto))


@router.get(
    "/proof/consistency",
    operation_id="proveConsistency",
    dependencies=[AUDIT_READ],
    responses=responses(404),
)
def prove_consistency(state: Gateway, old: Position, size: Size = None) -> ProofView:
    """Prove that the log of `size` entries extends the one of `old` entries."""
    upto = state.audit.size() if size is None else size
    proof = state.audit.consistency(old, upto)
    return _proof(proof, upto, state.audit.root(upto))


@router.get(
    "/export",
    operation_id="exportAuditLog",
    response_class=StreamingResponse,
    responses={
        200: {"description": "JSON lines", "content": {"application/jsonl": {}}},
        **responses(429),
    },
)
def export_log(state: Gateway, principal: AuditReader) -> StreamingResponse:
    """The whole log in one file that `fedgate audit verify` checks without the gateway."""
    _require_everything(principal)
    state.shares.expensive(principal.token)
    spool: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed once it is sent)
    write(state.audit, spool)  # type: ignore[arg-type]
    spool.seek(0)
    return StreamingResponse(_chunks(spool), media_type="application/jsonl")


def _chunks(spool: IO[bytes]) -> Iterator[bytes]:
    with spool:
        while chunk := spool.read(MIB):
            yield chunk


def _require_everything(principal: Principal) -> None:
    if principal.projects is not None:
        raise Denied(
            "this token cannot read the whole log",
            why="it is limited to projects, and the log is about all of them",
            remedy="name a job of your projects, or use a token for every project",
        )


def _proof(proof: list[bytes], size: int, root: bytes) -> ProofView:
    return ProofView(size=size, root=root.hex(), hashes=[node.hex() for node in proof])
