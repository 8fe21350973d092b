"""A project: who is in it, and what may leave its enclave.

Enclaves and sites each hold their own copy of this file; the gateway's copy is never trusted by
them. The roster of identity keys stands here until a charter signed by the members replaces it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Annotated, Literal, Self

import rfc8785
from pydantic import Field, field_validator, model_validator

from fedgate.bundle import MIB
from fedgate.codes import Code
from fedgate.errors import Denied
from fedgate.notice import Notice
from fedgate_gateway.config.base import Section

Output = Literal["model", "artifacts", "logs", "metrics"]
#: What the name of a metric that is shown in clear looks like.
METRIC_NAME = r"^[A-Za-z][A-Za-z0-9_./-]{0,63}$"


class Member(Section):
    #: Its Ed25519 public key, base64 of the raw 32 bytes.
    identity: str

    @field_validator("identity")
    @classmethod
    def _is_a_key(cls, text: str) -> str:
        try:
            raw = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError(f"an identity is base64 of 32 bytes: {error}") from None
        if len(raw) != 32:
            raise ValueError(f"an identity is base64 of 32 bytes, not of {len(raw)}")
        if base64.b64encode(raw).decode() != text:  # one key, one spelling
            raise ValueError("an identity is base64 of 32 bytes, without stray bits at its end")
        return text

    @property
    def public_raw(self) -> bytes:
        return base64.b64decode(self.identity)


class Release(Section):
    """What the release gate lets out of the enclave, and how."""

    #: "sealed": encrypted to the submitter's key; "clear": stored plain at the gateway.
    model: Literal["sealed", "clear"] = "sealed"
    #: Files that the server side left in its working directory.
    artifacts: Literal["sealed", "clear", "never"] = "sealed"
    #: The coordinator's output.
    logs: Literal["clear", "sealed", "never"] = "sealed"
    #: Numbers of rounds. "sealed": an output for the submitter; "clear": as well, those of
    #: `metric_names` are events of the job and stand in the audit log.
    metrics: Literal["clear", "sealed", "never"] = "sealed"
    #: Names whose values are shown with metrics = "clear". A workload chooses the values: whoever
    #: sees them can be told anything in them.
    metric_names: tuple[Annotated[str, Field(pattern=METRIC_NAME)], ...] = Field(
        default=(), max_length=64
    )
    #: Files that workers left at their sites, where the signed request asks for them and a site's
    #: own policy permits it. "one-site-sealed": those of each site by themselves, sealed to the
    #: submitter. No cohort stands behind them, whatever `minimum_cohort` says: each archive is one
    #: site's own, and can hold all that its worker may read. Never in clear.
    site_files: Literal["never", "one-site-sealed"] = "never"
    #: Nothing leaves that fewer sites than this stand behind: those that answered in the smallest
    #: round that it can hold. No job may go on with fewer sites either.
    minimum_cohort: int = Field(default=1, ge=1)
    #: Another number for one kind of output; none: `minimum_cohort`. Artifacts and the log can hold
    #: any answer of any site, so 1 accepts, for workloads that ask one site at a time (first
    #: parameters, cross-site evaluation), that one site's answer leaves in them.
    artifacts_minimum_cohort: int | None = Field(default=None, ge=1)
    #: The same of the log.
    logs_minimum_cohort: int | None = Field(default=None, ge=1)
    #: Of a metric: the sites that reported it, in its round.
    metrics_minimum_cohort: int | None = Field(default=None, ge=1)
    #: When fewer sites are left than a running job needs, `minimum_cohort` at least: "stop", or
    #: "wait" for sites to come back. Their tasks are sent again; meanwhile the coordinator does not
    #: hear that they are away, and an enclave keeps the models of their tasks.
    below_cohort: Literal["stop", "wait"] = "stop"
    #: How long a job waits for them until it stops.
    cohort_wait_seconds: float = Field(default=600, gt=0, le=7 * 24 * 3600)
    #: The largest archive of artifacts; beyond it the job fails. Frameworks may leave their model
    #: there as well.
    artifact_bytes: int = Field(default=1024 * 1024 * 1024, ge=0)
    #: The largest archive of one site's files; beyond it the site keeps them.
    site_file_bytes: int = Field(default=256 * MIB, ge=0, le=1024 * MIB)
    #: How much of the log is released.
    log_bytes: int = Field(default=8 * 1024 * 1024, ge=0)

    @property
    def seals(self) -> bool:
        """Is anything sealed to the submitter's key?"""
        kinds = (self.model, self.artifacts, self.logs, self.metrics)
        return "sealed" in kinds or self.site_files != "never"

    def in_clear(self) -> tuple[str, ...]:
        """Of model, artifacts, logs and metrics those that whoever has the gateway can read."""
        rules = {name: getattr(self, name) for name in ("model", "artifacts", "logs", "metrics")}
        return tuple(name for name, rule in rules.items() if rule == "clear")

    def minimum(self, output: Output) -> int:
        """Sites that must stand behind an output of this kind."""
        own: int | None = None if output == "model" else getattr(self, f"{output}_minimum_cohort")
        return self.minimum_cohort if own is None else own

    @property
    def least_sites(self) -> int:
        """Sites without which nothing could leave that this project releases: a job's least."""
        kinds: tuple[Output, ...] = ("model", "artifacts", "logs", "metrics")
        return max(self.minimum(kind) for kind in kinds if getattr(self, kind) != "never")


