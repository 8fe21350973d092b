"""What a site believes, whatever the evidence or a plugin says."""

from __future__ import annotations

import os
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedgate import plugins
from fedgate.errors import EvidenceRejected, InvalidMessage, PluginUnavailable
from fedgate_gateway.attestation import (
    MAX_EVIDENCE_BYTES,
    Claims,
    Evidence,
    ReferenceValues,
    Verifier,
    appraise,
    load_attester,
)

BOUND = bytes(range(64))


def evidence() -> Evidence:
    return load_attester("simulated").attest(BOUND)


@pytest.mark.parametrize("allowed", [(), ("tdx",), ("tdx", "sev_snp", "nitro"), ("simulate",)])
def test_simulated_evidence_counts_only_where_it_is_named(allowed: tuple[str, ...]):
    with pytest.raises(EvidenceRejected, match="not accepted here"):
        appraise(evidence(), allowed_kinds=allowed, report_data=BOUND)
    assert appraise(evidence(), allowed_kinds=(*allowed, "simulated"), report_data=BOUND)


def test_a_kind_that_is_not_allowed_is_not_even_loaded(monkeypatch):
    shown = evidence()
    monkeypatch.setattr(plugins, "load", lambda *args, **kwargs: pytest.fail("loaded a plugin"))
    with pytest.raises(EvidenceRejected):
        appraise(shown, allowed_kinds=("tdx",), report_data=BOUND)


def test_renaming_simulated_evidence_does_not_make_it_another_kind():
    for kind in ("tdx", "sev_snp"):
        with pytest.raises(EvidenceRejected):
            appraise(
                Evidence(kind, evidence().data),
                allowed_kinds=("simulated", kind),
                report_data=BOUND,
            )


def test_an_unknown_kind_is_rejected_although_it_is_named():
    with pytest.raises(EvidenceRejected, match="no verifier"):
        appraise(Evidence("made_up", b""), allowed_kinds=("made_up",), report_data=BOUND)


def test_oversized_evidence_is_rejected_before_it_is_parsed():
    huge = Evidence("simulated", bytes(MAX_EVIDENCE_BYTES + 1))
    with pytest.raises(EvidenceRejected, match="too large"):
        appraise(huge, allowed_kinds=("simulated",), report_data=BOUND)
    with pytest.raises(InvalidMessage):
        huge.encode()
    claimed = b"FGEV\x01" + (9).to_bytes(1, "big") + (2**32 - 1).to_bytes(4, "big") + b"simulated"
    with pytest.raises(EvidenceRejected, match="too large"):
        Evidence.decode(claimed)


@pytest.mark.parametrize("size", [0, 32, 63, 65])
def test_a_site_without_64_bytes_to_compare_with_believes_nothing(size: int):
    with pytest.raises(EvidenceRejected):
        appraise(evidence(), allowed_kinds=("simulated",), report_data=bytes(size))


def test_evidence_survives_its_encoding():
    assert Evidence.decode(evidence().encode()).kind == "simulated"
    assert Evidence.decode(Evidence("tdx", b"").encode()) == Evidence("tdx", b"")


def test_damaged_encodings_are_rejected():
    good = evidence().encode()
    for cut in range(len(good)):
        with pytest.raises(EvidenceRejected):
            Evidence.decode(good[:cut])
    with pytest.raises(EvidenceRejected):
        Evidence.decode(good + b"\0")
    with pytest.raises(EvidenceRejected, match="no name"):
        Evidence.decode(good.replace(b"simulated", b"Simulated", 1))
    for kind in ("", "A", "a b", "a" * 33, "a\n", "ä"):
        with pytest.raises(InvalidMessage):
            Evidence(kind, b"").encode()


@given(st.binary(max_size=200))
def test_noise_raises_only_our_own_error(noise: bytes):
    for encoded in (noise, b"FGEV\x01" + noise):
        try:
            decoded = Evidence.decode(encoded)
        except EvidenceRejected:
            continue
        assert decoded.encode() == encoded
        with pytest.raises(EvidenceRejected):
            appraise(decoded, allowed_kinds=("simulated",), report_data=BOUND)


class Panic(BaseException):
    """As a panic of a native parser arrives in Python."""


class Faulty(Verifier):
    """A verifier as somebody else might have written it."""

    kind = "faulty"

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def verify(
        self, evidence: Evidence, *, report_data: bytes, now: datetime, reference: ReferenceValues
    ) -> Claims:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer  # type: ignore[return-value]


@pytest.mark.parametrize(
    "answer",
    [
        IndexError("out of range"),
        Panic("panicked"),
        RecursionError(),
        None,
        True,
        Claims("tdx", True, "00", BOUND),
        Claims("faulty", True, "00", bytes(64)),
        Claims("faulty", True, "00", b""),
    ],
    ids=repr,
)
def test_a_faulty_verifier_opens_nothing(monkeypatch, answer: object):
    monkeypatch.setattr(plugins, "load", lambda *args, **kwargs: Faulty(answer))
    with pytest.raises(EvidenceRejected):
        appraise(Evidence("faulty", b""), allowed_kinds=("faulty",), report_data=BOUND)


def test_a_sound_verifier_of_another_kind_is_believed(monkeypatch):
    claims = Claims("faulty", True, "00", BOUND)
    monkeypatch.setattr(plugins, "load", lambda *args, **kwargs: Faulty(claims))
    assert appraise(Evidence("faulty", b""), allowed_kinds=("faulty",), report_data=BOUND) is claims


def test_a_simulated_verifier_that_claims_hardware_is_not_believed(monkeypatch):
    class Liar(Faulty):
        kind = "simulated"

    liar = Liar(Claims("simulated", True, "00", BOUND))
    monkeypatch.setattr(plugins, "load", lambda *args, **kwargs: liar)
    with pytest.raises(EvidenceRejected, match="cannot claim hardware"):
        appraise(Evidence("simulated", b""), allowed_kinds=("simulated",), report_data=BOUND)


def test_a_plugin_that_is_no_verifier_or_of_another_kind_is_refused(monkeypatch):
    for plugin in (object(), Faulty(None), load_attester("simulated")):
        monkeypatch.setattr(plugins, "load", lambda *args, found=plugin, **kwargs: found)
        with pytest.raises(EvidenceRejected, match="not a verifier of that kind"):
            appraise(evidence_of("other"), allowed_kinds=("other",), report_data=BOUND)
        monkeypatch.undo()


def evidence_of(kind: str) -> Evidence:
    return Evidence(kind, os.urandom(16))


def test_an_attester_that_is_not_installed_says_so():
    with pytest.raises(PluginUnavailable):
        load_attester("made_up")
