"""Errors of our own: what happened, why, and what to do about it.

Every failure that reaches a person or crosses a process boundary is a :class:`FedgateError`.
Foreign exceptions are wrapped at the boundary where they appear. Its text may hold anything, so
it stays where it was raised or goes sealed; what everybody may hear is its notice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from fedgate.notice import Notice


class FedgateError(Exception):
    """A failure with a cause and a remedy.

    ``code`` is stable and machine readable; ``exit_code`` is what the CLI ends with; ``status``
    is the HTTP status of the problem document the API answers with. ``notice`` is what may be said
    in public; without one only the class's code is (:func:`fedgate.notice.public`). ``about`` holds
    names that it speaks of; only a site's answer in review tells them, to who has seen the bundle.
    """

    code: ClassVar[str] = "internal"
    exit_code: ClassVar[int] = 70
    status: ClassVar[int] = 500

    def __init__(
        self,
        what: str,
        *,
        why: str = "",
        remedy: str = "",
        notice: Notice | None = None,
        about: Sequence[str] = (),
    ) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.remedy = remedy
        self.notice = notice
        self.about = tuple(about)

    def __str__(self) -> str:
        text = self.what
        if self.why:
            text += f": {self.why}"
        if self.remedy:
            text += f" ({self.remedy})"
        return text

    def to_dict(self) -> dict[str, str]:
        return {"code": self.code, "what": self.what, "why": self.why, "remedy": self.remedy}


class InvalidBundle(FedgateError):
    """The submitted archive or directory cannot be a workload."""

    code, exit_code, status = "invalid-bundle", 65, 422


class BundleTooLarge(InvalidBundle):
    code, exit_code, status = "bundle-too-large", 65, 413


class UnknownFramework(InvalidBundle):
    code, exit_code, status = "unknown-framework", 65, 422


class UnsupportedVersion(InvalidBundle):
    code, exit_code, status = "unsupported-version", 65, 422


class InspectionFailed(InvalidBundle):
    """Reading a bundle took more time or memory than it may, or ended the process that read it."""

    code, exit_code, status = "inspection-failed", 65, 422


class InvalidModel(FedgateError):
    """Bytes that claim to be a model are not a valid one."""

    code, exit_code, status = "invalid-model", 65, 422


class InvalidMessage(FedgateError):
    """A message that crossed a trust boundary is malformed or too large."""

    code, exit_code, status = "invalid-message", 65, 400


class InvalidConfig(FedgateError):
    code, exit_code, status = "invalid-config", 78, 400


class InvalidTransition(FedgateError):
    code, exit_code, status = "invalid-transition", 70, 409


class WorkloadFailed(FedgateError):
    """The user's own code raised or ended abnormally."""

    code, exit_code, status = "workload-failed", 1, 500


class AllTasksFailed(WorkloadFailed):
    """Not one site answered one task."""

    code = "all-tasks-failed"


class AdapterFailed(FedgateError):
    """An adapter raised something that is not one of our errors."""

    code, exit_code, status = "adapter-failed", 70, 500


class PluginUnavailable(FedgateError):
    code, exit_code, status = "plugin-unavailable", 69, 503


class Denied(FedgateError):
    """Policy says no."""

    code, exit_code, status = "denied", 77, 403


class Unauthenticated(FedgateError):
    code, exit_code, status = "unauthenticated", 77, 401


class NotFound(FedgateError):
    code, exit_code, status = "not-found", 66, 404


class Conflict(FedgateError):
    code, exit_code, status = "conflict", 73, 409


class Unavailable(FedgateError):
    """A peer or a service that is needed now is not there."""

    code, exit_code, status = "unavailable", 69, 503


class DeadlineExceeded(FedgateError):
    code, exit_code, status = "deadline-exceeded", 75, 504


class LimitReached(FedgateError):
    """A share is used up: that of the kind of holder in ``limit``; ``retry_after`` in seconds."""

    code, exit_code, status = "limit-reached", 75, 429

    def __init__(
        self, what: str, *, why: str = "", remedy: str = "", limit: str = "", retry_after: int = 5
    ) -> None:
        super().__init__(what, why=why, remedy=remedy)
        self.limit = limit
        self.retry_after = retry_after


class SealBroken(FedgateError):
    """An envelope or cargo failed authentication, order or size checks."""

    code, exit_code, status = "seal-broken", 76, 400


class EvidenceRejected(FedgateError):
    """Attestation evidence did not appraise."""

    code, exit_code, status = "evidence-rejected", 76, 403


def _all_errors(cls: type[FedgateError]) -> Mapping[str, type[FedgateError]]:
    """Code -> the class that introduced it; a subclass that inherits its code does not take it."""
    found = {cls.code: cls}
    for sub in cls.__subclasses__():
        for code, kind in _all_errors(sub).items():
            found.setdefault(code, kind)
    return found


def error_from_dict(data: Mapping[str, Any]) -> FedgateError:
    """The inverse of :meth:`FedgateError.to_dict`; unknown codes become plain FedgateErrors."""
    kind = _all_errors(FedgateError).get(str(data.get("code")), FedgateError)
    return kind(
        str(data.get("what", "unknown failure")),
        why=str(data.get("why", "")),
        remedy=str(data.get("remedy", "")),
    )
