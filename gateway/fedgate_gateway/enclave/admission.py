"""What must hold before an enclave touches anything of a job, and what it is that it will run."""

from __future__ import annotations

import asyncio

from fedgate.bundle import digest_of
from fedgate.codes import Code
from fedgate.errors import Denied, InvalidBundle
from fedgate.notice import Notice
from fedgate_gateway.config import ProjectConfig
from fedgate_gateway.governance import SignedRequest
from fedgate_gateway.inspection import Inspected, Inspects
from fedgate_gateway.link.cargo import fetch_bundle
from fedgate_gateway.link.client import LinkClient
from fedgate_gateway.link.signed_job import verify_enclave, verify_signature
from fedgate_gateway.link.spec import Spec
from fedgate_gateway.link.terms import check_recipient


def check(spec: Spec, project: ProjectConfig) -> SignedRequest:
    """The project file against what the gateway asks for; raises :class:`Denied`.

    What depends on the bundle is for :func:`verify_job`, once it is here.
    """
    outside = [site for site in spec.sites if site not in project.members]
    if outside:
        raise Denied(
            f"site {outside[0]!r} is not a member of {project.name}",
            notice=Notice(Code.NOT_A_MEMBER),
        )
    check_recipient(project, spec.recipient)
    signed = verify_signature(spec, project)
    verify_enclave(signed, spec, project)
    return signed


async def open_bundle(link: LinkClient, spec: Spec, inspector: Inspects) -> tuple[bytes, Inspected]:
    """The bundle that the job names and no other, and what it says; raises :class:`InvalidBundle`
    and the errors of fetching and inspecting it.
    """
    archive = await fetch_bundle(link, spec.job, spec.bundle_bytes)
    digest = await asyncio.to_thread(digest_of, archive)
    if digest != spec.bundle:
        raise InvalidBundle(
            "the gateway delivered another bundle",
            why=f"{digest}, not {spec.bundle}",
            notice=Notice(Code.OTHER_BUNDLE),
        )
    return archive, await inspector.inspect(archive, holder=spec.submitter)
