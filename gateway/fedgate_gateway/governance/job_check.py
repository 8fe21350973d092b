"""Is this job what its submitter signed? Every verifier asks by itself, field by field."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from fedgate.codes import Code
from fedgate.errors import Denied, InvalidMessage
from fedgate.notice import Notice
from fedgate.task import Scalar
from fedgate_gateway.governance.scalars import same_config
from fedgate_gateway.governance.signed_request import SignedRequest
from fedgate_gateway.governance.title import title_of


def check_job(
    signed: SignedRequest,
    *,
    project: str,
    bundle: str,
    name: str,
    submitter: str,
    sites: Sequence[str],
    datasets: Sequence[str],
    min_sites: int,
    config: Mapping[str, Scalar],
    task_seconds: float | None,
    recipient_fingerprint: str,
    members: Collection[str],
    workload_name: str,
    workload_min_sites: int,
) -> None:
    """Raises :class:`Denied` with the first field that differs from what was signed.

    ``members`` are the sites of the verifier's own project file; ``workload_name`` and
    ``workload_min_sites`` are what the verifier itself read in the bundle, or what its project asks
    for where that is more. They hold where the submitter left sites, name or minimum open.
    ``task_seconds`` None and 0 both say: no own limit.
    """
    asked = signed.request
    for what, job, wanted in (
        ("project", project, asked.project),
        ("bundle", bundle, asked.bundle),
        ("submitter", submitter, asked.submitter),
        ("name", name, title_of(asked.name, workload_name)),
        ("datasets", tuple(datasets), asked.datasets),
        ("recipient", recipient_fingerprint, asked.recipient),
        ("task_seconds", float(task_seconds or 0), float(asked.task_seconds or 0)),
        (
            "min_sites",
            min_sites,
            workload_min_sites if asked.min_sites is None else asked.min_sites,
        ),
    ):
        if job != wanted:
            raise _differs(what, f"{wanted!r:.200}", f"{job!r:.200}")
    if not _same(config, asked.config):
        raise _differs("config", *_settings(asked.config, config))
    allowed = set(asked.sites or members)
    strangers = [site for site in sites if site not in allowed]
    if strangers or len(set(sites)) != len(sites):
        raise _differs("sites", ", ".join(sorted(allowed))[:200], ", ".join(sites)[:200])
    if len(sites) < min_sites:
        raise _differs("sites", f"at least {min_sites}", str(len(sites)))


def _same(one: Mapping[str, Scalar], other: Mapping[str, Scalar]) -> bool:
    try:
        return same_config(one, other)
    except (InvalidMessage, ValueError):  # what cannot be written was never signed
        return False


def _settings(signed: Mapping[str, Scalar], job: Mapping[str, Scalar]) -> tuple[str, str]:
    """The first setting that differs, in both."""
    for key in sorted({*signed, *job}):
        one = {key: signed[key]} if key in signed else {}
        other = {key: job[key]} if key in job else {}
        if not _same(one, other):
            return f"{one!r:.200}", f"{other!r:.200}"
    return "the same", "the same"


def _differs(what: str, signed: str, job: str) -> Denied:
    return Denied(
        f"the job is not what its submitter signed: {what}",
        why=f"signed was {signed}, the job has {job}",
        remedy="somebody between submitter and site changed the job; do not run it",
        notice=Notice(Code.REQUEST_CHANGED),
        about=(what,),
    )
