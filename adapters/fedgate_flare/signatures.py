"""FLARE's job signatures, checked when a job carries them.

Every folder of a signed job holds ``.__nvfl_sig.json`` (file or subfolder name -> RSA-PSS signature
over its content or name) and the signer's certificate (nvflare/lighter/utils.py, ``sign_folders``).
The certificate's issuer belongs to a FLARE project that Fedgate does not know, so a signature shows
that nothing was altered since somebody signed; who may submit is decided by tokens and policies.
"""

from __future__ import annotations

import base64
import json
from pathlib import PurePosixPath
from typing import Any

from fedgate.bundle import BundleTree
from fedgate.errors import InvalidBundle

SIGNATURES = ".__nvfl_sig.json"
CERTIFICATE = ".__nvfl_submitter.crt"
_MAX_BYTES = 1024 * 1024


def signers_of(files: BundleTree) -> list[str]:
    """Subjects of the certificates that signed the job; empty when nothing is signed.

    Raises :class:`InvalidBundle` when a signature is wrong, or only a part of the job is signed.
    """
    names = {PurePosixPath(path).name for path in files}
    if not names & {SIGNATURES, CERTIFICATE}:
        return []
    folders: dict[str, set[str]] = {"": set()}
    for path in files:
        parts = PurePosixPath(path).parts
        for depth in range(len(parts)):
            folders.setdefault("/".join(parts[:depth]), set()).add(parts[depth])
    return sorted({_check(files, folder, held) for folder, held in folders.items()})


def _check(files: BundleTree, folder: str, held: set[str]) -> str:
    lead = f"{folder}/" if folder else ""
    key, subject = _certificate(files, lead)
    signatures = _signatures(files, lead)
    wanted = held - {SIGNATURES, CERTIFICATE}
    if wanted != set(signatures):
        odd = min(wanted ^ set(signatures))
        raise InvalidBundle(
            "the job's signature does not cover the job",
            why=f"{lead}{odd} is in only one of the two",
            remedy="sign the whole job again, or submit it unsigned",
        )
    for name, signature in signatures.items():
        content = files.get(lead + name)
        _verify(key, signature, name.encode() if content is None else content, lead + name)
    return subject


def _signatures(files: BundleTree, lead: str) -> dict[str, Any]:
    raw = files.get(lead + SIGNATURES)
    try:
        found = json.loads(raw[:_MAX_BYTES]) if raw is not None else None
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
        raise InvalidBundle(
            "the job is signed in part only", why=f"{lead or '.'} has no signatures"
        )
    return found


def _certificate(files: BundleTree, lead: str) -> tuple[Any, str]:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    raw = files.get(lead + CERTIFICATE)
    try:
        certificate = x509.load_pem_x509_certificate(raw or b"")
        key = certificate.public_key()
    except ValueError as error:
        raise InvalidBundle(
            "the job's signature has no certificate", why=f"{lead}{CERTIFICATE}: {error}"[:200]
        ) from None
    if not isinstance(key, RSAPublicKey):
        raise InvalidBundle("the job's signature is not by an RSA key, as FLARE's are")
    return key, certificate.subject.rfc4514_string()[:200]


def _verify(key: Any, signature: str, content: bytes, path: str) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    scheme = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.MAX_LENGTH)
    try:
        key.verify(base64.b64decode(signature, validate=True), content, scheme, hashes.SHA256())
    except (ValueError, InvalidSignature):
        raise InvalidBundle(
            "the job was altered after it was signed",
            why=f"the signature of {path} is wrong",
            remedy="get the job from its author again, or have it signed again",
        ) from None
