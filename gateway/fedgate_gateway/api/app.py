"""The REST API: one FastAPI application over the gateway's state."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import FastAPI

from fedgate_gateway.api import problems
from fedgate_gateway.api.limits import BodyLimit, SafeHeaders
from fedgate_gateway.api.metrics import GatewayCollector, RequestMetrics
from fedgate_gateway.api.open_requests import OpenRequests
from fedgate_gateway.api.openapi import describe
from fedgate_gateway.api.routes import (
    PREFIX,
    access,
    audit,
    enrolment,
    events,
    jobs,
    operations,
    outputs,
    peers,
    plugins,
)
from fedgate_gateway.api.upload import OVERHEAD_BYTES
from fedgate_gateway.control.state import GatewayState
from fedgate_gateway.front import pages
from fedgate_gateway.front import routes as front_routes
from fedgate_gateway.front.mount import open_doors
from fedgate_gateway.front.office import Office


def create_app(state: GatewayState) -> FastAPI:
    """The application; ``state`` stays the caller's to close."""
    app = FastAPI(
        title="Fedgate gateway",
        version=version("fedgate"),
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.gateway = state
    app.state.office = office = Office.open(state)
    problems.install(app)
    for module in (jobs, events, outputs, peers, enrolment, access, audit, plugins, operations):
        app.include_router(module.router)
    for router in (front_routes.router, pages.router):
        app.include_router(router)
    uploads = open_doors(app, office)
    # The last one added is the outermost.
    limit = state.config.limits.bundle_bytes + OVERHEAD_BYTES
    limits = state.config.limits
    paths = {f"{PREFIX}/jobs", *uploads}
    idle = limits.idle_seconds
    app.add_middleware(BodyLimit, uploads=paths, upload_bytes=limit, idle_seconds=idle)
    app.add_middleware(
        OpenRequests, calls=state.calls, shares=state.shares, uploads=paths, idle_seconds=idle
    )
    app.add_middleware(SafeHeaders)
    app.add_middleware(RequestMetrics, state=state)
    state.registry.register(GatewayCollector(state))
    describe(app)
    return app
