from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedgate.errors import EvidenceRejected, InvalidMessage
from fedgate_gateway.attestation import (
    Claims,
    Evidence,
    ReferenceValues,
    appraise,
    simulated,
)
from fedgate_gateway.attestation.simulated import SimulatedAttester
from fedgate_gateway.sealed import session_binding

NONCE, KEY, TERMS = bytes(32), b"k" * 1216, b'{"bundle":"sha256:aa","job":"job-1","roster":"bb"}'
BOUND = session_binding(NONCE, KEY, TERMS)
ATTESTER = SimulatedAttester()


def accept(
    evidence: Evidence, bound: bytes = BOUND, now: datetime | None = None, **reference: frozenset
) -> Claims:
    return appraise(
        evidence,
        allowed_kinds=("simulated",),
        report_data=bound,
        now=now,
        reference=ReferenceValues(**reference),
    )


def test_simulated_evidence_appraises_and_says_what_it_is():
    claims = accept(ATTESTER.attest(BOUND))
    assert claims.kind == "simulated"
    assert claims.hardware is False
    assert claims.report_data == BOUND
    assert "SIMULATED, no TEE" in claims.details["statement"]
    assert b"SIMULATED, no TEE" in ATTESTER.attest(BOUND).data


@pytest.mark.parametrize(
    "other",
    [
        (b"\x01" + bytes(31), KEY, TERMS),
        (NONCE, b"x" * 1216, TERMS),
        (NONCE, KEY, TERMS.replace(b"job-1", b"job-2")),
        (NONCE, KEY, TERMS.replace(b"aa", b"cc")),
        (NONCE, KEY, TERMS.replace(b"bb", b"cc")),  # a site was added or swapped
    ],
)
def test_evidence_for_other_terms_is_rejected(other: tuple[bytes, bytes, bytes]):
    evidence = ATTESTER.attest(session_binding(*other))
    with pytest.raises(EvidenceRejected, match="another nonce, key or job"):
        accept(evidence)


def test_every_flipped_byte_is_rejected():
    good = ATTESTER.attest(BOUND)
    for at in range(len(good.data)):
        flipped = good.data[:at] + bytes([good.data[at] ^ 0x01]) + good.data[at + 1 :]
        with pytest.raises(EvidenceRejected):
            accept(Evidence("simulated", flipped))


def test_truncated_and_extended_evidence_is_rejected():
    good = ATTESTER.attest(BOUND).data
    for data in (b"", good[:-1], good[:64], good + b"\0", good * 2):
        with pytest.raises(EvidenceRejected):
            accept(Evidence("simulated", data))


def test_another_root_signs_in_vain():
    body = ATTESTER.attest(BOUND).data[:-64]
    forged = body + Ed25519PrivateKey.generate().sign(body)
    with pytest.raises(EvidenceRejected, match="root"):
        accept(Evidence("simulated", forged))


def _signed(hardware: int = 0, statement: bytes = simulated.STATEMENT, issued: int = 0) -> Evidence:
    """Whoever reads the source can sign with the development root; the rest must hold anyway."""
    body = struct.pack(
        f">{len(simulated.STATEMENT)}sBQ32s64s", statement, hardware, issued, bytes(32), BOUND
    )
    return Evidence("simulated", body + simulated._ROOT.sign(body))


def test_properly_signed_evidence_cannot_claim_hardware_or_hide_the_statement():
    now = int(datetime.now(UTC).timestamp())
    assert accept(_signed(issued=now)).hardware is False
    for attack in (_signed(1, issued=now), _signed(0, b"GENUINE TEE", now)):
        with pytest.raises(EvidenceRejected, match="does not say that it is simulated"):
            accept(attack)


@pytest.mark.parametrize("off", [timedelta(hours=2), timedelta(minutes=-10), timedelta(days=-900)])
def test_old_and_future_evidence_is_rejected(off: timedelta):
    with pytest.raises(EvidenceRejected, match="seconds ago"):
        accept(ATTESTER.attest(BOUND), now=datetime.now(UTC) + off)


def test_an_impossible_time_is_rejected():
    with pytest.raises(EvidenceRejected, match="impossible"):
        accept(_signed(issued=2**64 - 1))


def test_measurements_are_compared_when_a_site_names_some():
    evidence = ATTESTER.attest(BOUND)
    assert accept(evidence, measurements=frozenset({simulated.MEASUREMENT.hex()}))
    with pytest.raises(EvidenceRejected, match="not a reference value"):
        accept(evidence, measurements=frozenset({"00" * 32}))
    with pytest.raises(EvidenceRejected, match="not a reference value"):
        accept(
            SimulatedAttester(b"m" * 32).attest(BOUND),
            measurements=frozenset({simulated.MEASUREMENT.hex()}),
        )


def test_the_attester_takes_64_bytes_and_nothing_else():
    for size in (0, 63, 65):
        with pytest.raises(InvalidMessage):
            ATTESTER.attest(bytes(size))
