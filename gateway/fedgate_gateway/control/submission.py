"""Checking a submission: everything that can be known before any of it is stored."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import TypeVar

from fedgate.adapter import Adapter
from fedgate.bundle import Bundle, BundleLimits, BundleTree
from fedgate.errors import AdapterFailed, Denied, FedgateError, InvalidMessage, NotFound, SealBroken
from fedgate.manifest import Manifest
from fedgate.task import Scalar
from fedgate_gateway.config import GatewayLimits, GatewayProject
from fedgate_gateway.control.records import (
    PolicyDecision,
    Submission,
    SubmitOptions,
)
from fedgate_gateway.sealed.keys import SealingPublicKey

Recognise = Callable[[BundleTree], Adapter]
SubmitPolicy = Callable[[Submission], PolicyDecision]
T = TypeVar("T")

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_DATASET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_TITLE = re.compile(r"[^\x00-\x1f\x7f]{0,255}")
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{0,255}")
_MAX_NAMES = 256
_MAX_REASONS, _MAX_REASON = 16, 1000
_MAX_CONFIG_BYTES = 64 * 1024
_MAX_TASK_SECONDS = 30 * 86400.0


def check_options(options: SubmitOptions) -> None:
    """Shape and size of what a stranger chose; raises :class:`InvalidMessage`."""
    _matches(_NAME, options.project, "the project's name")
    for site in options.sites:
        _matches(_NAME, site, "a site's name")
    for dataset in options.datasets:
        _matches(_DATASET, dataset, "a dataset's name")
    for what, names in (("sites", options.sites), ("datasets", options.datasets)):
        if len(names) > _MAX_NAMES or len(set(names)) != len(names):
            raise InvalidMessage(f"the list of {what} has duplicates, or more than {_MAX_NAMES}")
    _matches(_TITLE, options.name, "the job's name")
    _matches(_IDEMPOTENCY_KEY, options.idempotency_key, "the Idempotency-Key")
    if options.recipient is not None:
        try:
            SealingPublicKey(options.recipient)
        except SealBroken as error:
            raise InvalidMessage(
                "the recipient is not an X-Wing public key", why=error.why or error.what
            ) from error
    seconds = options.task_seconds
    if seconds is not None and not (math.isfinite(seconds) and 0 < seconds <= _MAX_TASK_SECONDS):
        raise InvalidMessage(f"a task may take between 0 and {_MAX_TASK_SECONDS:.0f} seconds")
    _check_config(options.config)


def inspect(
    archive: bytes,
    options: SubmitOptions,
    *,
    projects: Mapping[str, GatewayProject],
    limits: GatewayLimits,
    recognise: Recognise,
    submitter: str,
) -> Submission:
    """Read the bundle and settle what the job will be. Blocking: call it in a worker thread.

    Raises :class:`InvalidBundle` (or a subclass), :class:`NotFound` for an unknown project or
    site, and :class:`InvalidMessage` for choices that contradict the bundle.
    """
    project = projects.get(options.project)
    if project is None:
        raise NotFound(
            f"there is no project {options.project!r} at this gateway",
            why=f"known are: {', '.join(sorted(projects)) or 'none'}",
        )
    bounds = BundleLimits(
        archive_bytes=limits.bundle_bytes,
        unpacked_bytes=limits.unpacked_bytes,
        file_bytes=min(limits.unpacked_bytes, BundleLimits().file_bytes),
    )
    bundle = Bundle.read(archive, bounds)
    adapter = _ours("recognising the workload", lambda: recognise(bundle.tree))
    manifest = _ours("inspecting the workload", lambda: adapter.inspect(bundle.tree))
    sites = _sites(options, manifest, project)
    _check_overrides(options.config, manifest)
    return Submission(
        project=options.project,
        submitter=submitter,
        name=(options.name or manifest.name)[:255],
        bundle=bundle.digest,
        size=bundle.size,
        manifest=manifest,
        sites=sites,
        datasets=options.datasets,
        min_sites=_min_sites(options, manifest, sites),
        config=options.config,
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


def request_hash(archive: bytes, options: SubmitOptions) -> bytes:
    """SHA-256 of everything that makes two submissions the same."""
    recipient = options.recipient.hex() if options.recipient else None
    chosen = [
        hashlib.sha256(archive).hexdigest(), options.project, options.sites, options.datasets,
        options.min_sites, sorted(options.config.items()), options.name, recipient,
        options.task_seconds,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(chosen, separators=(",", ":")).encode()).digest()


def _sites(options: SubmitOptions, manifest: Manifest, project: GatewayProject) -> tuple[str, ...]:
    sites = options.sites or manifest.sites or project.sites
    unknown = [site for site in sites if site not in project.sites]
    if unknown:
        raise NotFound(
            f"project {options.project!r} has no site {', '.join(map(repr, unknown[:5]))}",
            why=f"its sites are: {', '.join(project.sites) or 'none'}",
            remedy="name sites of the project with --sites",
        )
    missing = [site for site in manifest.sites if site not in sites]
    if missing:
        raise InvalidMessage(
            f"the workload needs site {', '.join(map(repr, missing[:5]))}",
            why="it names its sites itself, and that one is not among those chosen",
            remedy="add it to the sites, or leave the choice out",
        )
    return tuple(sites)


def _min_sites(options: SubmitOptions, manifest: Manifest, sites: tuple[str, ...]) -> int:
    needed = manifest.min_sites if options.min_sites is None else options.min_sites
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


def _check_config(config: Mapping[str, Scalar]) -> None:
    for key, value in config.items():
        if not isinstance(key, str) or not isinstance(value, bool | int | float | str):
            raise InvalidMessage(f"the setting {key!r:.80} is neither text, number nor true/false")
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidMessage(f"the setting {key!r:.80} is not a finite number")
    if len(json.dumps(dict(config))) > _MAX_CONFIG_BYTES:
        raise InvalidMessage("the settings are too large", why=f"at most {_MAX_CONFIG_BYTES} bytes")


def _matches(pattern: re.Pattern[str], text: str, what: str) -> None:
    if not pattern.fullmatch(text):
        raise InvalidMessage(f"{what} is not valid", why=f"{text!r:.100}")


def _ours(doing: str, work: Callable[[], T]) -> T:
    try:
        return work()
    except FedgateError:
        raise
    except Exception as error:
        raise AdapterFailed(f"the adapter failed at {doing}", why=repr(error)) from error
