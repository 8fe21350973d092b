"""What a malicious gateway or a stranger can try while a session opens; each attack is made."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedgate.errors import SealBroken
from fedgate_gateway.sealed import (
    EnclaveKey,
    IdentityKey,
    LetterKind,
    SealingPublicKey,
    session_binding,
)
from fedgate_gateway.sealed._binding import bind256
from fedgate_gateway.sealed.keys import SIGNATURE_BYTES


def resigned(scene, site, answer: bytes, *change: bytes) -> bytes:
    """An altered answer as somebody would sign it who stole the enclave's identity key."""
    body = answer[:-SIGNATURE_BYTES]
    assert body.count(change[0]) == 1
    return signed(scene.own, site, body.replace(*change))


def signed(key: IdentityKey, site, body: bytes) -> bytes:
    domain = b"fedgate session answer v1"
    return body + key.sign(domain, bind256(domain, site.hello(), body))


def test_the_harness_of_these_tests_signs_as_the_enclave_does(scene):
    site = scene.site()
    genuine = scene.at_enclave(site.hello()).answer(b"quote", b"terms")
    assert signed(scene.own, site, genuine[:-SIGNATURE_BYTES]) == genuine


def test_a_stock_enclave_with_a_key_of_its_own_gets_nothing(scene):
    """Its evidence is perfect: it is the same software. Only its identity is not the project's."""
    site = scene.site()
    rogue = scene.at_enclave(site.hello(), identity=IdentityKey.generate())
    with pytest.raises(SealBroken, match="not signed by enclave enclave-1"):
        site.read_answer(rogue.answer(rogue.binding(scene.terms), scene.terms))


def test_an_answer_without_a_signature_is_refused(scene):
    site = scene.site()
    body = scene.at_enclave(site.hello()).answer(b"quote", b"terms")[:-SIGNATURE_BYTES]
    for unsigned in (body, body + bytes(SIGNATURE_BYTES)):
        with pytest.raises(SealBroken, match=r"truncated|not signed by"):
            site.read_answer(unsigned)


def test_a_signature_for_another_purpose_does_not_sign_an_answer(scene):
    """The same key signs released boxes, and a site's key its last message."""
    site = scene.site()
    body = scene.at_enclave(site.hello()).answer(b"quote", b"terms")[:-SIGNATURE_BYTES]
    message = bind256(b"fedgate session answer v1", site.hello(), body)
    other = scene.own.sign(b"fedgate box signature v1", message)
    with pytest.raises(SealBroken, match="not signed by"):
        site.read_answer(body + other)


def test_an_answer_to_another_hello_is_refused_even_under_the_same_session(scene):
    """A gateway sends a hello with our session id and a nonce of its choice."""
    site = scene.site()
    other = bytearray(site.hello())
    other[20:52] = bytes(32)
    with pytest.raises(SealBroken, match="not signed by"):
        site.read_answer(scene.at_enclave(bytes(other)).answer(b"quote", b"terms"))


def test_another_enclaves_answer_passed_off_as_ours_is_refused(scene):
    site = scene.site()
    other = scene.at_enclave(site.hello(), enclave="enclave-2", identity=IdentityKey.generate())
    renamed = other.answer(b"quote", b"terms").replace(b"enclave-2", b"enclave-1")
    with pytest.raises(SealBroken, match="not signed by"):
        site.read_answer(renamed)


@pytest.mark.parametrize("what", ["key", "nonce", "evidence", "terms"])
def test_nothing_in_an_answer_can_be_swapped(scene, what):
    site = scene.site()
    genuine = scene.at_enclave(site.hello()).answer(b"EVIDENCE", b"TERMS-01")
    old, new = {
        "key": (scene.key.public_raw, EnclaveKey.generate().public_raw),
        "nonce": (genuine[20:52], bytes(32)),
        "evidence": (b"EVIDENCE", b"evidence"),
        "terms": (b"TERMS-01", b"TERMS-02"),
    }[what]
    assert genuine.count(old) == 1
    with pytest.raises(SealBroken, match="not signed by"):
        site.read_answer(genuine.replace(old, new))


def test_a_key_swapped_by_whoever_stole_the_identity_is_caught_by_the_evidence(scene):
    """The site compares the evidence's report data with ``answer.binding``."""
    site = scene.site()
    enclave = scene.at_enclave(site.hello())
    quoted = enclave.binding(scene.terms)  # what the honest TEE puts into its evidence
    genuine = enclave.answer(quoted, scene.terms)
    mallory = EnclaveKey.generate()
    swapped = resigned(scene, site, genuine, scene.key.public_raw, mallory.public_raw)
    answer = site.read_answer(swapped)
    assert answer.public_key == mallory.public_raw
    assert answer.binding != answer.evidence
    assert site.read_answer(genuine).binding == quoted


def test_a_site_that_did_not_notice_a_swapped_key_still_cannot_be_put_through(scene):
    """Even if appraisal failed open, the enclave sees another transcript than the site signed."""
    site = scene.site()
    enclave = scene.at_enclave(site.hello())
    genuine = enclave.answer(b"quote", scene.terms)
    mallory = EnclaveKey.generate()
    swapped = resigned(scene, site, genuine, scene.key.public_raw, mallory.public_raw)
    message, _ = site.finish(site.read_answer(swapped))
    # Mallory opens the secret and wraps it anew for the real enclave, but cannot sign.
    wrapped, signature = message[20:-64], message[-64:]
    rewrapped = SealingPublicKey(scene.key.public_raw).encrypt(b"s" * 32, b"any")
    assert len(rewrapped) == len(wrapped)
    with pytest.raises(SealBroken, match="signature"):
        enclave.accept(message[:20] + rewrapped + signature)


def test_evidence_made_for_another_nonce_does_not_bind(scene):
    """A gateway replays an old answer: its evidence answers another site's nonce."""
    first = scene.site()
    old = scene.at_enclave(first.hello())
    old_binding = old.binding(scene.terms)
    second = scene.site()
    with pytest.raises(SealBroken, match="another session"):
        second.read_answer(old.answer(old_binding, scene.terms))
    assert session_binding(second.nonce, scene.key.public_raw, scene.terms) != old_binding


def test_a_replayed_handshake_does_not_bring_the_old_session_back(scene):
    """Hello and finish of an old session, and its letters, played to a fresh handshake."""
    site = scene.site()
    enclave = scene.at_enclave(site.hello())
    message, keys = site.finish(site.read_answer(enclave.answer(b"q", b"t")))
    old = keys.at_site()[0].seal(LetterKind.RESULT, b"old update")
    enclave.accept(message)
    again = scene.at_enclave(site.hello())
    again.answer(b"q", b"t")
    with pytest.raises(SealBroken, match="signature"):
        again.accept(message)
    fresh = scene.session()[1].at_enclave()[1]
    with pytest.raises(SealBroken, match="another session"):
        fresh.open(old)


def test_a_handshake_message_does_not_fit_another_session(scene):
    one, two = scene.site(), scene.site()
    at_one, at_two = scene.at_enclave(one.hello()), scene.at_enclave(two.hello())
    message, _ = one.finish(one.read_answer(at_one.answer(b"q", b"t")))
    at_two.answer(b"q", b"t")
    with pytest.raises(SealBroken, match="another session"):
        at_two.accept(message)
    at_three = scene.at_enclave(two.hello())
    at_three.answer(b"q", b"t")
    relabelled = message[:4] + two.session + message[20:]
    with pytest.raises(SealBroken, match="signature"):
        at_three.accept(relabelled)


def test_a_site_that_is_not_on_the_roster_is_refused_at_its_hello(scene):
    stranger = scene.site("site-9", identity=IdentityKey.generate())
    with pytest.raises(SealBroken, match="not on the roster"):
        scene.at_enclave(stranger.hello())


def test_a_fake_site_under_a_members_name_is_refused(scene):
    """The gateway plays site-1 itself, with a key of its own."""
    fake = scene.site("site-1", identity=IdentityKey.generate())
    enclave = scene.at_enclave(fake.hello())
    message, _ = fake.finish(fake.read_answer(enclave.answer(b"q", b"t")))
    with pytest.raises(SealBroken, match="expected identity key"):
        enclave.accept(message)


def test_a_member_cannot_speak_as_another_member(scene):
    fake = scene.site("site-1", identity=scene.identities["site-2"])
    enclave = scene.at_enclave(fake.hello())
    message, _ = fake.finish(fake.read_answer(enclave.answer(b"q", b"t")))
    with pytest.raises(SealBroken, match="signature"):
        enclave.accept(message)


def test_a_stolen_signature_with_anothers_secret_is_refused(scene):
    """The signature covers the wrapped secret, so the two cannot be mixed."""
    site = scene.site()
    enclave = scene.at_enclave(site.hello())
    genuine = enclave.answer(b"q", b"t")
    message, _ = site.finish(site.read_answer(genuine))
    wrapped = scene.key.public.encrypt(b"s" * 32, b"whatever")
    with pytest.raises(SealBroken, match="signature"):
        enclave.accept(message[:20] + wrapped + message[-64:])


@pytest.mark.parametrize("what", ["project_digest", "bundle_digest"])
def test_an_enclave_with_another_project_file_or_bundle_cannot_accept_the_site(scene, what):
    site = scene.site()
    enclave = scene.at_enclave(site.hello(), **{what: b"x" * 32})
    message, _ = site.finish(site.read_answer(enclave.answer(b"q", b"t")))
    with pytest.raises(SealBroken):
        enclave.accept(message)


def test_a_hello_for_another_job_is_refused(scene):
    with pytest.raises(SealBroken, match="another job"):
        scene.at_enclave(scene.site(job="job-2").hello())


def test_another_enclave_cannot_answer(scene):
    site = scene.site()
    other = scene.at_enclave(site.hello(), enclave="enclave-2")
    with pytest.raises(SealBroken, match="another enclave"):
        site.read_answer(other.answer(b"q", b"t"))


def test_an_enclave_key_that_cannot_be_sealed_to_is_refused_before_appraisal(scene):
    site = scene.site()
    enclave = scene.at_enclave(site.hello())
    genuine = enclave.answer(b"q", b"t")
    with pytest.raises(SealBroken, match="not a sealing key"):
        site.read_answer(resigned(scene, site, genuine, scene.key.public_raw, b"\xff" * 1216))


def _exchange(scene):
    site = scene.site()
    enclave = scene.at_enclave(site.hello())
    answer = enclave.answer(b"quote", b"terms")
    return site, enclave, answer


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_flipped_bit_in_any_message_ends_the_handshake(scene, data):
    """Whatever is flipped, no session comes out in which both sides believe."""
    which = data.draw(st.sampled_from(["hello", "answer", "finish"]))
    with pytest.raises(SealBroken):
        _handshake(scene, lambda name, wire: _flip(wire, data) if name == which else wire)


def _handshake(scene, relay) -> None:
    """A whole handshake in which ``relay`` may change each message."""
    site = scene.site()
    enclave = scene.at_enclave(relay("hello", site.hello()))
    answer = relay("answer", enclave.answer(b"quote", b"terms"))
    message, _ = site.finish(site.read_answer(answer))
    enclave.accept(relay("finish", message))


def test_the_harness_of_the_next_test_completes_when_nothing_is_changed(scene):
    _handshake(scene, lambda name, wire: wire)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_truncated_or_extended_message_ends_the_handshake(scene, data):
    which = data.draw(st.sampled_from(["hello", "answer", "finish"]))
    site, enclave, answer = _exchange(scene)
    message, _ = site.finish(site.read_answer(answer))
    wire = {"hello": site.hello(), "answer": answer, "finish": message}[which]
    bad = data.draw(
        st.one_of(
            st.integers(0, len(wire) - 1).map(lambda n: wire[:n]),
            st.binary(min_size=1, max_size=40).map(lambda more: wire + more),
        )
    )
    with pytest.raises(SealBroken):
        {
            "hello": scene.at_enclave,
            "answer": site.read_answer,
            "finish": enclave.accept,
        }[which](bad)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    junk=st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=200).map(lambda b: b"FGH\1" + b),
        st.binary(max_size=200).map(lambda b: b"FGA\1" + b),
    )
)
def test_junk_never_raises_anything_but_our_own_error(scene, junk):
    site, enclave, _ = _exchange(scene)
    for parse in (scene.at_enclave, site.read_answer, enclave.accept):
        with pytest.raises(SealBroken):
            parse(junk)


def _flip(wire: bytes, data: st.DataObject) -> bytes:
    bit = data.draw(st.integers(0, len(wire) * 8 - 1))
    damaged = bytearray(wire)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)
