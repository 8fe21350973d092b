"""The handshake between honest parties, and what each side refuses by its form."""

import pytest

from fedgate.errors import SealBroken
from fedgate_gateway.sealed import LetterKind, read_hello, session_binding


def test_both_sides_derive_the_same_keys_and_can_talk(scene):
    at_site, at_enclave = scene.session()
    assert at_site == at_enclave
    site_sealer, site_opener = at_site.at_site()
    enclave_sealer, enclave_opener = at_enclave.at_enclave()
    header, body = site_opener.open(enclave_sealer.seal(LetterKind.TASK, b"do this"))
    assert (header.sender, header.receiver, body) == (
        "enclave-1", "site-1", b"do this",
    )  # fmt: skip
    header, body = enclave_opener.open(site_sealer.seal(LetterKind.RESULT, b"done"))
    assert (header.kind, header.job, body) == (LetterKind.RESULT, "job-1", b"done")


def test_every_secret_of_a_session_is_different_and_new_in_each_session(scene):
    first, second = scene.session()[0], scene.session()[0]
    secrets = [k for s in (first, second) for k in (s.to_enclave, s.to_site, s.exporter, s.session)]
    assert len(set(secrets)) == 8
    assert first.export(b"a") != first.export(b"b") != second.export(b"b")


def test_secrets_do_not_appear_in_repr(scene):
    keys = scene.session()[0]
    assert keys.to_site.hex() not in repr(keys)
    assert repr(keys.to_site) not in repr(keys)
    assert "to_site" not in repr(keys)


def test_the_site_learns_what_the_evidence_must_bind(scene):
    site = scene.site()
    enclave = scene.at_enclave(site.hello())
    answer = site.read_answer(enclave.answer(b"quote", b"terms"))
    assert answer.binding == enclave.binding(b"terms")
    assert answer.binding == session_binding(site.nonce, scene.key.public_raw, b"terms")
    assert len(answer.binding) == 64
    assert (answer.evidence, answer.terms, answer.enclave) == (b"quote", b"terms", "enclave-1")


def test_the_binding_depends_on_every_input_and_on_where_one_ends():
    base = session_binding(b"n" * 32, b"k" * 1216, b"terms")
    assert base != session_binding(b"m" * 32, b"k" * 1216, b"terms")
    assert base != session_binding(b"n" * 32, b"l" * 1216, b"terms")
    assert base != session_binding(b"n" * 32, b"k" * 1216, b"term")
    assert base != session_binding(b"n" * 31, b"n" + b"k" * 1216, b"terms")


def test_a_hello_can_be_routed_without_keys(scene):
    site = scene.site("site-2")
    hello = read_hello(site.hello())
    assert (hello.job, hello.site, hello.session) == ("job-1", "site-2", site.session)


def test_the_handshake_secret_is_never_in_clear(scene):
    site = scene.site()
    enclave = scene.at_enclave(site.hello())
    answer = enclave.answer(b"quote", b"terms")
    message, keys = site.finish(site.read_answer(answer))
    for wire in (site.hello(), answer, message):
        for secret in (keys.to_enclave, keys.to_site, keys.exporter):
            assert secret not in wire


def test_each_step_happens_once(scene):
    site = scene.site()
    enclave = scene.at_enclave(site.hello())
    answer = site.read_answer(enclave.answer(b"quote", b"terms"))
    with pytest.raises(SealBroken, match="already answered"):
        enclave.answer(b"quote", b"terms")
    message, _ = site.finish(answer)
    with pytest.raises(SealBroken, match="over"):
        site.finish(answer)
    enclave.accept(message)
    with pytest.raises(SealBroken, match="no handshake waits"):
        enclave.accept(message)


def test_nothing_is_accepted_before_the_answer(scene):
    enclave = scene.at_enclave(scene.site().hello())
    with pytest.raises(SealBroken, match="no handshake waits"):
        enclave.accept(b"FGF\1" + bytes(1248))


@pytest.mark.parametrize(("evidence", "terms"), [((1 << 20) + 1, 1), (1, (1 << 20) + 1)])
def test_evidence_and_terms_are_bounded(scene, evidence, terms):
    enclave = scene.at_enclave(scene.site().hello())
    with pytest.raises(SealBroken, match="too large"):
        enclave.answer(bytes(evidence), bytes(terms))


@pytest.mark.parametrize("name", ["a\nb", "x" * 256, "\x1b[31m", "\ud800"])
def test_a_name_that_could_not_stand_in_a_log_cannot_be_sent(scene, name):
    with pytest.raises(SealBroken):
        scene.site(name).hello()


def test_another_format_version_is_named_as_such(scene):
    hello = bytearray(scene.site().hello())
    hello[3] = 9
    with pytest.raises(SealBroken, match="version 9"):
        scene.at_enclave(bytes(hello))
