from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedgate.errors import InvalidConfig, InvalidMessage
from fedgate_gateway.audit import Checkpoint, LogSigner, VerifierKey

#: From the documentation of golang.org/x/mod/sumdb/note, an independent implementation.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdn"
    "gotpRZb6KE6RyyBwJnAM=\n"
)


def test_a_checkpoint_is_a_signed_note_of_c2sp(signer: LogSigner):
    note = signer.sign(7, bytes(range(32)))
    origin, size, root, blank, signature, end = note.split("\n")
    assert (origin, size, blank, end) == ("test.example/audit", "7", "", "")
    assert base64.b64decode(root) == bytes(range(32))
    dash, name, encoded = signature.split(" ")
    assert (dash, name) == ("—", origin)
    raw = base64.b64decode(encoded)
    assert raw[:4] == signer.verifier.id
    assert len(raw) == 68
    assert Checkpoint.open(note, signer.verifier) == Checkpoint(origin, 7, bytes(range(32)))


def test_key_ids_and_signatures_are_those_of_the_go_implementation():
    key = VerifierKey.parse(GO_KEY)
    assert str(key) == GO_KEY
    with pytest.raises(InvalidMessage, match="lacks origin"):  # signed, but not a checkpoint
        Checkpoint.open(GO_NOTE, key)
    with pytest.raises(InvalidMessage, match="no valid signature"):
        Checkpoint.open(GO_NOTE.replace("answer", "Answer"), key)


def test_flipping_any_character_of_a_note_is_noticed(signer: LogSigner):
    note = signer.sign(70, bytes(32))
    for at, old in enumerate(note):
        changed = note[:at] + ("x" if old != "x" else "y") + note[at + 1 :]
        try:
            opened = Checkpoint.open(changed, signer.verifier)
        except InvalidMessage:
            continue
        raise AssertionError(f"opened after a change at {at}: {opened}")


def test_another_key_of_the_same_name_signs_in_vain(signer: LogSigner):
    forged = LogSigner(Ed25519PrivateKey.generate(), signer.origin).sign(7, bytes(32))
    with pytest.raises(InvalidMessage, match="no valid signature"):
        Checkpoint.open(forged, signer.verifier)


def test_the_same_key_under_another_origin_signs_in_vain():
    key = Ed25519PrivateKey.generate()
    note = LogSigner(key, "other.example").sign(7, bytes(32))
    with pytest.raises(InvalidMessage, match="no valid signature"):
        Checkpoint.open(note, LogSigner(key, "test.example").verifier)


def test_a_witness_may_sign_beside_the_log(signer: LogSigner):
    note = signer.sign(7, bytes(32))
    witness = LogSigner(Ed25519PrivateKey.generate(), "witness.example").sign(7, bytes(32))
    cosigned = note + witness.split("\n\n")[1]
    assert Checkpoint.open(cosigned, signer.verifier).size == 7


@pytest.mark.parametrize(
    "body",
    [
        "o\n007\n{root}\n",
        "o\n-1\n{root}\n",
        "o\n7\n",
        "x\n7\n{root}\n",
        "o\n7\nAAAA\n",
        "o\n7\n!\n",
    ],
)
def test_a_signed_note_that_is_no_checkpoint_is_refused(body: str):
    key = Ed25519PrivateKey.generate()
    verifier = VerifierKey("o", key.public_key().public_bytes_raw())
    text = body.format(root=base64.b64encode(bytes(32)).decode())
    signature = base64.b64encode(verifier.id + key.sign(text.encode())).decode()
    with pytest.raises(InvalidMessage):
        Checkpoint.open(f"{text}\n— o {signature}\n", verifier)


@pytest.mark.parametrize(
    "text", ["", "a", "a+b+c", "a+00000000+" + GO_KEY[-44:], GO_KEY[1:], "+".join(["a b"] * 3)]
)
def test_a_malformed_public_key_is_refused(text: str):
    with pytest.raises(InvalidMessage):
        VerifierKey.parse(text)


def test_the_signing_key_is_made_once_and_readable_by_its_owner_only(tmp_path):
    path = tmp_path / "keys" / "audit.pem"
    first, second = LogSigner.open(path), LogSigner.open(path)
    assert first.verifier == second.verifier
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["audit.pem"]


def test_a_signing_key_that_others_can_read_is_refused(tmp_path):
    path = tmp_path / "audit.pem"
    LogSigner.open(path)
    path.chmod(0o640)
    with pytest.raises(InvalidConfig, match="open to others"):
        LogSigner.open(path)


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_damaged_signing_key_is_an_error_of_ours_and_is_not_replaced(tmp_path, content: bytes):
    path = tmp_path / "audit.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(InvalidConfig):
        LogSigner.open(path)
    assert path.read_bytes() == content
