"""The three kinds of certificates our CA makes, after RFC 5280. All keys are ECDSA P-256.

gRPC's TLS does not take Ed25519 certificates; P-256 works everywhere.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedgate_gateway.pki.names import PeerKind, peer_uri

CA_DAYS = 3650
LEAF_DAYS = 365
#: Clocks differ; a certificate is valid from a little before its making.
_SKEW = timedelta(minutes=5)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def make_ca(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """A self-signed CA that can issue leaves only."""
    name = _common_name(f"Fedgate gateway CA {secrets.token_hex(4)}")
    builder = _builder(name, name, key.public_key(), CA_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(sign_certificates=True), critical=True)
    builder = builder.add_extension(_own_key_id(key.public_key()), critical=False)
    return builder.sign(key, hashes.SHA256())


def issue_server(
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    public_key: ec.EllipticCurvePublicKey,
    hostnames: Sequence[str],
) -> x509.Certificate:
    """A server certificate for host names and IP addresses."""
    names = x509.SubjectAlternativeName([general_name(host) for host in hostnames])
    usage = ExtendedKeyUsageOID.SERVER_AUTH
    return _issue(ca, ca_key, public_key, common_name="Fedgate gateway", names=names, usage=usage)


def issue_peer(
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    public_key: ec.EllipticCurvePublicKey,
    *,
    kind: PeerKind,
    name: str,
    days: float = LEAF_DAYS,
) -> x509.Certificate:
    """A client certificate that names one site or enclave."""
    uri = peer_uri(kind, name)
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
    usage = ExtendedKeyUsageOID.CLIENT_AUTH
    title = f"{kind} {name}"[:64]
    return _issue(ca, ca_key, public_key, common_name=title, names=names, usage=usage, days=days)


def general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _issue(
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    public_key: ec.EllipticCurvePublicKey,
    *,
    common_name: str,
    names: x509.SubjectAlternativeName,
    usage: x509.ObjectIdentifier,
    days: float = LEAF_DAYS,
) -> x509.Certificate:
    builder = _builder(_common_name(common_name), ca.subject, public_key, days)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    for extension, critical in (
        (names, False),
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_usage(sign_certificates=False), True),
        (x509.ExtendedKeyUsage([usage]), False),
        (issuer, False),
        (_own_key_id(public_key), False),
    ):
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(ca_key, hashes.SHA256())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: float
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + timedelta(days=days))
    )


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _own_key_id(key: ec.EllipticCurvePublicKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key)


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )
