"""Who is who on the link: the gateway's own CA, enrolment by one-time token, revocation.

What needs the database is in ``peers`` and ``enrolment``, what needs an HTTP client in ``enrol``;
sites and enclaves import this package without loading either.
"""

from fedgate_gateway.pki.authority import Authority, ServerFiles
from fedgate_gateway.pki.credentials import Credentials, load_or_create_identity
from fedgate_gateway.pki.names import PeerKind, fingerprint, load_certificate, peer_of

__all__ = [
    "Authority",
    "Credentials",
    "PeerKind",
    "ServerFiles",
    "fingerprint",
    "load_certificate",
    "load_or_create_identity",
    "peer_of",
]
