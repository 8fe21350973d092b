"""What a peer shows its gateway: the files that enrolment wrote, and that renewal replaces."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc

from fedgate.errors import InvalidConfig, InvalidMessage
from fedgate_gateway.link import methods
from fedgate_gateway.pki import Credentials, load_certificate


@dataclass(frozen=True)
class LinkCredentials:
    """CA, client certificate and its key, as PEM."""

    ca: bytes
    certificate: bytes
    key: bytes

    @classmethod
    def load(cls, folder: Path) -> LinkCredentials:
        """Raises :class:`InvalidConfig` where nobody enrolled."""
        files = Credentials.of(folder)
        try:
            return cls(
                files.ca.read_bytes(), files.certificate.read_bytes(), files.key.read_bytes()
            )
        except OSError as error:
            raise InvalidConfig(
                f"{folder} holds no link credentials",
                why=str(error),
                remedy="enrol first, with a one-time token of the gateway's administrator",
            ) from error

    def term(self) -> tuple[datetime, datetime]:
        """From when until when the certificate counts; raises :class:`InvalidConfig`."""
        try:
            certificate = load_certificate(self.certificate)
        except InvalidMessage as error:
            raise InvalidConfig("the client certificate is damaged", why=str(error)) from error
        return certificate.not_valid_before_utc, certificate.not_valid_after_utc

    def check(self, now: datetime) -> None:
        """Raises :class:`InvalidConfig` once it has expired: no gateway would answer it."""
        _, ends = self.term()
        if ends <= now:
            raise InvalidConfig(
                "the certificate of this peer has expired",
                why=f"on {ends:%Y-%m-%d %H:%M} UTC; it was not renewed in time",
                remedy="ask the gateway's administrator for a token (`fedgate enrolment create`), "
                "and enrol again; identity key and projects stay",
            )

    def due(self) -> datetime:
        """When it should be renewed: after two thirds of its term."""
        begins, ends = self.term()
        return begins + (ends - begins) * 2 / 3

    def left(self) -> timedelta:
        return self.term()[1] - datetime.now(UTC)


def open_channel(target: str, credentials: LinkCredentials, *, proxy: str = "") -> grpc.aio.Channel:
    """A channel that verifies the gateway; a ``proxy`` sees whom it leads to, and ciphertext."""
    return grpc.aio.secure_channel(
        target,
        grpc.ssl_channel_credentials(credentials.ca, credentials.key, credentials.certificate),
        options=[*methods.CLIENT_OPTIONS, *_way(proxy)],
    )


def _way(proxy: str) -> methods.Options:
    """By our own setting: gRPC would ask the environment whether and where there is a proxy."""
    if not proxy:
        return [("grpc.enable_http_proxy", 0)]
    for variable in ("no_grpc_proxy", "no_proxy"):  # which targets it would leave out
        os.environ.pop(variable, None)
    return [("grpc.http_proxy", proxy)]
