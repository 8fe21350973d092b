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

from fedgate.codes import Code
from fedgate.errors import Denied, EvidenceRejected
from fedgate.notice import Notice
from fedgate_gateway.config import ProjectConfig


@dataclass(frozen=True)
class Terms:
    job: str
    project: str
    bundle: str
    request: str  # digest of what the submitter signed, "sha256:<hex>"
    project_file: str  # "sha256:<hex>" of the whole project file, as ``ProjectConfig.digest``
    parts: Mapping[str, str]  # of each part of it, so that a refusal can name what differs
    sites: tuple[str, ...]
    min_sites: int
    release: Mapping[str, Any]  # for people: ``project_file`` covers it
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
    request: str,
    sandbox: str,
) -> Terms:
    return Terms(
        job=job,
        project=project.name,
        bundle=bundle,
        request=request,
        project_file=project.digest(),
        parts=project.parts(),
        sites=sites,
        min_sites=min_sites,
        release=project.release.model_dump(mode="json"),
        recipient=fingerprint(recipient) if recipient else "",
        sandbox=sandbox,
    )


def fingerprint(public_key: bytes) -> str:
    return "sha256:" + hashlib.sha256(public_key).hexdigest()


def check_recipient(project: ProjectConfig, recipient: bytes) -> None:
    """Raises :class:`Denied` for a key that ``project`` does not seal outputs to.

    The gateway passes the submitter's key on, so it could pass on one of its own.
    """
    if not project.release.seals:
        return
    if not recipient:
        raise Denied(
            "the project releases sealed outputs, and the job names no key to seal to",
            remedy="submit with a recipient key",
            notice=Notice(Code.NO_RECIPIENT),
        )
    if fingerprint(recipient) not in project.recipients:
        raise Denied(
            "the job's recipient key is not one of the project's",
            why=f"it is {fingerprint(recipient)}",
            remedy="add its fingerprint to `recipients` in the project file",
            notice=Notice(Code.UNKNOWN_RECIPIENT),
        )


def check_terms(ours: Terms, theirs: Terms) -> None:
    """A site's check: everything but the sandbox, which only policy judges, must be as accepted."""
    _check_project(ours, theirs)
    for name, mine in asdict(ours).items():
        other = asdict(theirs)[name]
        if name != "sandbox" and mine != other:
            raise EvidenceRejected(
                f"the enclave's terms differ from what this site accepted: {name}",
                why=f"here {mine!r:.200}, there {other!r:.200}",
                remedy="somebody between site and enclave changed the job",
                notice=Notice(Code.TERMS_DIFFER),
            )


def _check_project(ours: Terms, theirs: Terms) -> None:
    """The whole file must be the same. The parts only say where to look."""
    if ours.project_file == theirs.project_file and ours.parts == theirs.parts:
        return
    named = {*ours.parts, *theirs.parts}
    differ = sorted(n for n in named if ours.parts.get(n) != theirs.parts.get(n))
    rules = {*ours.release, *theirs.release}
    changed = sorted(r for r in rules if ours.release.get(r) != theirs.release.get(r))
    details = [
        f"release.{rule} is {ours.release.get(rule)!r:.60} here, {theirs.release.get(rule)!r:.60} "
        "there"
        for rule in changed
    ]
    raise EvidenceRejected(
        f"the enclave holds another project file than this site: {', '.join(differ)[:200]} differ",
        why="; ".join(details)[:500] or f"{ours.project_file} here, {theirs.project_file} there",
        remedy="every member of a project needs the same project file; compare them",
        notice=Notice(Code.OTHER_PROJECT_FILE),
    )
