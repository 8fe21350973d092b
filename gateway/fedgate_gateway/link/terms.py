"""The terms of a job: what an enclave runs, with whom, and what it will let out.

They are bound into the enclave's evidence together with its key, so a site that compares them with
what it accepted knows what it is connected to. Canonical JSON, so that equal terms are equal bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fedgate.errors import EvidenceRejected
from fedgate_gateway.config import ProjectConfig, roster_digest


@dataclass(frozen=True)
class Terms:
    job: str
    project: str
    bundle: str
    roster: str  # hex SHA-256 of the project's roster of identity keys
    sites: tuple[str, ...]
    min_sites: int
    release: Mapping[str, Any]
    recipient: str  # "sha256:<hex>" of the key that sealed outputs are for; empty: none
    sandbox: str

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self), separators=(",", ":"), sort_keys=True).encode()

    @classmethod
    def read(cls, data: bytes) -> Terms:
        try:
            fields = json.loads(data)
            terms = cls(**{**fields, "sites": tuple(fields["sites"])})
            if terms.to_bytes() != data:
                raise ValueError("not canonical")
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise EvidenceRejected("the enclave's terms do not parse", why=str(error)) from error
        return terms


def project_terms(
    project: ProjectConfig,
    *,
    job: str,
    bundle: str,
    sites: tuple[str, ...],
    min_sites: int,
    recipient: bytes,
    sandbox: str,
) -> Terms:
    return Terms(
        job=job,
        project=project.name,
        bundle=bundle,
        roster=roster_digest(project.name, project.roster()).hex(),
        sites=sites,
        min_sites=min_sites,
        release=project.release.model_dump(),
        recipient=fingerprint(recipient) if recipient else "",
        sandbox=sandbox,
    )


def fingerprint(public_key: bytes) -> str:
    return "sha256:" + hashlib.sha256(public_key).hexdigest()


def check_terms(ours: Terms, theirs: Terms) -> None:
    """A site's check: everything but the sandbox, which only policy judges, must be as accepted."""
    for name, mine in asdict(ours).items():
        other = asdict(theirs)[name]
        if name != "sandbox" and mine != other:
            raise EvidenceRejected(
                f"the enclave's terms differ from what this site accepted: {name}",
                why=f"here {mine!r:.200}, there {other!r:.200}",
                remedy="compare the project files of enclave and site",
            )
