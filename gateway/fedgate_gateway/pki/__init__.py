"""Who is who on the link: the gateway's own CA, enrolment by one-time token, revocation."""

from fedgate_gateway.pki.authority import Authority, ServerFiles
from fedgate_gateway.pki.enrol import Credentials, enrol, load_or_create_identity
from fedgate_gateway.pki.enrolment import EnrolmentRequest, Enrolments, Invitation, Issued
from fedgate_gateway.pki.names import PeerKind, fingerprint, load_certificate, peer_of
from fedgate_gateway.pki.peers import Peer, Peers

__all__ = [
    "Authority",
    "Credentials",
    "EnrolmentRequest",
    "Enrolments",
    "Invitation",
    "Issued",
    "Peer",
    "PeerKind",
    "Peers",
    "ServerFiles",
    "enrol",
    "fingerprint",
    "load_certificate",
    "load_or_create_identity",
    "peer_of",
]
