"""An enclave hands in outputs under the names of their kinds; one of its own is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from fedgate_gateway.pki import PeerKind
from fedgate_gateway.relay.connections import Connection, Connections
from fedgate_gateway.relay.router import Route, Router
from fedgate_gateway.relay.service import LinkService
from fedgate_proto.v1 import link_pb2 as pb

SECRET = "Patient-7"


class Aborted(Exception):
    pass


class Context:
    async def abort(self, code: grpc.StatusCode, why: str) -> None:
        raise Aborted(code, why)


@pytest.mark.parametrize(
    ("kind", "name"), [("model", SECRET), (SECRET, "model.safetensors"), ("log", "metrics.jsonl")]
)
def test_an_output_has_the_name_of_its_kind(state: Any, submit: Any, kind: str, name: str) -> None:
    job, connections = submit().id, Connections()
    router = Router(connections, state.registry)
    router.routes[job] = Route(job, "enclave-1", frozenset({"site-1"}), "health")
    ledger: Any = SimpleNamespace(on_taken=lambda _taken: None)
    spool: Any = None
    service = LinkService(state, ledger, connections, router, spool, ledger, state.calls)

    async def enclave(_context: Any) -> Connection:
        return Connection(PeerKind.ENCLAVE, "enclave-1", pb.PeerHello())

    async def chunks() -> AsyncIterator[bytes]:
        header = pb.OutputHeader(job=job, kind=kind, name=name, size=1, sealed=True)
        yield pb.Chunk(output=header).SerializeToString()
        yield pb.Chunk(data=b"x").SerializeToString()

    service._connection = enclave  # type: ignore[method-assign]
    context: Any = Context()
    with pytest.raises(Aborted) as refused:
        asyncio.run(service.upload_output(chunks(), context))
    code, why = refused.value.args
    assert (code, SECRET in why) == (grpc.StatusCode.INVALID_ARGUMENT, False)
    assert "no output has that kind and name" in why
    kept = [p.name for p in state.config.data.rglob("*") if "outputs" in str(p)]
    assert (list(state.jobs.outputs(job)), kept) == ([], [])
