"""The keys of the sealed transport.

* X-Wing (ML-KEM-768 and X25519, draft-connolly-cfrg-xwing-kem), used through HPKE (RFC 9180, KEM
  id 0x647a, HKDF-SHA256, AES-256-GCM): an enclave's key for one job, a submitter's recipient key.
  Public keys travel raw: ML-KEM 1184 B, then X25519 32 B. Private keys are the draft's 32 B seed.
* Ed25519: the identity of a site, and of an enclave that signs what it releases.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import stat
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from fedgate.errors import InvalidConfig, SealBroken

_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_MLKEM_PUBLIC: Final = 1184
PUBLIC_BYTES: Final = _MLKEM_PUBLIC + 32
SEED_BYTES: Final = 32
#: What :meth:`SealingPublicKey.encrypt` adds: encapsulation 1120 B and tag 16 B.
WRAP_OVERHEAD: Final = 1136
IDENTITY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64


class SealingPublicKey:
    """Anyone can seal to it; only the holder of the private key opens."""

    __slots__ = ("_key", "raw")

    def __init__(self, raw: bytes) -> None:
        """From 1216 raw bytes; raises :class:`SealBroken` for anything that is no such key."""
        if len(raw) != PUBLIC_BYTES:
            raise SealBroken("not a sealing key", why=f"{len(raw)} bytes instead of {PUBLIC_BYTES}")
        self.raw = bytes(raw)
        try:
            self._key = MLKEM768X25519PublicKey(
                MLKEM768PublicKey.from_public_bytes(self.raw[:_MLKEM_PUBLIC]),
                X25519PublicKey.from_public_bytes(self.raw[_MLKEM_PUBLIC:]),
            )
        except ValueError as error:
            raise SealBroken("not a sealing key", why=str(error)) from error

    def encrypt(self, plain: bytes, info: bytes) -> bytes:
        """HPKE, single shot; hash whatever must be bound into ``info``."""
        try:
            return _SUITE.encrypt(plain, self._key, info=info)
        except ValueError as error:  # an X25519 part of small order
            raise SealBroken("the sealing key is unusable", why=str(error)) from error


class _SealingKey:
    """An X-Wing private key."""

    __slots__ = ("_key", "_seed", "public_raw")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise SealBroken("not a private key", why=f"{len(seed)} bytes instead of {SEED_BYTES}")
        self._seed = bytes(seed)
        expanded = hashlib.shake_256(self._seed).digest(96)  # expandDecapsulationKey of the draft
        mlkem = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
        x25519 = X25519PrivateKey.from_private_bytes(expanded[64:])
        self._key = MLKEM768X25519PrivateKey(mlkem, x25519)
        #: 1216 bytes.
        self.public_raw: bytes = (
            mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
        )

    @classmethod
    def generate(cls) -> Self:
        return cls(secrets.token_bytes(SEED_BYTES))

    @property
    def public(self) -> SealingPublicKey:
        return SealingPublicKey(self.public_raw)

    def decrypt(self, sealed: bytes, info: bytes) -> bytes:
        """The plaintext; raises :class:`SealBroken` for another key, other ``info``, or damage."""
        try:
            return _SUITE.decrypt(sealed, self._key, info=info)
        except (InvalidTag, ValueError) as error:
            raise SealBroken(
                "the wrapped secret does not open",
                why="it was made for another key or another context, or was altered",
            ) from error


class EnclaveKey(_SealingKey):
    """Made inside the enclave for one job, bound into its evidence, and never written anywhere."""

    __slots__ = ()


class RecipientKey(_SealingKey):
    """A submitter's key: released models and files are sealed to it."""

    __slots__ = ()
    _PREFIX: Final = b"fedgate-recipient-key-1:"

    def to_bytes(self) -> bytes:
        """One line of text holding the seed."""
        return self._PREFIX + base64.b64encode(self._seed) + b"\n"

    @classmethod
    def from_bytes(cls, text: bytes) -> Self:
        """Raises :class:`InvalidConfig` for anything that :meth:`to_bytes` does not write."""
        body = text.strip()
        try:
            if not body.startswith(cls._PREFIX):
                raise ValueError("it does not start with " + cls._PREFIX.decode())
            seed = base64.b64decode(body[len(cls._PREFIX) :], validate=True)
            if len(seed) != SEED_BYTES:
                raise ValueError(f"its seed has {len(seed)} bytes")
        except ValueError as error:
            raise InvalidConfig("not a recipient key", why=str(error)) from None
        return cls(seed)

    def save(self, path: Path) -> None:
        """Write a new file that only its owner can read; never overwrites a key."""
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(self.to_bytes())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise InvalidConfig(f"cannot write the key file {path}", why=str(error)) from error

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a key file; refuses one that others can read."""
        try:
            with path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                text = file.read(4096)
        except OSError as error:
            raise InvalidConfig(f"cannot read the key file {path}", why=str(error)) from error
        if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
            raise InvalidConfig(
                f"the key file {path} is open to others",
                why=f"its mode is {stat.S_IMODE(mode):04o}",
                remedy=f"chmod 600 {path}",
            )
        return cls.from_bytes(text)


class IdentityKey:
    """An Ed25519 key that says who is speaking."""

    __slots__ = ("_key", "public_raw")

    def __init__(self, private_raw: bytes) -> None:
        """From the raw 32 bytes, as a key file holds them."""
        try:
            self._key = Ed25519PrivateKey.from_private_bytes(private_raw)
        except ValueError as error:
            raise InvalidConfig("not an Ed25519 identity key", why=str(error)) from None
        #: 32 bytes, what a roster lists.
        self.public_raw: bytes = self._key.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> Self:
        return cls(secrets.token_bytes(IDENTITY_BYTES))

    @property
    def private_raw(self) -> bytes:
        return self._key.private_bytes_raw()

    def sign(self, domain: bytes, message: bytes) -> bytes:
        """64 bytes over ``domain`` and ``message``; the domain says what the signature is for."""
        return self._key.sign(_signed(domain, message))


def verify_identity(public_raw: bytes, signature: bytes, domain: bytes, message: bytes) -> None:
    """Raises :class:`SealBroken` unless ``signature`` is that key's over domain and message."""
    verify_signature(public_raw, signature, _signed(domain, message))


def verify_signature(public_raw: bytes, signature: bytes, message: bytes) -> None:
    """Raises :class:`SealBroken` unless ``signature`` is that Ed25519 key's over ``message``."""
    # Under a public key of small order one signature fits any message, and OpenSSL accepts it.
    if len(public_raw) != IDENTITY_BYTES or _small_order(public_raw):
        raise SealBroken("not an identity key", why=f"{public_raw[:32].hex()} is refused")
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes(public_raw))
        key.verify(bytes(signature), message)
    except (InvalidSignature, ValueError) as error:
        raise SealBroken(
            "the signature is not by the expected identity key",
            why=f"expected key {public_raw.hex()}",
        ) from error


def _signed(domain: bytes, message: bytes) -> bytes:
    return len(domain).to_bytes(8, "big") + domain + message


_P25519 = 2**255 - 19
_SMALL_ORDER_Y = frozenset(
    y % _P25519
    for y in (
        0,
        1,
        _P25519 - 1,
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD83D3D706A17C7,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
    )
)


def _small_order(public_raw: bytes) -> bool:
    """Is this one of the eight points of small order, however it is written?"""
    y = int.from_bytes(public_raw, "little") & (2**255 - 1)
    return y % _P25519 in _SMALL_ORDER_Y
