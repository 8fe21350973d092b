"""Attestation: evidence, what it is bound to, and how a site appraises it."""

from fedgate_gateway.attestation.appraisal import appraise, load_attester
from fedgate_gateway.attestation.binding import NONCE_BYTES, Binding, digest_bytes, report_data
from fedgate_gateway.attestation.contract import (
    MAX_EVIDENCE_BYTES,
    REPORT_DATA_BYTES,
    Attester,
    Claims,
    Evidence,
    ReferenceValues,
    Verifier,
)

__all__ = [
    "MAX_EVIDENCE_BYTES",
    "NONCE_BYTES",
    "REPORT_DATA_BYTES",
    "Attester",
    "Binding",
    "Claims",
    "Evidence",
    "ReferenceValues",
    "Verifier",
    "appraise",
    "digest_bytes",
    "load_attester",
    "report_data",
]
