"""Attestation: evidence, and how a site appraises it.

What evidence is bound to is computed by :func:`fedgate_gateway.sealed.session_binding`.
"""

from fedgate_gateway.attestation.appraisal import appraise, load_attester
from fedgate_gateway.attestation.contract import (
    MAX_EVIDENCE_BYTES,
    REPORT_DATA_BYTES,
    Attester,
    Claims,
    Evidence,
    ReferenceValues,
    Verifier,
)
from fedgate_gateway.attestation.digest import digest_bytes

__all__ = [
    "MAX_EVIDENCE_BYTES",
    "REPORT_DATA_BYTES",
    "Attester",
    "Claims",
    "Evidence",
    "ReferenceValues",
    "Verifier",
    "appraise",
    "digest_bytes",
    "load_attester",
]
