"""Appraising evidence: choose the verifier that the site allows, and believe it only so far."""

from __future__ import annotations

import hmac
from collections.abc import Collection
from datetime import UTC, datetime

from fedgate import plugins
from fedgate.errors import EvidenceRejected, FedgateError, PluginUnavailable
from fedgate_gateway.attestation.contract import (
    MAX_EVIDENCE_BYTES,
    REPORT_DATA_BYTES,
    Attester,
    Claims,
    Evidence,
    ReferenceValues,
    Verifier,
)

ATTESTERS = "fedgate.attesters"
VERIFIERS = "fedgate.verifiers"
SIMULATED = "simulated"
_ANY = ReferenceValues()


def appraise(
    evidence: Evidence,
    *,
    allowed_kinds: Collection[str],
    report_data: bytes,
    now: datetime | None = None,
    reference: ReferenceValues = _ANY,
) -> Claims:
    """The claims that hold; raises :class:`EvidenceRejected` and nothing else of ours or others'.

    ``allowed_kinds`` is the site's configuration (``evidence``): a kind that is not named is not
    even loaded, so a simulated TEE counts only where somebody wrote its name.
    """
    if len(report_data) != REPORT_DATA_BYTES:
        raise EvidenceRejected(
            "the evidence cannot be appraised", why="no 64 bytes to compare with"
        )
    if evidence.kind not in allowed_kinds:
        raise EvidenceRejected(
            f"evidence of kind {evidence.kind!r:.40} is not accepted here",
            why=f"accepted are: {', '.join(sorted(allowed_kinds)) or 'none'}",
            remedy="name the kind under `evidence` in the site's configuration, if you trust it",
        )
    if len(evidence.data) > MAX_EVIDENCE_BYTES:
        raise EvidenceRejected("the evidence is too large", why=f"{len(evidence.data)} bytes")
    verifier = _verifier(evidence.kind, allowed_kinds)
    try:
        claims = verifier.verify(
            evidence, report_data=report_data, now=now or datetime.now(UTC), reference=reference
        )
    except EvidenceRejected:
        raise
    except (KeyboardInterrupt, SystemExit):
        raise
    except (
        BaseException
    ) as error:  # parsers of hostile bytes raise anything; panics are no Exception
        raise EvidenceRejected(
            f"the {evidence.kind} evidence could not be read", why=repr(error)[:500]
        ) from error
    _believe(claims, evidence, report_data)
    return claims


def load_attester(kind: str) -> Attester:
    """The attester that an enclave's configuration names; raises :class:`PluginUnavailable`."""
    attester = plugins.load(ATTESTERS, kind, allowed=[kind])
    if not isinstance(attester, Attester) or attester.kind != kind:
        raise PluginUnavailable(f"the plugin {kind!r} is not an attester of that kind")
    return attester


def _verifier(kind: str, allowed: Collection[str]) -> Verifier:
    try:
        verifier = plugins.load(VERIFIERS, kind, allowed=allowed)
    except FedgateError as error:
        raise EvidenceRejected(
            f"there is no verifier for {kind!r} evidence", why=str(error)
        ) from error
    except Exception as error:  # a plugin's constructor
        raise EvidenceRejected(f"the verifier of {kind!r} fails", why=repr(error)[:500]) from error
    if not isinstance(verifier, Verifier) or verifier.kind != kind:
        raise EvidenceRejected(f"the plugin {kind!r} is not a verifier of that kind")
    return verifier


def _believe(claims: object, evidence: Evidence, report_data: bytes) -> None:
    """What must hold whatever the plugin said: a verifier that forgets a check opens nothing."""
    if not isinstance(claims, Claims) or claims.kind != evidence.kind:
        raise EvidenceRejected("the verifier answered for another kind of evidence")
    if not hmac.compare_digest(claims.report_data, report_data):
        raise EvidenceRejected("the evidence is bound to another nonce, key or job")
    if claims.kind == SIMULATED and claims.hardware:
        raise EvidenceRejected("simulated evidence cannot claim hardware")
