"""Routing between the sites of a job and its enclave, by names that mTLS vouches for."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter

from fedgate.errors import FedgateError, InvalidMessage
from fedgate.resources import Amounts
from fedgate_gateway import operator_log
from fedgate_gateway.pki import PeerKind
from fedgate_gateway.relay.connections import Connection, Connections
from fedgate_gateway.sealed import Direction, peek_header
from fedgate_proto.v1 import link_pb2 as pb

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Route:
    """A job under way: which peers may talk to each other."""

    job: str
    enclave: str
    sites: frozenset[str]
    project: str = ""
    #: Site -> what the job asks it for.
    resources: Mapping[str, Amounts] = field(default_factory=dict)


@dataclass
class Traffic:
    """Sealed bytes of one job, as the gateway sees them."""

    to_sites: int = 0
    to_enclave: int = 0
    letters: int = 0


#: A hook on every relayed letter: what is returned is delivered in its place. For tests of attacks
#: by the gateway; none in production.
Tamper = Callable[[pb.Letter], list[pb.Letter]]


@dataclass
class Router:
    connections: Connections
    registry: CollectorRegistry
    tamper: Tamper | None = None
    routes: dict[str, Route] = field(default_factory=dict)
    traffic: dict[str, Traffic] = field(default_factory=lambda: defaultdict(Traffic))

    def __post_init__(self) -> None:
        self._bytes = Counter(
            "fedgate_relayed_bytes",
            "Sealed bytes relayed.",
            ["direction", "carrier"],
            registry=self.registry,
        )

    def route(self, job: str, connection: Connection) -> Route | None:
        """The job's route if this peer is part of it; None for jobs that are over or foreign."""
        route = self.routes.get(job)
        if route is None:
            return None
        if connection.kind is PeerKind.SITE:
            return route if connection.name in route.sites else None
        return route if connection.name == route.enclave else None

    def relay(self, connection: Connection, message: pb.PeerMessage) -> None:
        """Pass one message between a site and its enclave on, unopened."""
        kind = message.WhichOneof("body")
        assert kind is not None
        body = getattr(message, kind)
        route = self.route(body.job, connection)
        if route is None:
            return
        from_site = connection.kind is PeerKind.SITE
        if from_site and body.site != connection.name:
            raise InvalidMessage(f"site {connection.name} spoke in the name of {body.site[:64]}")
        target = (
            self.connections.enclave(route.enclave)
            if from_site
            else self.connections.site(body.site)
            if body.site in route.sites
            else None
        )
        if kind == "letter":
            self._letter(body, from_site, target)
        elif target is not None:
            target.relay(pb.GatewayMessage(**{kind: body}), f"{body.job}/{body.site}")

    def _letter(self, letter: pb.Letter, from_site: bool, target: Connection | None) -> None:
        if letter.data:
            header = peek_header(letter.data)
            towards = Direction.TO_ENCLAVE if from_site else Direction.TO_SITE
            if (header.direction, header.job) != (towards, letter.job):
                raise InvalidMessage("a letter's header contradicts the way it came")
        self.count(letter.job, len(letter.data), from_site=from_site, carrier="letter")
        if target is None:
            return  # its session sends it again when it is back
        for passed in self.tamper(letter) if self.tamper else [letter]:
            target.relay(pb.GatewayMessage(letter=passed), f"{letter.job}/{letter.site}")

    def count(self, job: str, size: int, *, from_site: bool, carrier: str) -> None:
        traffic = self.traffic[job]
        if from_site:
            traffic.to_enclave += size
        else:
            traffic.to_sites += size
        traffic.letters += carrier == "letter"
        self._bytes.labels("to_enclave" if from_site else "to_sites", carrier).inc(size)

    def to_sites(self, route: Route, message: pb.GatewayMessage) -> None:
        for site in route.sites:
            connection = self.connections.site(site)
            if connection is not None:
                connection.send(message)

    def refuse(self, connection: Connection, error: FedgateError) -> None:
        told = {"kind": connection.kind.value, "name": connection.name, "code": error.code}
        operator_log.tell("link.refused", told)
        log.debug("%s %s: %s", connection.kind, connection.name, error)
