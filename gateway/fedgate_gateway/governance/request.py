"""What a submitter asks for: the whole of it, so that nobody on the way can ask for something else.

Whatever a submitter leaves open is open in the signed document as well: no sites means any members
of the project, no minimum means the workload's own, no enclave means the project's only one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import rfc8785

from fedgate.errors import InvalidMessage
from fedgate.task import Scalar
from fedgate_gateway.governance.scalars import read_scalar, write_config
from fedgate_gateway.governance.title import MOST, is_title

_PROJECT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_ENCLAVE = re.compile(r"([a-z0-9][a-z0-9-]{0,62})?")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_RECIPIENT = re.compile(r"(sha256:[0-9a-f]{64})?")
_DATASET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SUBMITTER = re.compile(r"[^\x00-\x1f\x7f]{1,128}")
_SETTING = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,127}")
_NONCE = re.compile(r"[0-9a-f]{32}")
_MAX_NAMES: Final = 256
_MAX_CONFIG_BYTES: Final = 64 * 1024
_MAX_TASK_SECONDS: Final = 30 * 86400.0
#: Seconds since the epoch beyond which no clock is right.
_MAX_TIME: Final = 1 << 40


@dataclass(frozen=True)
class JobRequest:
    """One request; making one raises :class:`InvalidMessage` for what cannot be one."""

    project: str
    #: "sha256:<hex>" of the archive.
    bundle: str
    #: A title; empty: the workload's own.
    name: str
    submitter: str
    #: Empty: any members of the project.
    sites: tuple[str, ...]
    datasets: tuple[str, ...]
    #: None: the workload's own.
    min_sites: int | None
    config: Mapping[str, Scalar]
    #: How long one task of a site may take; None: the enclave's own limit.
    task_seconds: float | None
    #: "sha256:<hex>" of the raw key that outputs are sealed to; empty: none.
    recipient: str
    #: Whole seconds since the epoch: from when until when it may be run.
    created: int
    expires: int
    #: 16 random bytes in hex: two requests are never the same by chance.
    nonce: str
    #: Which enclave runs it, and no other; empty: the only one that the project has.
    enclave: str = ""
    #: Also wanted: files that workers leave at their sites, as far as project and owners allow.
    site_files: bool = False

    def __post_init__(self) -> None:
        for pattern, text, what in (
            (_PROJECT, self.project, "the project's name"),
            (_DIGEST, self.bundle, "the bundle's digest"),
            (_SUBMITTER, self.submitter, "the submitter's name"),
            (_RECIPIENT, self.recipient, "the recipient's fingerprint"),
            (_NONCE, self.nonce, "the nonce"),
            (_ENCLAVE, self.enclave, "the enclave's name"),
            *((_PROJECT, site, "a site's name") for site in self.sites),
            *((_DATASET, dataset, "a dataset's name") for dataset in self.datasets),
            *((_SETTING, key, "a setting's name") for key in self.config),
        ):
            if not isinstance(text, str) or not pattern.fullmatch(text):
                raise InvalidMessage(f"{what} is not valid", why=f"{text!r:.100}")
        if not isinstance(self.name, str) or not is_title(self.name):
            raise InvalidMessage(
                "the job's name is not valid",
                why=f"{self.name!r:.100}",
                remedy=f"up to {MOST} letters, digits, spaces and .:,;()+/@#&'=-",
            )
        if len(self.config) > _MAX_NAMES:
            raise InvalidMessage("there are too many settings", why=f"at most {_MAX_NAMES}")
        for what, names in (("sites", self.sites), ("datasets", self.datasets)):
            if len(names) > _MAX_NAMES or len(set(names)) != len(names):
                raise InvalidMessage(f"the list of {what} has duplicates, or over {_MAX_NAMES}")
        self._check_numbers()
        _check_size(self.config)

    def _check_numbers(self) -> None:
        if self.min_sites is not None and not _whole(self.min_sites, 1, _MAX_NAMES):
            raise InvalidMessage("min_sites makes no sense", why=f"{self.min_sites!r:.100}")
        if self.task_seconds is not None and not _is_task_time(self.task_seconds):
            raise InvalidMessage(
                f"a task may take between 0 and {_MAX_TASK_SECONDS:.0f} seconds",
                why=f"{self.task_seconds!r:.100}",
            )
        if not _whole(self.created, 0, _MAX_TIME) or not _whole(self.expires, 0, _MAX_TIME):
            raise InvalidMessage("times are whole seconds since the epoch")
        if self.expires <= self.created:
            raise InvalidMessage("the request expires before it was made")
        if not isinstance(self.site_files, bool):
            raise InvalidMessage("a request asks for sites' files, or does not: true or false")

    def to_predicate(self) -> dict[str, Any]:
        """Everything but the bundle, which is the statement's subject."""
        seconds = self.task_seconds
        return {
            "project": self.project,
            "name": self.name,
            "submitter": self.submitter,
            "sites": list(self.sites),
            "datasets": list(self.datasets),
            "minSites": self.min_sites,
            "config": write_config(self.config),
            "taskSeconds": None if seconds is None else repr(float(seconds)),
            "recipient": self.recipient,
            "created": self.created,
            "expires": self.expires,
            "nonce": self.nonce,
            "enclave": self.enclave,
            "siteFiles": self.site_files,
        }

    @classmethod
    def from_predicate(cls, bundle: str, predicate: Mapping[str, Any]) -> Self:
        """Raises :class:`InvalidMessage` for anything that :meth:`to_predicate` does not write."""
        try:
            seconds, config = predicate["taskSeconds"], predicate["config"]
            request = cls(
                project=predicate["project"],
                bundle=bundle,
                name=predicate["name"],
                submitter=predicate["submitter"],
                sites=_texts(predicate["sites"]),
                datasets=_texts(predicate["datasets"]),
                min_sites=predicate["minSites"],
                config={key: read_scalar(value) for key, value in config.items()},
                task_seconds=None if seconds is None else float(seconds),
                recipient=predicate["recipient"],
                created=predicate["created"],
                expires=predicate["expires"],
                nonce=predicate["nonce"],
                enclave=predicate["enclave"],
                site_files=predicate["siteFiles"],
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InvalidMessage("not a job's request", why=repr(error)[:200]) from error
        # Every field, no other, and each as we would write it.
        if rfc8785.dumps(request.to_predicate()) != rfc8785.dumps(dict(predicate)):
            raise InvalidMessage("not a job's request", why="its fields are not written as ours")
        return request


def _check_size(config: Mapping[str, Scalar]) -> None:
    try:
        size = len(rfc8785.dumps(write_config(config)))
    except ValueError as error:  # text that is no Unicode
        raise InvalidMessage("a setting cannot be written", why=str(error)[:100]) from error
    if size > _MAX_CONFIG_BYTES:
        raise InvalidMessage(
            "the settings are too large", why=f"{size} bytes, at most {_MAX_CONFIG_BYTES}"
        )


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > _MAX_NAMES:
        raise TypeError(f"not a list of at most {_MAX_NAMES} names")
    return tuple(value)


def _whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_task_time(value: object) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and 0 < value <= _MAX_TASK_SECONDS
    )
