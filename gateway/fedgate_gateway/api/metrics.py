"""Prometheus metrics in base units: requests, and what the gateway holds right now."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fedgate_gateway.control.state import GatewayState


class GatewayCollector(Collector):
    """Reads the database when it is asked, so that no number can be stale."""

    def __init__(self, state: GatewayState) -> None:
        self._state = state

    def describe(self) -> Iterator[Metric]:
        """Nothing: registering must not read the database."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        jobs = GaugeMetricFamily("fedgate_jobs", "Jobs in each state.", labels=["state"])
        for job_state, count in self._state.jobs.counts().items():
            jobs.add_metric([job_state.value], count)
        yield jobs
        online = GaugeMetricFamily(
            "fedgate_peer_online", "Whether an enrolled peer is linked.", labels=["kind", "name"]
        )
        for peer in self._state.peers.list():
            linked = self._state.presence(peer.kind, peer.name)
            online.add_metric([peer.kind.value, peer.name], float(linked))
        yield online
        size = self._state.audit.size()
        yield GaugeMetricFamily("fedgate_audit_entries", "Entries in the audit log.", value=size)


class RequestMetrics:
    """Counts requests by route template, never by path: a path may hold anything."""

    def __init__(self, app: ASGIApp, *, state: GatewayState) -> None:
        self._app = app
        self._count = Counter(
            "fedgate_http_requests",
            "Requests answered.",
            ["method", "route", "status"],
            registry=state.registry,
        )
        self._seconds = Histogram(
            "fedgate_http_request_seconds",
            "Seconds until an answer began.",
            ["route"],
            registry=state.registry,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def watching(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "none")
                method = scope["method"] if route != "none" else "other"
                self._count.labels(method, route, message["status"]).inc()
                self._seconds.labels(route).observe(time.perf_counter() - began)
            await send(message)

        await self._app(scope, receive, watching)
