"""Enrolling: one token, one peer, once; and every way of cheating carried out."""

from __future__ import annotations

import base64
from contextlib import contextmanager
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from sqlalchemy import update

from fedgate.errors import Conflict, Denied, InvalidMessage, Unauthenticated
from fedgate_gateway.control.principal import Scope
from fedgate_gateway.pki import PeerKind, admitted, fingerprint, load_certificate, peer_of
from fedgate_gateway.pki.enrolment_token import EnrolmentToken
from fedgate_gateway.pki.proof import prove
from fedgate_gateway.store.base import utc_now
from fedgate_gateway.store.database import DatabaseAway
from fedgate_gateway.store.tables import EnrolmentRow


def csr_of(key, name="whatever", extensions=()):
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


@pytest.fixture
def invited(state, newcomer):
    return newcomer(state.enrolments.invite("site", "site-1").token)


def test_an_invited_site_gets_a_certificate_in_its_name(client, admin, state, newcomer):
    made = client.post(
        "/api/v1/enrolments", headers=admin, json={"kind": "site", "name": "site-1"}
    ).json()
    somebody = newcomer(made["token"])
    answer = client.post("/api/v1/enrol", json=somebody.body())
    assert answer.status_code == 201, answer.text
    issued = answer.json()
    certificate = load_certificate(issued["certificate"].encode())
    assert peer_of(issued["certificate"].encode()) == (PeerKind.SITE, "site-1")
    assert certificate.public_key() == somebody.key.public_key()
    certificate.verify_directly_issued_by(load_certificate(issued["ca"].encode()))
    peer = state.peers.admit(issued["certificate"].encode())
    assert peer.identity == somebody.identity.public_key().public_bytes_raw()
    assert not state.peers.is_revoked("site", "site-1", fingerprint(certificate))
    shown = client.get("/api/v1/sites", headers=admin).json()["peers"][0]
    assert base64.b64decode(shown["identity"]) == peer.identity
    kinds = [found.entry.kind for found in state.audit.entries(limit=1000)]
    assert kinds[-2:] == ["peer.invited", "peer.enrolled"]


def test_presence_is_what_the_relay_says(client, admin, state, invited):
    state.enrolments.redeem(invited.request())
    state.presence = lambda kind, name: (kind, name) == (PeerKind.SITE, "site-1")
    shown = client.get("/api/v1/sites", headers=admin).json()["peers"]
    assert [site["name"] for site in shown if site["online"]] == ["site-1"]


def test_a_token_works_once(state, client, invited, newcomer):
    assert client.post("/api/v1/enrol", json=invited.body()).status_code == 201
    thief = newcomer(invited.token)
    answer = client.post("/api/v1/enrol", json=thief.body())
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert "used before" in answer.json()["what"]
    assert len(state.peers.list()) == 1


def test_a_token_works_once_even_at_the_same_time(state, invited, newcomer):
    from concurrent.futures import ThreadPoolExecutor

    def attempt(somebody):
        try:
            return state.enrolments.redeem(somebody.request())
        except Unauthenticated:
            return None

    with ThreadPoolExecutor(6) as pool:
        issued = list(pool.map(attempt, [newcomer(invited.token) for _ in range(6)]))
    assert sum(found is not None for found in issued) == 1


def test_an_expired_token_is_refused(state, invited):
    with state.database.write() as session:
        session.execute(update(EnrolmentRow).values(expires=utc_now() - timedelta(seconds=1)))
    with pytest.raises(Unauthenticated, match="expired"):
        state.enrolments.redeem(invited.request())


@pytest.mark.parametrize(("kind", "name"), [("enclave", "site-1"), ("site", "site-2")])
def test_a_token_is_for_one_kind_and_one_name(state, invited, kind, name, newcomer):
    other = newcomer(invited.token, kind, name)
    with pytest.raises(Denied, match="not for"):
        state.enrolments.redeem(other.request())
    state.enrolments.redeem(invited.request())  # the refusal did not use it up


def test_an_invented_token_is_refused(state, newcomer):
    made_up = EnrolmentToken.new(state.authority.fingerprint).text
    with pytest.raises(Unauthenticated, match="not known"):
        state.enrolments.redeem(newcomer(made_up).request())


def test_an_api_token_is_no_enrolment_token(state, token, newcomer):
    text = token(Scope.ADMIN)["Authorization"].removeprefix("Bearer ")
    with pytest.raises(InvalidMessage, match="not an enrolment token"):
        state.enrolments.redeem(newcomer(text).request())


def forged_csr(newcomer):
    """A request for the newcomer's key that somebody else signed."""
    der = bytearray(x509.load_pem_x509_csr(newcomer.csr).public_bytes(Encoding.DER))
    der[-1] ^= 1
    pem = base64.encodebytes(bytes(der)).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{pem}-----END CERTIFICATE REQUEST-----\n".encode()


def rsa_csr(newcomer):
    return csr_of(rsa.generate_private_key(65537, 2048))


def other_curve(newcomer):
    return csr_of(ec.generate_private_key(ec.SECP384R1()))


@pytest.mark.parametrize("forge", [forged_csr, rsa_csr, other_curve, lambda n: b"not PEM"])
def test_a_forged_certificate_request_is_refused(state, invited, forge):
    invited.csr = forge(invited)
    with pytest.raises(InvalidMessage, match="request"):
        state.enrolments.redeem(invited.request())
    assert state.peers.list() == []


def stolen_identity(invited):
    """Somebody else's public key, with a proof by our own."""
    return {"identity": Ed25519PrivateKey.generate().public_key().public_bytes_raw()}


def swapped_csr(invited):
    """A proof that was made for another TLS key: a man in the middle put his own."""
    return {"csr_pem": csr_of(ec.generate_private_key(ec.SECP256R1()))}


def old_proof(invited):
    """A proof that was made for another token."""
    other = EnrolmentToken.new("0" * 64).text
    return {"proof": prove(invited.identity, other, "site", "site-1", invited.csr)}


def other_name(invited):
    return {"proof": prove(invited.identity, invited.token, "site", "site-2", invited.csr)}


def no_proof(invited):
    return {"proof": b"\0" * 64}


def short_proof(invited):
    return {"proof": b"", "identity": b""}


@pytest.mark.parametrize(
    "forge", [stolen_identity, swapped_csr, old_proof, other_name, no_proof, short_proof]
)
def test_a_forged_proof_of_possession_is_refused(state, invited, forge):
    with pytest.raises(InvalidMessage, match="proof"):
        state.enrolments.redeem(invited.request(**forge(invited)))
    assert state.peers.list() == []
    state.enrolments.redeem(invited.request())


def test_what_a_certificate_request_asks_for_is_ignored(state, invited):
    wish = x509.SubjectAlternativeName(
        [x509.UniformResourceIdentifier("fedgate:enclave:tee-1"), x509.DNSName("localhost")]
    )
    ca = x509.BasicConstraints(ca=True, path_length=None)
    invited.csr = csr_of(invited.key, "enclave tee-1", [wish, ca])
    issued = state.enrolments.redeem(invited.request())
    assert peer_of(issued.certificate_pem) == (PeerKind.SITE, "site-1")
    constraints = load_certificate(issued.certificate_pem).extensions.get_extension_for_class(
        x509.BasicConstraints
    )
    assert not constraints.value.ca


def test_enrolling_again_revokes_the_certificate_before(state, invited, newcomer):
    first = state.enrolments.redeem(invited.request())
    again = newcomer(state.enrolments.invite("site", "site-1").token)
    second = state.enrolments.redeem(again.request())
    assert state.peers.is_revoked("site", "site-1", first.peer.fingerprint)
    assert not state.peers.is_revoked("site", "site-1", second.peer.fingerprint)
    with pytest.raises(Unauthenticated, match="no longer counts"):
        state.peers.admit(first.certificate_pem)
    assert state.peers.admit(second.certificate_pem) == second.peer


def test_a_revoked_peer_is_out_until_it_enrols_again(client, admin, state, invited):
    issued = state.enrolments.redeem(invited.request())
    assert client.post("/api/v1/peers/site/site-1/revoke", headers=admin).status_code == 204
    assert state.peers.is_revoked("site", "site-1", issued.peer.fingerprint)
    with pytest.raises(Unauthenticated):
        state.peers.admit(issued.certificate_pem)
    assert state.audit.entries(limit=1000)[-1].entry.kind == "peer.revoked"


def test_unknown_certificates_count_as_revoked(state, invited):
    issued = state.enrolments.redeem(invited.request())
    assert state.peers.is_revoked("site", "site-1", "0" * 64)
    assert state.peers.is_revoked("site", "site-2", issued.peer.fingerprint)
    assert state.peers.is_revoked("enclave", "site-1", issued.peer.fingerprint)


