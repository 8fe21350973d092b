"""Which adapters are installed, allowed, and what they can do."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from fedgate.adapter import Grade
from fedgate.errors import PluginUnavailable
from fedgate.plugins import ADAPTERS, load_adapter, names
from fedgate_gateway.api.access import JOBS_READ, Gateway
from fedgate_gateway.api.problems import responses
from fedgate_gateway.api.routes import PREFIX

router = APIRouter(prefix=PREFIX, tags=["plugins"])


class CapabilityView(BaseModel):
    """How well a feature of the framework works through Fedgate."""

    grade: Grade
    since: str = Field(description="since which version of the framework")
    note: str


class AdapterView(BaseModel):
    """An adapter's entry point; only allowed ones are ever loaded."""

    name: str
    allowed: bool
    error: str | None = Field(description="why it does not load, if it does not")
    capabilities: dict[str, CapabilityView]


class PluginsView(BaseModel):
    adapters: list[AdapterView]


@router.get("/plugins", operation_id="listPlugins", dependencies=[JOBS_READ], responses=responses())
def list_plugins(state: Gateway) -> PluginsView:
    """Installed adapters, and which of them this gateway's configuration allows."""
    allowed = set(state.config.adapters)
    installed = sorted({*names(ADAPTERS), *allowed})
    return PluginsView(adapters=[_view(name, allowed) for name in installed])


def _view(name: str, allowed: set[str]) -> AdapterView:
    error, capabilities = None, {}
    if name in allowed:
        try:
            for feature, graded in load_adapter(name, allowed=allowed).capabilities.items():
                capabilities[feature] = CapabilityView(
                    grade=graded.grade, since=graded.since, note=graded.note
                )
        except PluginUnavailable as unavailable:
            error = str(unavailable)
    return AdapterView(name=name, allowed=name in allowed, error=error, capabilities=capabilities)
