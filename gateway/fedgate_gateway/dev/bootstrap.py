"""Letting everybody in: one-time tokens from the API, enrolment, and the developer's token."""

from __future__ import annotations

from collections.abc import Sequence

from fedgate_gateway.cli.client import Client
from fedgate_gateway.cli.profile import load_profile
from fedgate_gateway.dev.files import Writer
from fedgate_gateway.dev.layout import ENCLAVE, SUBMITTER, Layout
from fedgate_gateway.pki import Credentials, PeerKind
from fedgate_gateway.pki.enrol import enrol
from fedgate_gateway.pki.private_files import write_private

#: A developer submits, watches and audits; tokens and enrolments take the administrator's profile.
_SCOPES = ("jobs:read", "jobs:write", "sites:read", "audit:read", "metrics:read")


def bootstrap(layout: Layout, writer: Writer, sites: Sequence[str], *, api: str) -> None:
    """Against a gateway that runs; what was done before an interruption is not done again."""
    with Client(load_profile(layout.admin_profile)) as admin:
        _enrol(admin, layout, PeerKind.ENCLAVE, ENCLAVE, api)
        for site in sites:
            _enrol(admin, layout, PeerKind.SITE, site, api)
        made = admin.create_token(SUBMITTER, _SCOPES)
        write_private(layout.root / "token", made["token"].encode() + b"\n")
        ca = (layout.state("gateway") / "pki" / "ca.pem").read_bytes()
        write_private(layout.root / "ca.pem", ca)
        writer.profile(api=api, audit_key=admin.checkpoint()["key"])


def _enrol(admin: Client, layout: Layout, kind: PeerKind, name: str, api: str) -> None:
    folder = layout.state(name)
    if Credentials.of(folder).complete:
        return
    invitation = admin.invite(kind.value, name)
    enrol(api, invitation["token"], kind.value, name, folder)