def test_no_enrolment_token_is_stored_in_clear(state, data, invited):
    for file in data.rglob("*"):
        if file.is_file():
            assert invited.token.encode() not in file.read_bytes()


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "gateway", "name": "a"}, {"kind": "site", "name": "Site 1"},
        {"kind": "site", "name": "a", "seconds": 10**9}, {"kind": "site"},
        {"kind": "site", "name": "a", "more": 1},
    ],
)  # fmt: skip
def test_invitations_that_make_no_sense_are_refused(client, admin, body):
    assert client.post("/api/v1/enrolments", headers=admin, json=body).status_code == 422


def test_the_link_hears_when_a_certificate_stops_to_count(state, invited):
    heard = []
    state.peers.on_revoked(lambda kind, name: heard.append((kind, name)))
    state.enrolments.redeem(invited.request())
    assert heard == [(PeerKind.SITE, "site-1")]
    state.peers.revoke(PeerKind.SITE, "site-1", actor="root")
    assert heard == [(PeerKind.SITE, "site-1")] * 2


@pytest.fixture
def outage(state, monkeypatch):
    """``outage()``: the database is away from now on."""

    @contextmanager
    def away():
        raise DatabaseAway("the database does not answer")
        yield

    def begin():
        for what in ("read", "write"):
            monkeypatch.setattr(state.database, what, away)

    return begin


def test_what_carries_a_job_goes_on_without_the_database_and_nothing_else_does(
    state, invited, outage
):
    """Else an outage of some seconds would cost the updates that are on their way."""
    certificate = state.enrolments.redeem(invited.request()).certificate_pem
    peer = state.peers.admit(certificate)
    outage()
    assert state.peers.admit_again(certificate) == peer
    with pytest.raises(DatabaseAway):
        state.peers.admit(certificate)


def test_without_the_database_nobody_is_admitted_whom_it_did_not_confirm_lately(
    state, invited, newcomer, outage, monkeypatch
):
    certificate = state.enrolments.redeem(invited.request()).certificate_pem
    peer = state.peers.admit(certificate)
    state.peers.revoke(PeerKind.SITE, "site-1", actor="admin")
    again = newcomer(state.enrolments.invite("site", "site-1").token)
    unseen = state.enrolments.redeem(again.request()).certificate_pem
    outage()
    for stranger in (certificate, unseen):
        with pytest.raises(DatabaseAway):
            state.peers.admit_again(stranger)
    for seconds, known in ((-1e4, None), (0.0, peer)):
        state.peers._admitted.remember(peer, state.peers._admitted.moment)
        monkeypatch.setattr(admitted, "_COUNTS_SECONDS", 600 + seconds)
        assert state.peers._admitted.find(peer.fingerprint) == known


def test_a_revocation_of_which_nobody_knows_whether_it_was_written_counts(state, invited, outage):
    certificate = state.enrolments.redeem(invited.request()).certificate_pem
    moment = state.peers._admitted.moment
    peer = state.peers.admit(certificate)
    outage()
    with pytest.raises(DatabaseAway):
        state.peers.revoke(PeerKind.SITE, "site-1", actor="admin")
    state.peers._admitted.remember(peer, moment)  # read before, and told after
    with pytest.raises(DatabaseAway):
        state.peers.admit_again(certificate)


# -- renewal --------------------------------------------------------------------------------------


def renewing(state, newcomer):
    peer = newcomer(state.enrolments.invite("site", "site-1").token)
    first = state.enrolments.redeem(peer.request()).certificate_pem

    def renew(certificate=first):
        issue = state.authority.issue
        made = state.peers.renew(certificate, lambda kind, name: issue(peer.csr, kind, name))
        return made.public_bytes(Encoding.PEM)

    return first, renew


def test_a_renewed_certificate_counts_beside_the_old_one(state, newcomer):
    first, renew = renewing(state, newcomer)
    second = renew()
    before, after = state.peers.admit(first), state.peers.admit(second)
    assert (before.name, before.identity) == (after.name, after.identity)
    assert [peer.fingerprint for peer in state.peers.list()] == [after.fingerprint]
    (told,) = [e.entry for e in state.audit.entries() if e.entry.kind == "peer.renewed"]
    assert told.data["certificate"] == after.fingerprint


def test_revoking_a_peer_ends_all_its_certificates(state, newcomer):
    first, renew = renewing(state, newcomer)
    second = renew()
    state.peers.revoke(PeerKind.SITE, "site-1", actor="admin")
    for certificate in (first, second):
        with pytest.raises(Unauthenticated):
            state.peers.admit(certificate)
        with pytest.raises(Unauthenticated):
            renew(certificate)


def test_a_peer_cannot_collect_certificates(state, newcomer):
    _, renew = renewing(state, newcomer)
    renew()
    renew()
    with pytest.raises(Conflict, match="certificates that count"):
        renew()
