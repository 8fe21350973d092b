"""Keys: X-Wing for sealing, Ed25519 for identity."""

import os
import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedgate.errors import InvalidConfig, SealBroken
from fedgate_gateway.sealed import (
    EnclaveKey,
    IdentityKey,
    RecipientKey,
    SealingPublicKey,
    verify_identity,
)


def test_a_private_key_is_the_seed_of_the_x_wing_draft():
    # draft-connolly-cfrg-xwing-kem, appendix C, first test vector
    key = EnclaveKey(
        bytes.fromhex("7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26")
    )
    assert key.public_raw.hex().startswith(
        "e2236b35a8c24b39b10aa1323a96a919a2ced88400633a7b07131713fc14b2b5"
    )
    assert len(key.public_raw) == 1216


def test_what_is_sealed_to_a_raw_public_key_opens_with_its_private_key():
    key = EnclaveKey.generate()
    sealed = SealingPublicKey(key.public_raw).encrypt(b"secret", b"context")
    assert key.decrypt(sealed, b"context") == b"secret"
    assert b"secret" not in sealed


def test_sealing_twice_gives_different_bytes():
    public = EnclaveKey.generate().public
    assert public.encrypt(b"secret", b"") != public.encrypt(b"secret", b"")


def test_another_key_or_another_context_does_not_open():
    key = EnclaveKey.generate()
    sealed = key.public.encrypt(b"secret", b"context")
    with pytest.raises(SealBroken):
        EnclaveKey.generate().decrypt(sealed, b"context")
    with pytest.raises(SealBroken):
        key.decrypt(sealed, b"other")


def test_half_a_foreign_key_does_not_open():
    """Both halves matter: an attacker who knows one of the two private keys has nothing."""
    mine, other = EnclaveKey.generate(), EnclaveKey.generate()
    sealed = SealingPublicKey(mine.public_raw[:1184] + other.public_raw[1184:]).encrypt(b"s", b"")
    for key in (mine, other):
        with pytest.raises(SealBroken):
            key.decrypt(sealed, b"")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_wrapping_never_opens(data):
    key = EnclaveKey(b"k" * 32)
    sealed = bytearray(key.public.encrypt(b"s" * 32, b"i"))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealBroken):
        key.decrypt(bytes(sealed), b"i")


@given(st.binary(max_size=1300))
def test_bytes_that_are_no_wrapping_are_refused_as_such(junk):
    with pytest.raises(SealBroken):
        EnclaveKey(b"k" * 32).decrypt(junk, b"i")


@pytest.mark.parametrize("raw", [b"", b"x" * 1215, b"x" * 1217, b"\xff" * 1216])
def test_bytes_that_are_no_public_key_are_refused(raw):
    with pytest.raises(SealBroken):
        SealingPublicKey(raw)


def test_a_public_key_with_an_x25519_point_of_small_order_cannot_be_sealed_to():
    raw = EnclaveKey.generate().public_raw[:1184] + bytes(32)
    with pytest.raises(SealBroken):
        SealingPublicKey(raw).encrypt(b"secret", b"")


def test_a_recipient_key_survives_its_file_which_only_the_owner_can_read(tmp_path):
    key, path = RecipientKey.generate(), tmp_path / "key"
    key.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert RecipientKey.load(path).public_raw == key.public_raw


def test_a_key_file_is_never_overwritten(tmp_path):
    path = tmp_path / "key"
    RecipientKey.generate().save(path)
    before = path.read_bytes()
    with pytest.raises(InvalidConfig):
        RecipientKey.generate().save(path)
    assert path.read_bytes() == before


def test_a_key_file_that_others_can_read_is_refused(tmp_path):
    path = tmp_path / "key"
    RecipientKey.generate().save(path)
    path.chmod(0o640)
    with pytest.raises(InvalidConfig, match="open to others"):
        RecipientKey.load(path)


def test_a_missing_key_file_says_so(tmp_path):
    with pytest.raises(InvalidConfig, match="cannot read"):
        RecipientKey.load(tmp_path / "none")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"fedgate-recipient-key-1:",
        b"fedgate-recipient-key-1:%%%%",
        b"fedgate-recipient-key-1:AAAA",
    ],
)
def test_a_damaged_key_file_is_refused(text):
    with pytest.raises(InvalidConfig):
        RecipientKey.from_bytes(text)


def test_private_keys_do_not_appear_in_repr():
    identity, key = IdentityKey.generate(), RecipientKey.generate()
    assert identity.private_raw.hex() not in repr(identity)
    assert key.to_bytes().decode().strip() not in repr(key)


def test_an_identity_signs_for_one_purpose():
    key = IdentityKey.generate()
    signature = key.sign(b"purpose", b"message")
    verify_identity(key.public_raw, signature, b"purpose", b"message")
    for domain, message in (
        (b"other", b"message"),
        (b"purpose", b"other"),
        (b"purposem", b"essage"),
    ):
        with pytest.raises(SealBroken):
            verify_identity(key.public_raw, signature, domain, message)


def test_an_identity_survives_its_raw_bytes():
    key = IdentityKey.generate()
    assert IdentityKey(key.private_raw).public_raw == key.public_raw


@pytest.mark.parametrize("size", [0, 31, 33])
def test_bytes_that_are_no_identity_are_refused(size):
    raw = os.urandom(size)
    with pytest.raises(InvalidConfig):
        IdentityKey(raw)
    with pytest.raises(SealBroken):
        verify_identity(raw, b"s" * 64, b"d", b"m")


P = 2**255 - 19
SMALL = [
    0, 1, P - 1, P, P + 1,
    0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD83D3D706A17C7,
    0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
]  # fmt: skip


@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize("y", SMALL)
def test_a_public_key_of_small_order_identifies_nobody(y, sign):
    """Under the neutral element, R = A and S = 0 is a signature of every message."""
    raw = (y | sign << 255).to_bytes(32, "little")
    forged = (1).to_bytes(32, "little") + bytes(32)
    with pytest.raises(SealBroken, match="not an identity key"):
        verify_identity(raw, forged, b"domain", b"any message")


@given(st.binary(max_size=70), st.binary(max_size=40))
def test_random_signatures_are_refused(signature, public):
    with pytest.raises(SealBroken):
        verify_identity(public, signature, b"d", b"m")
