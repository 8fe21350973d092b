"""A job as the gateway describes it: parsed strictly, and believed only as far as checked."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from fedgate.errors import InvalidMessage
from fedgate.manifest import Manifest
from fedgate.task import Scalar
from fedgate_gateway.attestation import digest_bytes
from fedgate_gateway.governance import REQUEST_BYTES
from fedgate_proto.v1 import link_pb2 as pb

_MAX_BUNDLE = 1 << 32
_RECIPIENT = 1216
#: Peers name folders after jobs: nothing of a path may stand in an id.
_JOB = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


@dataclass(frozen=True)
class Spec:
    job: str
    project: str
    name: str
    bundle: str
    bundle_bytes: int
    framework: str
    #: As the gateway parsed it; peers parse the bundle themselves before they run anything.
    manifest: Manifest
    submitter: str
    sites: tuple[str, ...]
    datasets: tuple[str, ...]
    min_sites: int
    config: Mapping[str, Scalar]
    recipient: bytes
    task_seconds: float
    enclave: str
    #: What the submitter signed, as an envelope; see :mod:`fedgate_gateway.governance`.
    request: bytes

    @property
    def bundle_digest(self) -> bytes:
        return digest_bytes(self.bundle)

    @classmethod
    def read(cls, message: pb.JobSpec) -> Spec:
        """Raises :class:`InvalidMessage` for anything that cannot be a job."""
        try:
            manifest = Manifest.from_dict(json.loads(message.manifest))
            config = json.loads(message.config)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidMessage("a job's description does not parse", why=str(error)) from error
        if not isinstance(config, dict) or any(
            not isinstance(v, bool | int | float | str) for v in config.values()
        ):
            raise InvalidMessage("a job's config is not a mapping of scalars")
        digest_bytes(message.bundle)
        sites = tuple(message.sites)
        if not sites or len(set(sites)) != len(sites) or not _JOB.fullmatch(message.job):
            raise InvalidMessage("a job without a sensible name or sites")
        if not 1 <= message.min_sites <= len(sites) or message.bundle_bytes > _MAX_BUNDLE:
            raise InvalidMessage("a job's minimum of sites or its size makes no sense")
        if not (math.isfinite(message.task_seconds) and message.task_seconds >= 0):
            raise InvalidMessage("a job's time for a task makes no sense")
        if len(message.recipient) not in (0, _RECIPIENT):
            raise InvalidMessage("a job's recipient key has a wrong length")
        if not 0 < len(message.request) <= REQUEST_BYTES:
            raise InvalidMessage(
                "a job without a signed request, or with one that is too large",
                why=f"{len(message.request)} bytes, at most {REQUEST_BYTES}",
            )
        return cls(
            job=message.job,
            project=message.project,
            name=message.name,
            bundle=message.bundle,
            bundle_bytes=message.bundle_bytes,
            framework=message.framework,
            manifest=manifest,
            submitter=message.submitter,
            sites=sites,
            datasets=tuple(message.datasets),
            min_sites=message.min_sites,
            config=config,
            recipient=message.recipient,
            task_seconds=message.task_seconds,
            enclave=message.enclave,
            request=message.request,
        )
