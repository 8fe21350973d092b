"""Renewing a peer's certificate long before it expires, without a word to anybody."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from fedgate.errors import FedgateError, InvalidConfig, Unauthenticated, Unavailable
from fedgate_gateway.link import methods
from fedgate_gateway.link.credentials import LinkCredentials, open_channel
from fedgate_gateway.pki import Credentials, load_certificate, peer_of
from fedgate_gateway.pki.private_files import write_private
from fedgate_proto.v1 import link_pb2 as pb

log = logging.getLogger(__name__)
#: Seconds between two looks at the clock: at most this, or a fortieth of what is left.
_LOOK = 3600.0
_SECONDS = 20.0


async def keep_renewed(target: str, folder: Path, *, proxy: str = "") -> None:
    """Until cancelled: the certificate in ``folder`` is replaced by a new one when it is due."""
    while True:
        credentials = LinkCredentials.load(folder)
        if datetime.now(UTC) >= credentials.due():
            try:
                credentials = await renew(target, folder, credentials, proxy=proxy)
            except FedgateError as error:
                days = credentials.left().total_seconds() / 86400
                log.warning(
                    "the certificate of this peer ends in %.1f days and could not be renewed: %s",
                    days, error,
                )  # fmt: skip
        wait = (credentials.due() - datetime.now(UTC)).total_seconds()
        left = credentials.left().total_seconds()
        await asyncio.sleep(max(0.2, min(_LOOK, max(wait, left / 40))))


async def renew(
    target: str, folder: Path, credentials: LinkCredentials, *, proxy: str = ""
) -> LinkCredentials:
    """Ask the gateway for another certificate of the same key, and keep it in ``folder``.

    The key stays, so that one file is replaced and a crash leaves a pair that fits; enrolling again
    changes it. Raises :class:`Unavailable` and :class:`Unauthenticated`.
    """
    channel = open_channel(target, credentials, proxy=proxy)
    call = channel.unary_unary(
        methods.RENEW,
        request_serializer=pb.CertificateRequest.SerializeToString,
        response_deserializer=pb.Certificate.FromString,
    )
    try:
        answer = await call(pb.CertificateRequest(csr=_request(credentials)), timeout=_SECONDS)
    except grpc.aio.AioRpcError as error:
        raise Unavailable(
            "the gateway does not renew the certificate", why=error.details() or error.code().name
        ) from error
    finally:
        await channel.close(None)
    _check(answer.pem, credentials)
    write_private(Credentials.of(folder).certificate, answer.pem)
    renewed = LinkCredentials(credentials.ca, answer.pem, credentials.key)
    log.info("the certificate of this peer was renewed until %s", f"{renewed.term()[1]:%Y-%m-%d}")
    return renewed


def _request(credentials: LinkCredentials) -> bytes:
    try:
        key = load_pem_private_key(credentials.key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidConfig("the client key is damaged", why=str(error)) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InvalidConfig("the client key is not ECDSA P-256")
    subject = load_certificate(credentials.certificate).subject
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _check(pem: bytes, before: LinkCredentials) -> None:
    """Ours, of the same key and name, and from the CA that this peer knows."""
    try:
        ours, old = load_certificate(pem), load_certificate(before.certificate)
        ours.verify_directly_issued_by(load_certificate(before.ca))
        same = (ours.public_key(), peer_of(pem)) == (old.public_key(), peer_of(before.certificate))
    except (FedgateError, InvalidSignature, ValueError, TypeError) as error:
        raise Unauthenticated("the gateway sent no valid certificate", why=str(error)) from error
    if not same or ours.not_valid_after_utc <= old.not_valid_after_utc:
        raise Unauthenticated("the gateway sent a certificate that does not replace ours")
