"""Sites and enclaves: who is enrolled, who is linked, and revoking them."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from fedgate_gateway.api.access import Admin, Gateway, SiteReader
from fedgate_gateway.api.problems import responses
from fedgate_gateway.api.routes import PREFIX
from fedgate_gateway.config.programs import NAME
from fedgate_gateway.control.principal import Principal
from fedgate_gateway.control.state import GatewayState
from fedgate_gateway.pki import PeerKind
from fedgate_gateway.pki.peers import Peer

router = APIRouter(prefix=PREFIX, tags=["peers"])


class PeerView(BaseModel):
    """A site or an enclave host."""

    name: str
    projects: list[str] = Field(description="whose configuration names this site")
    online: bool = Field(description="linked to the gateway right now")
    enrolled: datetime | None = Field(description="null: it never enrolled")
    expires: datetime | None = Field(description="of its certificate")
    project_files: dict[str, str] = Field(
        description="project -> digest of the file that it has, as it says while it is linked; no "
        "job starts where a site's is not the enclave's"
    )
    identity: str | None = Field(description="its Ed25519 identity key, base64 of 32 bytes")
    frames: list[str] | None = Field(
        description="opaque traffic that its guard lists, as it says; null where it does not"
    )
    guard: list[str] | None = Field(
        description="lines of its guard that differ from the strict rules, as it says; null where "
        "it does not"
    )


class PeersView(BaseModel):
    peers: list[PeerView]


@router.get("/sites", operation_id="listSites", responses=responses())
def list_sites(state: Gateway, principal: SiteReader) -> PeersView:
    """Sites of the token's projects, enrolled or not, and whether they are linked."""
    projects: dict[str, list[str]] = {}
    for name, project in sorted(state.config.projects.items()):
        if principal.sees(name):
            for site in project.sites:
                projects.setdefault(site, []).append(name)
    enrolled = {peer.name: peer for peer in state.peers.list(PeerKind.SITE)}
    if principal.projects is None:
        projects.update({name: [] for name in enrolled if name not in projects})
    views = [
        _view(state, principal, PeerKind.SITE, name, enrolled.get(name), projects[name])
        for name in sorted(projects)
    ]
    return PeersView(peers=views)


@router.get("/enclaves", operation_id="listEnclaves", responses=responses())
def list_enclaves(state: Gateway, principal: SiteReader) -> PeersView:
    """Enrolled enclave hosts, and whether they are linked."""
    enrolled = state.peers.list(PeerKind.ENCLAVE)
    views = [_view(state, principal, PeerKind.ENCLAVE, peer.name, peer, []) for peer in enrolled]
    return PeersView(peers=views)


@router.post(
    "/peers/{kind}/{name}/revoke",
    operation_id="revokePeer",
    status_code=204,
    responses=responses(404),
)
def revoke_peer(
    state: Gateway,
    principal: Admin,
    kind: PeerKind,
    name: Annotated[str, Path(pattern=NAME)],
) -> None:
    """Make every certificate of a peer worthless; it can enrol again with a fresh token."""
    state.peers.revoke(kind, name, actor=principal.name)


def _view(
    state: GatewayState,
    principal: Principal,
    kind: PeerKind,
    name: str,
    peer: Peer | None,
    projects: list[str],
) -> PeerView:
    files = state.project_files(kind, name)
    guard = state.site_guard(name) if kind is PeerKind.SITE else None
    return PeerView(
        name=name,
        projects=projects,
        online=peer is not None and state.presence(kind, name),
        enrolled=peer.enrolled if peer else None,
        expires=peer.expires if peer else None,
        identity=base64.b64encode(peer.identity).decode() if peer else None,
        project_files={
            project: files[project]
            for project in sorted(state.config.projects)
            if project in files and principal.sees(project)
        },
        frames=None if guard is None else list(guard.frames),
        guard=None if guard is None else list(guard.unusual()),
    )
