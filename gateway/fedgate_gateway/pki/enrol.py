"""A site's or enclave's side of enrolling: from a one-time token to keys and certificates.

The first request trusts nobody: it fetches the CA's certificate and compares it with the pin
inside the token. Everything secret goes over the TLS connection that this certificate then proves.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
)
from cryptography.x509.oid import NameOID

from fedgate.errors import (
    FedgateError,
    InvalidConfig,
    InvalidMessage,
    Unauthenticated,
    Unavailable,
    error_from_dict,
)
from fedgate_gateway.pki.authority import key_pem
from fedgate_gateway.pki.certificates import new_key
from fedgate_gateway.pki.credentials import Credentials, load_or_create_identity
from fedgate_gateway.pki.enrolment_token import EnrolmentToken
from fedgate_gateway.pki.names import check_peer, fingerprint, load_certificate, peer_of
from fedgate_gateway.pki.private_files import private_folder, write_private
from fedgate_gateway.pki.proof import prove

_MAX_ANSWER = 64 * 1024
_SECONDS = 20.0


def enrol(
    api_url: str,
    token: str,
    kind: str,
    name: str,
    data_dir: Path,
    *,
    proxy: str = "",
    api_ca: Path | None = None,
) -> Credentials:
    """Enrol once and leave ca.pem, client.pem, client.key and identity.key (0600) in ``data_dir``.

    ``api_url`` is the gateway's ``https://host:port``; TLS ends there, or at somebody whose
    certificate is by ``api_ca``. Raises :class:`Unauthenticated` when the gateway's CA is not the
    one in the token, or when the gateway refuses the token; :class:`Unavailable` when it cannot be
    reached.
    """
    parsed = EnrolmentToken.parse(token)
    check_peer(kind, name)
    base = api_base(api_url)
    trusted = None if api_ca is None else read_ca(api_ca)
    ca_pem = fetch_ca(base, parsed.pin, proxy=proxy, api_ca=trusted)
    key, identity = new_key(), load_or_create_identity(data_dir)
    csr = _request(key, name)
    body = {
        "token": token,
        "kind": kind,
        "name": name,
        "csr": csr.decode(),
        "identity": base64.b64encode(identity.public_key().public_bytes_raw()).decode(),
        "proof": base64.b64encode(prove(identity, token, kind, name, csr)).decode(),
    }
    with _client(trusting(trusted or ca_pem), proxy) as client:
        answer = _json(_ask(lambda: client.post(f"{base}/enrol", json=body)))
    certificate = str(answer.get("certificate", "")).encode()
    _check_certificate(certificate, ca_pem, key.public_key(), kind, name)
    files = Credentials.of(private_folder(data_dir))
    write_private(files.ca, ca_pem)
    write_private(files.key, key_pem(key))
    write_private(files.certificate, certificate)
    return files


def api_base(api_url: str) -> str:
    """``https://host:port/api/v1``; a bare ``host:port`` is taken as https."""
    url = api_url if "://" in api_url else f"https://{api_url}"
    if not url.startswith("https://"):
        raise InvalidConfig("the gateway's API is reached by https only", why=api_url[:200])
    return url.rstrip("/").removesuffix("/api/v1") + "/api/v1"


def read_ca(file: Path) -> bytes:
    """The certificates in a PEM file; raises :class:`InvalidConfig` where it holds none."""
    try:
        pem = file.read_bytes()
        trusting(pem)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise InvalidConfig(f"cannot read the CA {file}", why=str(error)) from error
    return pem


def fetch_ca(base: str, pin: str, *, proxy: str = "", api_ca: bytes | None = None) -> bytes:
    """The gateway's CA certificate, believed because its hash begins with ``pin``."""
    # Without another CA nothing can be verified before this one is known; nothing secret is sent.
    with _client(False if api_ca is None else trusting(api_ca), proxy) as client:
        pem = _ask(lambda: client.get(f"{base}/ca")).content
    try:
        certificate = load_certificate(pem)
    except InvalidMessage as error:
        raise Unauthenticated("the gateway showed no CA certificate", why=str(error)) from error
    if not hmac.compare_digest(fingerprint(certificate)[: len(pin)], pin):
        raise Unauthenticated(
            "this is not the gateway that made the enrolment token",
            why="its CA certificate has another fingerprint",
            remedy="check the address; somebody may be answering in the gateway's place",
        )
    return certificate.public_bytes(Encoding.PEM)


def _client(verify: ssl.SSLContext | bool, proxy: str) -> httpx.Client:
    return httpx.Client(verify=verify, timeout=_SECONDS, proxy=proxy or None, trust_env=False)


def trusting(ca_pem: bytes) -> ssl.SSLContext:
    """A client context that trusts one CA and nothing else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=ca_pem.decode())
    return context


def _request(key: ec.EllipticCurvePrivateKey, name: str) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _check_certificate(
    pem: bytes, ca_pem: bytes, key: ec.EllipticCurvePublicKey, kind: str, name: str
) -> None:
    try:
        certificate = load_certificate(pem)
        certificate.verify_directly_issued_by(load_certificate(ca_pem))
        mine = certificate.public_key() == key and peer_of(pem) == (kind, name)
    except (FedgateError, InvalidSignature, ValueError, TypeError) as error:
        raise Unauthenticated("the gateway issued no valid certificate", why=str(error)) from error
    if not mine:
        raise Unauthenticated("the gateway issued a certificate for another key or peer")


def _ask(call: Callable[[], httpx.Response]) -> httpx.Response:
    try:
        response = call()
    except httpx.HTTPError as error:
        raise Unavailable(
            "the gateway cannot be reached",
            why=str(error) or type(error).__name__,
            remedy="check its address, and that its certificate is for that host name",
        ) from error
    if len(response.content) > _MAX_ANSWER:
        raise InvalidMessage("the gateway's answer is too large")
    if response.is_error:
        raise error_from_dict(_json(response))
    return response


def _json(response: httpx.Response) -> dict[str, Any]:
    try:
        answer = response.json()
    except (ValueError, binascii.Error) as error:
        raise Unavailable(
            "the gateway gave no proper answer", why=f"HTTP {response.status_code}"
        ) from error
    if not isinstance(answer, dict):
        raise Unavailable("the gateway gave no proper answer", why="not a JSON object")
    return answer
