"""Who is who on the link: the gateway's own CA, enrolment by one-time token, revocation.

The registers that need the database are in ``peers`` and ``enrolment``; sites and enclaves import
this package without loading any of that.
"""

from fedgate_gateway.pki.authority import Authority, ServerFiles
from fedgate_gateway.pki.enrol import Credentials, enrol, load_or_create_identity
from fedgate_gateway.pki.names import PeerKind, fingerprint, load_certificate, peer_of

__all__ = [
    "Authority",
    "Credentials",
    "PeerKind",
    "ServerFiles",
    "enrol",
    "fingerprint",
    "load_certificate",
    "load_or_create_identity",
    "peer_of",
]
