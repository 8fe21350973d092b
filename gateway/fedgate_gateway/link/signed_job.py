"""Whether a job is what its submitter signed: a site and an enclave each ask for themselves.

Everything in a gateway's description of a job that a submitter chooses is compared with the signed
request, so that afterwards the two are one truth.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from fedgate.codes import Code
from fedgate.errors import Denied
from fedgate.manifest import Manifest
from fedgate.notice import Notice
from fedgate_gateway.config import ProjectConfig
from fedgate_gateway.governance import SignedRequest, check_job, verify_request
from fedgate_gateway.link.spec import Spec
from fedgate_gateway.link.terms import fingerprint


def verify_signature(
    spec: Spec, project: ProjectConfig, *, began: Callable[[str], bool] = lambda _digest: False
) -> SignedRequest:
    """Who signed it, by the project's keys, and that it counts now; raises :class:`Denied`.

    Needs no bundle: what nobody signed is not even fetched. ``began`` knows by its digest a request
    whose job has begun here: whoever is restarted in the middle comes back to it.
    """
    return verify_request(
        spec.request,
        submitters=project.submitter_keys(),
        gateways=project.gateway_keys(),
        now=time.time(),
        began=began,
    )


def verify_enclave(signed: SignedRequest, spec: Spec, project: ProjectConfig) -> None:
    """One enclave runs a request, so that its own record of requests sees each of them: two could
    run it as two jobs at other sites each. Raises :class:`Denied`.

    In review no enclave is chosen yet; only that there is one to choose is asked.
    """
    named, listed = signed.request.enclave, sorted(project.enclaves)
    if not named and len(listed) > 1:
        raise Denied(
            "the signed request names no enclave",
            why=f"project {project.name} has several: {', '.join(listed)}",
            remedy="submit with --enclave, or set `enclave` in the profile",
            notice=Notice(Code.NO_ENCLAVE),
        )
    for enclave in filter(None, (named, spec.enclave)):
        project.enclave_identity(enclave)
    if named and spec.enclave and named != spec.enclave:
        raise Denied(
            "the job is not what its submitter signed: enclave",
            why=f"signed was {named!r}, the job has {spec.enclave!r}",
            remedy="somebody between submitter and site changed the job; do not run it",
            notice=Notice(Code.REQUEST_CHANGED),
            about=("enclave",),
        )


def verify_job(
    signed: SignedRequest, spec: Spec, project: ProjectConfig, manifest: Manifest
) -> None:
    """Field by field; ``manifest`` is what the caller read in the bundle by itself.

    Raises :class:`Denied` for the first difference, and for a job of fewer sites than the project
    releases anything of.
    """
    check_site_files(signed, project)
    least = project.release.least_sites
    if signed.request.min_sites is None:  # what the gateway made of it must be enough
        _check_cohort(spec, least)
    check_job(
        signed,
        project=spec.project,
        bundle=spec.bundle,
        name=spec.name,
        submitter=spec.submitter,
        sites=spec.sites,
        datasets=spec.datasets,
        min_sites=spec.min_sites,
        config=spec.config,
        task_seconds=spec.task_seconds,
        recipient_fingerprint=fingerprint(spec.recipient) if spec.recipient else "",
        members=project.members,
        workload_name=manifest.name,
        workload_min_sites=max(manifest.min_sites, least),
    )
    _check_cohort(spec, least)
    if spec.min_sites < manifest.min_sites:
        raise Denied(
            f"the workload needs at least {manifest.min_sites} sites",
            why=f"the job goes on with {spec.min_sites}",
            remedy="submit it with more sites",
            notice=Notice(
                Code.TOO_FEW_FOR_WORKLOAD,
                {"min_sites": spec.min_sites, "least": manifest.min_sites},
            ),
        )


def check_site_files(signed: SignedRequest, project: ProjectConfig) -> None:
    """Files of single sites need the project's explicit word; raises :class:`Denied` without."""
    if signed.request.site_files and project.release.site_files == "never":
        raise Denied(
            f"project {project.name} releases no files of single sites, and the request asks for "
            "them",
            why='release.site_files is "never" in the project file',
            remedy='every member can write site_files = "one-site-sealed" under [release] in the '
            "project file, or submit without --site-files",
            notice=Notice(Code.FILES_NOT_IN_PROJECT),
        )


def _check_cohort(spec: Spec, least: int) -> None:
    """Nothing could leave of a job that goes on with fewer: better refused than run for nothing."""
    fewest = min(spec.min_sites, len(spec.sites))
    if fewest < least:
        raise Denied(
            f"the job may go on with {fewest} sites, too few for its project",
            why=f"min_sites is {spec.min_sites}, of {len(spec.sites)} sites; by its project file "
            f"{spec.project} releases nothing of fewer than {least}",
            remedy=f"submit it with at least {least} sites and --min-sites {least}; the gateway "
            "says so at once where its minimum_cohort for the project is that of the project file",
            notice=Notice(Code.TOO_FEW_FOR_PROJECT, {"min_sites": fewest, "least": least}),
        )
