"""The gateway's own certificate authority."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from fedgate.errors import InvalidConfig, InvalidMessage
from fedgate_gateway.pki import certificates
from fedgate_gateway.pki.names import PeerKind, fingerprint, load_certificate
from fedgate_gateway.pki.private_files import private_folder, read_private, write_private

#: A server certificate that ends sooner than this is replaced when the gateway starts.
_RENEW_BEFORE = timedelta(days=60)
MAX_CSR_BYTES = 16 * 1024


@dataclass(frozen=True)
class ServerFiles:
    """PEM files for a TLS server that also checks its clients' certificates."""

    certificate: Path
    key: Path
    ca: Path


class Authority:
    """Issues certificates to the gateway's servers and to enrolled peers."""

    def __init__(
        self,
        folder: Path,
        key: ec.EllipticCurvePrivateKey,
        certificate: x509.Certificate,
        *,
        peer_days: float = certificates.LEAF_DAYS,
    ) -> None:
        self._folder = folder
        self._key = key
        self._certificate = certificate
        self._peer_days = peer_days

    @classmethod
    def open(cls, folder: Path, *, peer_days: float = certificates.LEAF_DAYS) -> Authority:
        """Load the CA in ``folder``, or make one there on first start; files have mode 0600.

        ``peer_days``: how long the certificates of sites and enclaves count.

        Raises :class:`InvalidConfig` when the files are open to others, damaged, or not a pair.
        """
        key_file, certificate_file = private_folder(folder) / "ca.key", folder / "ca.pem"
        if not key_file.exists() and not certificate_file.exists():
            key = certificates.new_key()
            # The key comes last: a start that died in between is seen as a half pair below.
            write_private(certificate_file, _pem(certificates.make_ca(key)))
            write_private(key_file, key_pem(key))
        key = load_key(key_file)
        try:
            certificate = load_certificate(read_private(certificate_file))
        except InvalidMessage as error:
            raise InvalidConfig(f"{certificate_file} is damaged", why=str(error)) from error
        if certificate.public_key() != key.public_key():
            raise InvalidConfig(
                f"{certificate_file} and {key_file} do not belong together",
                remedy="restore both from one backup; a new CA needs all peers to enrol again",
            )
        return cls(folder, key, certificate, peer_days=peer_days)

    @property
    def certificate_pem(self) -> bytes:
        """The CA's certificate, which everybody may know."""
        return _pem(self._certificate)

    @property
    def fingerprint(self) -> str:
        return fingerprint(self._certificate)

    def server_files(self, hostnames: Sequence[str]) -> ServerFiles:
        """Certificate and key for our servers; replaced when due or when the names changed."""
        files = ServerFiles(
            self._folder / "server.pem", self._folder / "server.key", self._folder / "ca.pem"
        )
        if not self._serves(files, hostnames):
            key = certificates.new_key()
            issued = certificates.issue_server(
                self._certificate, self._key, key.public_key(), hostnames
            )
            write_private(files.key, key_pem(key))
            write_private(files.certificate, _pem(issued))
        return files

    def issue(self, csr_pem: bytes, kind: PeerKind, name: str) -> x509.Certificate:
        """A client certificate for the key of a CSR; whatever else the CSR asks for is ignored.

        Raises :class:`InvalidMessage` when the CSR is not signed by its own P-256 key.
        """
        if len(csr_pem) > MAX_CSR_BYTES:
            raise InvalidMessage("the CSR is too large")
        try:
            request = x509.load_pem_x509_csr(csr_pem)
            key, signed = request.public_key(), request.is_signature_valid
        except (ValueError, UnsupportedAlgorithm) as error:
            raise InvalidMessage("not a PEM certificate request", why=str(error)) from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(
            key.curve, ec.SECP256R1
        ):
            raise InvalidMessage("the certificate request's key is not ECDSA P-256")
        if not signed:
            raise InvalidMessage(
                "the certificate request is not signed by its own key",
                why="whoever sent it does not hold that key, or it was altered",
            )
        return certificates.issue_peer(
            self._certificate, self._key, key, kind=kind, name=name, days=self._peer_days
        )

    def _serves(self, files: ServerFiles, hostnames: Sequence[str]) -> bool:
        if not (files.certificate.exists() and files.key.exists()):
            return False
        present = load_certificate(read_private(files.certificate))
        names = present.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return (
            present.not_valid_after_utc - datetime.now(UTC) > _RENEW_BEFORE
            and set(names) == {certificates.general_name(host) for host in hostnames}
            and present.issuer == self._certificate.subject
            and present.public_key() == load_key(files.key).public_key()
        )


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """A P-256 key from a PEM file of mode 0600; raises :class:`InvalidConfig`."""
    try:
        key = load_pem_private_key(read_private(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidConfig(f"{path} holds no private key", why=str(error)) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InvalidConfig(f"the key in {path} is not ECDSA P-256")
    return key


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)
