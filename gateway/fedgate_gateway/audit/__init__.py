"""The audit log: an RFC 6962 Merkle tree with signed checkpoints that anybody can verify."""

from fedgate_gateway.audit.entry import Entry
from fedgate_gateway.audit.export import export
from fedgate_gateway.audit.integrity import LogDamaged
from fedgate_gateway.audit.log import AuditLog, LoggedEntry
from fedgate_gateway.audit.note import Checkpoint, VerifierKey
from fedgate_gateway.audit.signer import LogSigner
from fedgate_gateway.audit.verify import Report, verify

__all__ = [
    "AuditLog",
    "Checkpoint",
    "Entry",
    "LogDamaged",
    "LogSigner",
    "LoggedEntry",
    "Report",
    "VerifierKey",
    "export",
    "verify",
]
