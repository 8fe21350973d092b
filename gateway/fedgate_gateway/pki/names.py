"""How a certificate says whose it is: one URI ``fedgate:<kind>:<name>`` among its SANs."""

from __future__ import annotations

import enum
import re

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from fedgate.errors import InvalidMessage, Unauthenticated

_URI = re.compile(r"fedgate:(site|enclave):([a-z0-9][a-z0-9-]{0,62})")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class PeerKind(enum.StrEnum):
    SITE = "site"
    ENCLAVE = "enclave"


def check_peer(kind: str, name: str) -> PeerKind:
    """Raise :class:`InvalidMessage` unless this can be the name of a peer."""
    if kind not in set(PeerKind) or not _NAME.fullmatch(name):
        raise InvalidMessage(
            f"{kind[:20]!r} {name[:80]!r} is no peer",
            why="a peer is a site or an enclave, named in lower case, digits and hyphens",
        )
    return PeerKind(kind)


def peer_uri(kind: PeerKind, name: str) -> str:
    return f"fedgate:{kind.value}:{name}"


def load_certificate(pem: bytes) -> x509.Certificate:
    """The one certificate of a PEM text; raises :class:`InvalidMessage`."""
    try:
        certificates = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise InvalidMessage("not a PEM certificate", why=str(error)) from error
    if len(certificates) != 1:
        raise InvalidMessage("one certificate was expected", why=f"{len(certificates)} came")
    return certificates[0]


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate's DER, in hex."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def peer_of(certificate_pem: bytes) -> tuple[PeerKind, str]:
    """Kind and name of the peer a client certificate belongs to.

    It does not check who issued it: TLS did that. Raises :class:`Unauthenticated` when it is not
    exactly what our CA issues to peers, a server's certificate for example.
    """
    try:
        certificate = load_certificate(certificate_pem)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (InvalidMessage, x509.ExtensionNotFound, ValueError) as error:
        raise Unauthenticated("not the certificate of a peer", why=str(error)) from error
    matches = [_URI.fullmatch(uri) for uri in uris]
    if (
        len(names) != 1
        or len(matches) != 1
        or matches[0] is None
        or list(usage) != [ExtendedKeyUsageOID.CLIENT_AUTH]
    ):
        raise Unauthenticated(
            "not the certificate of a peer",
            why="it must be for clients, and name one site or enclave and nothing else",
        )
    return PeerKind(matches[0][1]), matches[0][2]
