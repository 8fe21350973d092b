"""Signing what is submitted, on the submitter's own machine and with its own key."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fedgate.bundle import digest_of
from fedgate.errors import InvalidConfig, InvalidMessage
from fedgate.task import Scalar
from fedgate_gateway.cli.profile import Profile
from fedgate_gateway.governance import JobRequest, read_unverified, sign_request
from fedgate_gateway.link.terms import fingerprint

#: How long a request may wait for its job to start, unless the submitter says otherwise.
VALID_SECONDS: Final = 7 * 86400


@dataclass(frozen=True)
class SignedSubmission:
    """A bundle and the request that was signed for it: what is sent, and sent again."""

    archive: bytes
    envelope: bytes
    #: The key that outputs are sealed to; the request names its fingerprint.
    recipient: bytes | None

    @property
    def request(self) -> JobRequest:
        return read_unverified(self.envelope).request

    @property
    def digest(self) -> str:
        """Of the request, "sha256:<hex>"."""
        return read_unverified(self.envelope).digest


def sign_submission(
    profile: Profile,
    archive: bytes,
    *,
    project: str = "",
    name: str = "",
    sites: Sequence[str] = (),
    datasets: Sequence[str] = (),
    min_sites: int | None = None,
    config: Mapping[str, Scalar] | None = None,
    recipient: bytes | None = None,
    task_seconds: float | None = None,
    valid_seconds: int = VALID_SECONDS,
    enclave: str = "",
    site_files: bool = False,
) -> SignedSubmission:
    """Raises :class:`InvalidConfig` for a profile that cannot sign, and :class:`InvalidMessage`.

    ``sites`` empty leaves them open: any members of the project. ``recipient`` is the raw public
    key. Project and enclave are the profile's where none is named.
    """
    if not (project or profile.project):
        raise InvalidMessage(
            "which project?", remedy="name it with --project, or set `project` in the profile"
        )
    if not profile.submitter:
        raise InvalidConfig(
            "the profile does not say who submits",
            why="a request is signed in a name that the project's file lists",
            remedy="set `submitter` in the profile to the name of your token",
        )
    now = int(time.time())
    request = JobRequest(
        project=project or profile.project,
        bundle=digest_of(archive),
        name=name,
        submitter=profile.submitter,
        sites=tuple(sites),
        datasets=tuple(datasets),
        min_sites=min_sites,
        config=dict(config or {}),
        task_seconds=task_seconds,
        recipient=fingerprint(recipient) if recipient else "",
        created=now,
        expires=now + valid_seconds,
        nonce=secrets.token_hex(16),
        enclave=enclave or profile.enclave,
        site_files=site_files,
    )
    return SignedSubmission(archive, sign_request(request, profile.signing_key()), recipient)
