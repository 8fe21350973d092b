"""One job with an enclave and two sites, and sessions between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from fedgate_gateway.sealed import (
    EnclaveHandshake,
    EnclaveKey,
    IdentityKey,
    SessionKeys,
    SiteHandshake,
)


@dataclass
class Scene:
    """What each party of a job knows, before anything has been sent."""

    job: str = "job-1"
    enclave: str = "enclave-1"
    own: IdentityKey = field(default_factory=IdentityKey.generate)  # of the enclave
    key: EnclaveKey = field(default_factory=EnclaveKey.generate)
    identities: dict[str, IdentityKey] = field(
        default_factory=lambda: {"site-1": IdentityKey.generate(), "site-2": IdentityKey.generate()}
    )
    project_digest: bytes = b"p" * 32
    bundle_digest: bytes = b"b" * 32
    evidence: bytes = b"evidence"
    terms: bytes = b'{"job":"job-1"}'

    @property
    def roster(self) -> dict[str, bytes]:
        return {name: key.public_raw for name, key in self.identities.items()}

    def site(self, name: str = "site-1", **changes: object) -> SiteHandshake:
        known = {
            "job": self.job,
            "site": name,
            "enclave": self.enclave,
            "enclave_identity": self.own.public_raw,
            "identity": self.identities.get(name),
            "project_digest": self.project_digest,
            "bundle_digest": self.bundle_digest,
        }
        return SiteHandshake(**{**known, **changes})  # type: ignore[arg-type]

    def at_enclave(self, hello: bytes, **changes: object) -> EnclaveHandshake:
        known = {
            "job": self.job,
            "enclave": self.enclave,
            "identity": self.own,
            "key": self.key,
            "roster": self.roster,
            "project_digest": self.project_digest,
            "bundle_digest": self.bundle_digest,
        }
        return EnclaveHandshake(hello, **{**known, **changes})  # type: ignore[arg-type]

    def session(self, name: str = "site-1") -> tuple[SessionKeys, SessionKeys]:
        """An honest handshake: the site's keys and the enclave's."""
        site = self.site(name)
        enclave = self.at_enclave(site.hello())
        answer = site.read_answer(enclave.answer(self.evidence, self.terms))
        message, keys = site.finish(answer)
        return keys, enclave.accept(message)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene()


@pytest.fixture(scope="session")
def new_scene() -> Callable[..., Scene]:
    return Scene
