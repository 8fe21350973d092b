"""Everything the gateway program holds, opened from its configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client import CollectorRegistry

from fedgate_gateway.audit.log import AuditLog
from fedgate_gateway.audit.signer import LogSigner
from fedgate_gateway.config import GatewayConfig
from fedgate_gateway.control.api_shares import ApiShares
from fedgate_gateway.control.availability import SiteOffer
from fedgate_gateway.control.guard_needs import SiteGuard
from fedgate_gateway.control.jobs import JobService
from fedgate_gateway.control.submission import SubmitPolicy
from fedgate_gateway.control.submit_policy import project_policies
from fedgate_gateway.control.tokens import Tokens
from fedgate_gateway.inspection import Inspector, Inspects
from fedgate_gateway.open_calls import OpenCalls
from fedgate_gateway.own_keys import REQUEST_KEY
from fedgate_gateway.pki import Authority, PeerKind
from fedgate_gateway.pki.enrolment import Enrolments, open_authority
from fedgate_gateway.pki.peers import Peers
from fedgate_gateway.pki.private_files import private_folder
from fedgate_gateway.pki.signing_keys import load_or_create_signing_key
from fedgate_gateway.store import Database, Objects

#: Is this peer linked right now? The relay knows.
Presence = Callable[[PeerKind, str], bool]


def nobody_linked(_kind: PeerKind, _name: str) -> bool:
    """The presence of peers before the relay runs."""
    return False


def nobody_says(_site: str) -> None:
    """What sites allow, before the relay runs."""


ADMIN_TOKEN_FILE = "admin-token"  # noqa: S105 (a file's name)


@dataclass
class GatewayState:
    """The gateway's parts. ``presence`` and what sites say is set by the relay once it runs."""

    config: GatewayConfig
    database: Database
    objects: Objects
    authority: Authority
    audit: AuditLog
    policy: SubmitPolicy
    tokens: Tokens
    peers: Peers
    enrolments: Enrolments
    jobs: JobService
    #: What is open for peers and tokens, and what a token may have of the API.
    calls: OpenCalls
    shares: ApiShares
    #: Signs requests of doors inside this gateway; a project may list its public part.
    request_key: Ed25519PrivateKey
    presence: Presence = nobody_linked
    site_guard: SiteGuard = nobody_says
    site_offer: SiteOffer = nobody_says
    project_files: Callable[[PeerKind, str], Mapping[str, str]] = lambda _kind, _name: {}
    runs_framework: Callable[[str], bool] = lambda _framework: False
    #: Ends with the state; one that came from outside does not.
    own_inspector: Inspector | None = None
    #: Whatever is registered here is served at /metrics.
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def close(self) -> None:
        if self.own_inspector is not None:
            self.own_inspector.close()
        self.database.close()


def open_database(config: GatewayConfig) -> Database:
    """The database that a configuration names; raises :class:`InvalidConfig` for a wrong URL."""
    if config.database:
        return Database.at(config.database)
    return Database.in_folder(private_folder(config.data))


def open_gateway_state(config: GatewayConfig, *, inspector: Inspects | None = None) -> GatewayState:
    """Open, migrate and check everything; makes keys, CA and an admin token on first start.

    The admin token is left in ``<data>/admin-token`` (0600). Raises :class:`InvalidConfig` for
    broken policies or open key files, and :class:`LogDamaged` when the audit log was altered.
    ``inspector`` reads bundles; without one the state has its own, for the adapters that the
    configuration allows.
    """
    own = None
    if inspector is None:
        inspector = own = Inspector(config.adapters, config.inspection)
    data = private_folder(config.data)
    policy = project_policies(config.projects)
    database = open_database(config)
    database.migrate()
    objects = (
        Objects.open(config.objects, proxy=config.objects_proxy, ca=config.objects_ca)
        if config.objects
        else Objects.in_folder(data / "objects")
    )
    audit = AuditLog(database.engine, LogSigner.open(data / "audit.key"))
    peers = Peers(database, audit)
    authority = open_authority(data / "pki", peers, peer_days=config.limits.certificate_days)
    calls = OpenCalls()
    tokens = Tokens(database, audit, calls)
    tokens.bootstrap(data / ADMIN_TOKEN_FILE)
    request_key = load_or_create_signing_key(data / REQUEST_KEY)
    jobs = JobService(
        database,
        objects,
        audit=audit,
        policy=policy,
        projects=config.projects,
        limits=config.limits,
        inspector=inspector,
        site_guard=lambda site: state.site_guard(site),  # noqa: PLW0108 - it is set later
        own_key=request_key.public_key().public_bytes_raw(),
    )
    state = GatewayState(
        config=config,
        database=database,
        objects=objects,
        authority=authority,
        audit=audit,
        policy=policy,
        tokens=tokens,
        peers=peers,
        enrolments=Enrolments(database, authority, peers, audit),
        jobs=jobs,
        calls=calls,
        shares=ApiShares(config.limits),
        request_key=request_key,
        own_inspector=own,
    )
    return state
