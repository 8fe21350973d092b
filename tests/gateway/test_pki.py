"""The gateway's CA: what it issues, and whose certificate counts as whose."""

from __future__ import annotations

import stat

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from fedgate.errors import InvalidConfig, Unauthenticated
from fedgate_gateway.pki import (
    Authority,
    PeerKind,
    certificates,
    load_certificate,
    load_or_create_identity,
    peer_of,
)
from fedgate_gateway.pki.enrol import api_base
from fedgate_gateway.pki.names import fingerprint


@pytest.fixture
def authority(tmp_path):
    return Authority.open(tmp_path / "pki")


def extension(certificate, kind):
    return certificate.extensions.get_extension_for_class(kind).value


def test_the_ca_is_made_once_and_loaded_afterwards(authority, tmp_path):
    assert Authority.open(tmp_path / "pki").fingerprint == authority.fingerprint


def test_keys_are_readable_by_their_owner_only(authority, tmp_path):
    authority.server_files(["localhost"])
    modes = {f.name: stat.S_IMODE(f.stat().st_mode) for f in (tmp_path / "pki").iterdir()}
    assert modes == dict.fromkeys(["ca.key", "ca.pem", "server.key", "server.pem"], 0o600)
    assert stat.S_IMODE((tmp_path / "pki").stat().st_mode) == 0o700


def test_a_ca_key_that_others_can_read_stops_the_start(authority, tmp_path):
    (tmp_path / "pki/ca.key").chmod(0o644)
    with pytest.raises(InvalidConfig, match="open to others"):
        Authority.open(tmp_path / "pki")


@pytest.mark.parametrize("lost", ["ca.key", "ca.pem"])
def test_half_a_ca_stops_the_start_instead_of_making_a_new_one(authority, tmp_path, lost):
    (tmp_path / "pki" / lost).unlink()
    with pytest.raises(InvalidConfig, match="cannot read"):
        Authority.open(tmp_path / "pki")


def test_a_foreign_certificate_beside_our_key_stops_the_start(authority, tmp_path):
    foreign = Authority.open(tmp_path / "other")
    (tmp_path / "pki/ca.pem").write_bytes(foreign.certificate_pem)
    with pytest.raises(InvalidConfig, match="belong together"):
        Authority.open(tmp_path / "pki")


def test_the_server_certificate_is_for_its_hosts_and_kept_until_they_change(authority):
    hosts = ["localhost", "127.0.0.1", "::1"]
    files = authority.server_files(hosts)
    first = files.certificate.read_bytes()
    names = extension(load_certificate(first), x509.SubjectAlternativeName)
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == hosts[1:]
    assert authority.server_files(hosts).certificate.read_bytes() == first
    assert authority.server_files(["gateway.example"]).certificate.read_bytes() != first


def test_the_ca_can_issue_leaves_only(authority):
    constraints = extension(load_certificate(authority.certificate_pem), x509.BasicConstraints)
    assert (constraints.ca, constraints.path_length) == (True, 0)


def peer_certificate(authority, kind=PeerKind.SITE, name="site-1"):
    key = certificates.new_key()
    return certificates.issue_peer(
        authority._certificate, authority._key, key.public_key(), kind=kind, name=name
    )


def test_a_peers_certificate_names_it_and_is_for_clients_alone(authority):
    certificate = peer_certificate(authority, PeerKind.ENCLAVE, "tee-1")
    assert peer_of(certificate.public_bytes(Encoding.PEM)) == (PeerKind.ENCLAVE, "tee-1")
    usage = extension(certificate, x509.ExtendedKeyUsage)
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert life.days <= 366
    assert fingerprint(certificate) != authority.fingerprint


def test_the_servers_and_the_cas_own_certificates_are_no_peers(authority):
    server = authority.server_files(["localhost"]).certificate.read_bytes()
    for pem in (server, authority.certificate_pem, b"nonsense", server + server):
        with pytest.raises(Unauthenticated):
            peer_of(pem)


@pytest.mark.parametrize(
    "names",
    [
        [x509.UniformResourceIdentifier("fedgate:gateway:a")],
        [x509.UniformResourceIdentifier("fedgate:site:A")],
        [x509.UniformResourceIdentifier("fedgate:site:a/../b")],
        [x509.UniformResourceIdentifier("https://fedgate:site:a")],
        [x509.UniformResourceIdentifier("fedgate:site:a")] * 2,
        [x509.UniformResourceIdentifier("fedgate:site:a"), x509.DNSName("b")],
        [x509.DNSName("site-1")],
    ],
)
def test_other_names_are_no_peers(authority, names):
    key = certificates.new_key()
    certificate = certificates._issue(
        authority._certificate,
        authority._key,
        key.public_key(),
        common_name="site site-1",
        names=x509.SubjectAlternativeName(names),
        usage=ExtendedKeyUsageOID.CLIENT_AUTH,
    )
    with pytest.raises(Unauthenticated):
        peer_of(certificate.public_bytes(Encoding.PEM))


def test_a_peers_name_in_a_servers_certificate_is_no_peer(authority):
    certificate = certificates._issue(
        authority._certificate,
        authority._key,
        certificates.new_key().public_key(),
        common_name="site site-1",
        names=x509.SubjectAlternativeName([x509.UniformResourceIdentifier("fedgate:site:a")]),
        usage=ExtendedKeyUsageOID.SERVER_AUTH,
    )
    with pytest.raises(Unauthenticated):
        peer_of(certificate.public_bytes(Encoding.PEM))


def test_an_identity_key_stays_the_same(tmp_path):
    first = load_or_create_identity(tmp_path / "site")
    assert (
        load_or_create_identity(tmp_path / "site").private_bytes_raw() == first.private_bytes_raw()
    )
    assert stat.S_IMODE((tmp_path / "site/identity.key").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("https://h:1", "https://h:1/api/v1"),
        ("https://h:1/", "https://h:1/api/v1"),
        ("https://h:1/api/v1", "https://h:1/api/v1"),
        ("h:1", "https://h:1/api/v1"),
    ],
)
def test_the_apis_address_may_be_given_in_short(given, base):
    assert api_base(given) == base


def test_plain_http_is_refused():
    with pytest.raises(InvalidConfig, match="https"):
        api_base("http://h:1")
