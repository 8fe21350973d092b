"""Checking a submission: everything that can be known before any of it is stored."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence

from fedgate.bundle import BundleLimits
from fedgate.errors import Denied, FedgateError, InvalidMessage, NotFound
from fedgate.manifest import Manifest
from fedgate.task import Scalar
from fedgate_gateway.config import GatewayLimits, GatewayProject
from fedgate_gateway.control.records import (
    PolicyDecision,
    Submission,
    SubmitOptions,
)
from fedgate_gateway.control.signed_submission import SignedSubmission
from fedgate_gateway.governance import JobRequest, title_of
from fedgate_gateway.inspection import Inspected

SubmitPolicy = Callable[[Submission], PolicyDecision]

_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{0,255}")
_MAX_REASONS, _MAX_REASON = 16, 1000


def check_idempotency_key(key: str) -> None:
    """Raises :class:`InvalidMessage` for what is no key of a header."""
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        raise InvalidMessage("the Idempotency-Key is not valid", why=f"{key!r:.100}")


def bundle_limits(limits: GatewayLimits) -> BundleLimits:
    """What an archive may hold here."""
    return BundleLimits(
        archive_bytes=limits.bundle_bytes,
        unpacked_bytes=limits.unpacked_bytes,
        file_bytes=min(limits.unpacked_bytes, BundleLimits().file_bytes),
    )


def require_project(asked: JobRequest, projects: Mapping[str, GatewayProject]) -> GatewayProject:
    """Raises :class:`NotFound`."""
    project = projects.get(asked.project)
    if project is None:
        raise NotFound(
            f"there is no project {asked.project!r} at this gateway",
            why=f"known are: {', '.join(sorted(projects)) or 'none'}",
        )
    return project


def settle(inspected: Inspected, signed: SignedSubmission, project: GatewayProject) -> Submission:
    """What the job will be, from what its bundle says and what was asked for.

    Raises :class:`NotFound` for an unknown site, and :class:`InvalidMessage` for choices that
    contradict the bundle.
    """
    asked, manifest = signed.request, inspected.manifest
    sites = _sites(asked, manifest, project)
    _check_overrides(asked.config, manifest)
    return Submission(
        project=asked.project,
        submitter=asked.submitter,
        name=title_of(asked.name, manifest.name),
        bundle=inspected.digest,
        size=inspected.size,
        manifest=manifest,
        sites=sites,
        datasets=asked.datasets,
        min_sites=_min_sites(asked, manifest, sites, project.minimum_cohort),
        config=asked.config,
        task_seconds=asked.task_seconds,
        request=signed.digest,
        signed_by=signed.signed_by.value,
    )


def check_policy(submission: Submission, policy: SubmitPolicy) -> PolicyDecision:
    """Raise :class:`Denied` unless policy says yes; a policy that fails says no."""
    try:
        decision = policy(submission)
    except Exception as error:  # whatever goes wrong in there must not become a yes
        raise Denied(
            "the gateway's policy could not be evaluated",
            why=str(error) if isinstance(error, FedgateError) else type(error).__name__,
            remedy="tell the gateway's administrator",
        ) from error
    if not decision.allowed:
        raise Denied(
            "the gateway's policy does not allow this job",
            why="; ".join(decision.reasons) or "no rule permits it",
            remedy="see `fedgate policy explain`, or change sites, datasets or workload",
        )
    reasons = tuple(reason[:_MAX_REASON] for reason in decision.reasons[:_MAX_REASONS])
    return PolicyDecision(True, reasons)


def check_cohort(submission: Submission, cohort: int) -> None:
    """Raises :class:`Denied` for a job of fewer sites than its project releases anything of."""
    why = (
        f"project {submission.project!r} releases nothing that fewer than {cohort} sites stand "
        "behind: its minimum_cohort"
    )
    if len(submission.sites) < cohort:
        raise Denied(
            f"the job's project asks for {cohort} sites, {len(submission.sites)} are chosen",
            why=why,
            remedy=f"choose at least {cohort} sites",
        )
    if submission.min_sites < cohort:
        raise Denied(
            f"the job's project asks for {cohort} sites, min_sites is {submission.min_sites}",
            why=why,
            remedy=f"leave min_sites out, or raise it to {cohort}",
        )


def request_hash(archive: bytes, options: SubmitOptions) -> bytes:
    """SHA-256 of everything that makes two submissions the same."""
    parts = (archive, options.request, options.recipient or b"")
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()


def _sites(asked: JobRequest, manifest: Manifest, project: GatewayProject) -> tuple[str, ...]:
    its_own = tuple(dict.fromkeys((*manifest.sites, *manifest.mandatory)))
    have = f"its sites are: {', '.join(project.sites) or 'none'}"
    if unknown := [site for site in its_own if site not in project.sites]:
        raise NotFound(
            f"the workload names {_named(unknown)}, and project {asked.project!r} has no such site",
            why=have,
            remedy="name sites of the project in the workload's own description, or choose the "
            "project that has them",
        )
    if unknown := [site for site in asked.sites if site not in project.sites]:
        raise NotFound(
            f"project {asked.project!r} has no {_named(unknown)}",
            why=have,
            remedy="choose among the sites of the project",
        )
    sites = asked.sites or manifest.sites or project.sites
    if missing := [site for site in its_own if site not in sites]:
        raise InvalidMessage(
            f"the workload needs {_named(missing)}",
            why="it says so itself, and that is not among the sites chosen for the job",
            remedy="choose that site as well, or none at all: then the workload's own count",
        )
    return tuple(sites)


def _named(sites: Sequence[str]) -> str:
    return f"site {', '.join(map(repr, sites[:5]))}"


def _min_sites(asked: JobRequest, manifest: Manifest, sites: tuple[str, ...], cohort: int) -> int:
    """``cohort``: sites without which the project releases nothing; :func:`check_cohort` judges."""
    least = max(manifest.min_sites, min(cohort, len(sites)))
    needed = least if asked.min_sites is None else asked.min_sites
    if not 1 <= needed <= len(sites):
        raise InvalidMessage(
            f"at least {needed} sites are asked for, {len(sites)} are chosen",
            remedy="choose more sites, or lower min_sites",
        )
    if needed < manifest.min_sites:
        raise InvalidMessage(
            f"the workload needs at least {manifest.min_sites} sites, min_sites is {needed}",
            remedy="leave min_sites out, or raise it",
        )
    return needed


def _check_overrides(config: Mapping[str, Scalar], manifest: Manifest) -> None:
    unknown = sorted(set(config) - set(manifest.config))
    if unknown:
        raise InvalidMessage(
            f"the workload has no setting {', '.join(map(repr, unknown[:5]))}",
            why=f"it has: {', '.join(sorted(manifest.config)) or 'none'}",
            remedy="override only settings that the workload declares",
        )
    for name, value in config.items():
        declared = manifest.config[name]
        if isinstance(value, str) and not isinstance(declared, str):
            kind = "true or false" if isinstance(declared, bool) else "a number"
            raise InvalidMessage(
                f"the setting {name!r} is {kind}, and was given as text",
                why=f"{value!r:.60}, where the workload has {declared!r:.60}",
                remedy=f"give it as {kind}, without quotation marks",
            )