class ProjectConfig(Section):
    #: As jobs name it.
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    #: Sites by name.
    members: Mapping[str, Member]
    #: Enclave hosts of the project by name; they sign what they release with this identity.
    enclaves: Mapping[str, Member] = {}
    #: The rules of the release gate.
    release: Release = Release()
    #: Keys that sealed outputs may be sealed to: "sha256:<hex>" of the raw public key. The gateway
    #: passes a submitter's key on, so it could pass on its own; this list is what prevents that.
    recipients: tuple[str, ...] = ()
    #: Who may ask for jobs, by the name that stands in them; each signs its whole request with
    #: this key (`fedgate profile init` makes one, and prints it).
    submitters: Mapping[str, Member] = {}
    #: Gateways whose own signature counts as a request in this project, by any name. A gateway
    #: signs what comes in by its front doors, and nobody can tell what its user really asked for:
    #: whoever is listed here may choose bundle, settings and submitter. None unless listed.
    gateways: Mapping[str, Member] = {}

    @model_validator(mode="after")
    def _each_signer_is_one(self) -> Self:
        listed = [*self.submitters.items(), *self.gateways.items()]
        for number, (name, member) in enumerate(listed):
            for other, known in listed[:number]:
                if known.identity == member.identity:
                    raise ValueError(f"{other} and {name} have the same key; each needs its own")
        return self

    @model_validator(mode="after")
    def _has_a_digest(self) -> Self:
        try:
            self.digest()
        except rfc8785.CanonicalizationError as error:
            raise ValueError(f"it has no canonical form: {error}") from None
        return self

    def parts(self) -> dict[str, str]:
        """Each top-level part of the file -> "sha256:<hex>" of its canonical JSON (RFC 8785).

        Of what was parsed: comments, the order of keys and spelled-out defaults do not count, and
        every setting does, also one that a later release adds.
        """
        fields = self.model_dump(mode="json")
        return {name: _digest(rfc8785.dumps(value)) for name, value in fields.items()}

    def digest(self) -> str:
        """The same of the whole file: equal only where every part is."""
        return _digest(rfc8785.dumps(self.model_dump(mode="json")))

    def roster(self) -> dict[str, bytes]:
        """Site name -> raw identity key."""
        return {name: member.public_raw for name, member in self.members.items()}

    def submitter_keys(self) -> dict[str, bytes]:
        """Submitter -> raw key that signs its requests."""
        return {name: member.public_raw for name, member in self.submitters.items()}

    def gateway_keys(self) -> dict[str, bytes]:
        """Gateway -> raw key that signs requests of its front doors."""
        return {name: member.public_raw for name, member in self.gateways.items()}

    def enclave_identity(self, name: str) -> bytes:
        """The raw identity key of an enclave; raises :class:`Denied` for one that is not listed."""
        enclave = self.enclaves.get(name)
        if enclave is None:
            raise Denied(
                f"{name!r} is not an enclave of project {self.name}",
                why=f"the project file lists {', '.join(sorted(self.enclaves)) or 'none'}",
                remedy="add it and its identity key under [enclaves], at every member",
                notice=Notice(Code.UNKNOWN_ENCLAVE),
            )
        return enclave.public_raw


def _digest(canonical: bytes) -> str:
    return "sha256:" + hashlib.sha256(b"fedgate project v1\0" + canonical).hexdigest()
