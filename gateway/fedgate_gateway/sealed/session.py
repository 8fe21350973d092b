"""The keys of one session between a site and an enclave, as both sides derive them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedgate_gateway.sealed._binding import bind256
from fedgate_gateway.sealed.letter import Direction, Opener, Route, Sealer

_KEYS = b"fedgate session keys v1"
_EXPORT = b"fedgate session export v1"


@dataclass(frozen=True)
class SessionKeys:
    """Secrets are kept out of ``repr``. Make each end's channel once: it owns the nonces."""

    session: bytes  # 16 B
    job: str
    site: str
    enclave: str
    transcript: bytes  # 32 B, public; what an audit entry names the session by
    to_enclave: bytes = field(repr=False)  # 32 B
    to_site: bytes = field(repr=False)  # 32 B
    exporter: bytes = field(repr=False)  # 32 B

    @classmethod
    def derive(
        cls, secret: bytes, transcript: bytes, *, session: bytes, job: str, site: str, enclave: str
    ) -> Self:
        """HKDF-SHA256 (RFC 5869) with the transcript as salt: 32 B a direction, 32 B to export."""
        okm = HKDF(algorithm=SHA256(), length=96, salt=transcript, info=_KEYS).derive(secret)
        return cls(session, job, site, enclave, transcript, okm[:32], okm[32:64], okm[64:])

    def export(self, label: bytes, length: int = 32) -> bytes:
        """Another secret that both ends and nobody else know, for a purpose named by ``label``."""
        info = bind256(_EXPORT, label)
        return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(self.exporter)

    def at_site(self) -> tuple[Sealer, Opener]:
        """What the site seals and opens with."""
        return Sealer(self.to_enclave, self._inward()), Opener(self.to_site, self._outward())

    def at_enclave(self) -> tuple[Sealer, Opener]:
        """What the enclave seals and opens with."""
        return Sealer(self.to_site, self._outward()), Opener(self.to_enclave, self._inward())

    def _inward(self) -> Route:
        return Route(self.session, Direction.TO_ENCLAVE, self.job, self.site, self.enclave)

    def _outward(self) -> Route:
        return Route(self.session, Direction.TO_SITE, self.job, self.enclave, self.site)
