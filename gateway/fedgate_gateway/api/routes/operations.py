"""For those who run the gateway: is it alive, is it ready, how much does it do."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Response
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from fedgate_gateway.api.access import METRICS_READ, Gateway
from fedgate_gateway.api.problems import responses

router = APIRouter(tags=["operations"])


class StatusView(BaseModel):
    status: str


@router.get("/healthz", operation_id="isAlive")
async def healthz() -> StatusView:
    """Answers while the process does."""
    return StatusView(status="ok")


@router.get("/readyz", operation_id="isReady", responses=responses(503))
async def readyz(state: Gateway) -> StatusView:
    """Answers well once the database, with the schema of this version, and the object store do."""
    await asyncio.to_thread(state.database.check)
    await state.objects.check()
    return StatusView(status="ready")


@router.get(
    "/metrics",
    operation_id="getMetrics",
    dependencies=[METRICS_READ],
    response_class=Response,
    responses={
        200: {"description": "Prometheus text", "content": {"text/plain": {}}},
        **responses(),
    },
)
def metrics(state: Gateway) -> Response:
    """Prometheus metrics."""
    return Response(generate_latest(state.registry), media_type=CONTENT_TYPE_LATEST)
