"""What must hold before an enclave touches anything of a job, and what it is that it will run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fedgate import plugins
from fedgate.bundle import Bundle
from fedgate.codes import Code
from fedgate.errors import Denied, InvalidBundle
from fedgate.manifest import Manifest
from fedgate.notice import Notice
from fedgate_gateway.config import ProjectConfig
from fedgate_gateway.governance import SignedRequest
from fedgate_gateway.link.cargo import fetch_bundle
from fedgate_gateway.link.client import LinkClient
from fedgate_gateway.link.signed_job import verify_signature
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
    return verify_signature(spec, project)


async def open_bundle(
    link: LinkClient, spec: Spec, adapters: Sequence[str]
) -> tuple[Bundle, Manifest]:
    """The bundle that the job names and no other; raises :class:`InvalidBundle` and the errors of
    fetching and inspecting it.
    """
    archive = await fetch_bundle(link, spec.job, spec.bundle_bytes)
    bundle = await asyncio.to_thread(Bundle.read, archive)
    if bundle.digest != spec.bundle:
        raise InvalidBundle(
            "the gateway delivered another bundle",
            why=f"{bundle.digest}, not {spec.bundle}",
            notice=Notice(Code.OTHER_BUNDLE),
        )
    return bundle, plugins.recognise(bundle.tree, allowed=adapters).inspect(bundle.tree)
