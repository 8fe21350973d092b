"""Whether a site takes part in a job: its own reading of the bundle, and its own policy."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from fedgate import plugins
from fedgate.bundle import digest_of
from fedgate.codes import Code
from fedgate.errors import Denied, InvalidBundle, NotFound
from fedgate.guard_rules import missing_lines
from fedgate.job import SERIES
from fedgate.manifest import Manifest
from fedgate.notice import Notice
from fedgate_gateway.attestation import Claims
from fedgate_gateway.child.dependencies import choose_runtime
from fedgate_gateway.config import ProjectConfig, Runtime, SiteConfig
from fedgate_gateway.governance import SignedRequest
from fedgate_gateway.inspection import Inspects
from fedgate_gateway.link.request_book import RequestBook
from fedgate_gateway.link.review_answer import KEEPS_FILES
from fedgate_gateway.link.signed_job import verify_enclave, verify_job, verify_signature
from fedgate_gateway.link.spec import Spec
from fedgate_gateway.link.terms import check_recipient
from fedgate_gateway.policy import (
    Decision,
    EvidenceFacts,
    FileFacts,
    JoinRequest,
    Policy,
    ReleaseFacts,
    WorkloadFacts,
    decide_join,
    decide_release,
)
from fedgate_gateway.sandbox.choose import GROUP as SANDBOXES
from fedgate_gateway.site.series import series_of

#: What would let a worker's files go, in a policy.
_LINE = 'permit (principal, action == Action::"release_files", resource);'


@dataclass(frozen=True)
class Examined:
    """A bundle that this site fetched, checked against its digest, and had read itself."""

    archive: bytes
    manifest: Manifest
    #: The site's runtime, with an interpreter that has what the bundle depends on.
    runtime: Runtime


async def examine(spec: Spec, archive: bytes, config: SiteConfig, inspector: Inspects) -> Examined:
    """Raises :class:`InvalidBundle` when the gateway delivered anything but what it announced, or
    what cannot be inspected, and :class:`Denied` when no interpreter of this site has what the
    workload depends on.
    """
    digest = await asyncio.to_thread(digest_of, archive)
    if digest != spec.bundle:
        raise InvalidBundle(
            "the gateway delivered another bundle",
            why=f"{digest}, not {spec.bundle}",
            notice=Notice(Code.OTHER_BUNDLE),
        )
    found = await inspector.inspect(archive, holder=spec.submitter)
    needed = (*found.requires, *found.manifest.dependencies)
    runtime = await asyncio.to_thread(choose_runtime, needed, config)
    return Examined(archive, found.manifest, runtime)


class Decider:
    """The site's rules, loaded once."""

    def __init__(self, config: SiteConfig, projects: dict[str, ProjectConfig]) -> None:
        self._config = config
        self._projects = projects
        self.policy = Policy.from_text(config.policy.read_text("utf-8"), str(config.policy.name))

    def project_files(self) -> dict[str, str]:
        """Name of each project -> digest of its file here."""
        return {name: project.digest() for name, project in self._projects.items()}

    def project(self, spec: Spec) -> ProjectConfig:
        project = self._projects.get(spec.project)
        if project is None:
            raise NotFound(
                f"site {self._config.name} is not in project {spec.project!r}",
                notice=Notice(Code.NO_SUCH_PROJECT),
            )
        outside = [s for s in spec.sites if s not in project.members]
        if outside or self._config.name not in spec.sites:
            raise Denied(
                "the job's sites are not the project's members",
                why=f"{spec.sites}",
                notice=Notice(Code.NOT_A_MEMBER),
            )
        check_recipient(project, spec.recipient)
        return project

    def signature(self, spec: Spec, book: RequestBook) -> SignedRequest:
        """What was signed, whatever of it the gateway tells; raises :class:`Denied`.

        A site that was restarted in the middle of a job comes back to it after the request's time
        as well: ``book`` says that it had begun. The enclave, which begins nothing after that time,
        must still run it.
        """
        project = self.project(spec)
        signed = verify_signature(spec, project, began=lambda digest: book.began(digest, spec.job))
        verify_enclave(signed, spec, project)
        return signed

    def before(self, spec: Spec, manifest: Manifest, signed: SignedRequest) -> Sequence[str]:
        """The reasons of a yes before any enclave is known, in the owner's sentences; raises
        :class:`Denied` for a no.

        Asked for each kind of evidence that this site trusts, in each sandbox that there is: one
        must do. The one that it becomes is asked about in :meth:`with_claims`.
        """
        verify_job(signed, spec, self.project(spec), manifest)
        self._check_guard(manifest)
        self._check_trainers(manifest)
        self._check_series(spec)
        self._check_resources(manifest)
        decisions = [
            self._decide(
                spec, manifest, signed, EvidenceFacts(kind, kind != "simulated", sandbox=sandbox)
            )
            for kind in self._config.evidence
            for sandbox in plugins.names(SANDBOXES)
        ]
        for decision in decisions:
            if decision.allowed:
                return (*decision.sentences, *self._files_before(spec, manifest, signed))
        if not decisions:
            raise Denied(
                f"site {self._config.name} trusts no kind of evidence",
                notice=Notice(Code.NO_EVIDENCE),
            )
        raise Denied(
            f"site {self._config.name} does not take part",
            why=decisions[0].why,
            remedy="see the site's policy, or ask its data owner",
            notice=Notice(Code.POLICY_FAILED if decisions[0].errors else Code.POLICY_DECLINES),
            about=decisions[0].sentences,
        )

    def _files_before(self, spec: Spec, manifest: Manifest, signed: SignedRequest) -> Sequence[str]:
        """A no to files that is sure already: whoever asks for them hears it beforehand."""
        if not signed.request.site_files:
            return ()
        enclaves = [
            EvidenceFacts(kind, kind != "simulated", sandbox=sandbox)
            for kind in self._config.evidence
            for sandbox in plugins.names(SANDBOXES)
        ]
        asked = [self.release_files(spec, manifest, signed, e, FileFacts()) for e in enclaves]
        if any(decision.allowed for decision in asked):
            return ()
        why = "; ".join(asked[0].sentences) or "its policy could not be evaluated"
        return (
            f"{KEEPS_FILES}: {why}",
            f"its owner can add to {self._config.policy.name}: {_LINE}",
        )

    def release_files(
        self,
        spec: Spec,
        manifest: Manifest,
        signed: SignedRequest,
        evidence: EvidenceFacts,
        found: FileFacts,
    ) -> Decision:
        """May the files that this site's worker left go to the submitter?"""
        return decide_release(self.policy, self._question(spec, manifest, signed, evidence), found)

    def _check_guard(self, manifest: Manifest) -> None:
        """A workload that would only fail later says beforehand what it cannot do without."""
        missing = missing_lines(manifest.guard, manifest.frames, self._config.guard.rules())
        if missing:
            raise Denied(
                f"the guard of site {self._config.name} does not let out what this workload needs",
                why=", ".join(missing)[:1000],
                remedy="its data owner can write these lines into site.toml",
                notice=Notice(Code.GUARD_CLOSED),
                about=missing,
            )

    def _check_series(self, spec: Spec) -> None:
        if series_of(spec.config) and not self._config.series_days:
            raise Denied(
                f"site {self._config.name} remembers nothing from one job to the next",
                why="series_days is 0",
                remedy=f"submit without {SERIES}, or ask its data owner",
                notice=Notice(Code.NO_SERIES),
            )

    def _check_resources(self, manifest: Manifest) -> None:
        """A job that needs a GPU finds out before it starts, and not from an error in its code."""
        have = self._config.resources
        short = [
            f"{name} = {amount:g} ({have[name]:g} declared)" if name in have
            else f"{name} = {amount:g} (not declared)"
            for name, amount in sorted(manifest.resources_of(self._config.name).items())
            if not amount <= have.get(name, 0)  # NaN is more than anybody has
        ]  # fmt: skip
        if short:
            raise Denied(
                f"site {self._config.name} does not have what the workload asks it for",
                why=", ".join(short)[:1000],
                remedy="ask for less, or its data owner can declare it under [resources]",
                notice=Notice(Code.LACKS_RESOURCES),
                about=short,
            )

    def _check_trainers(self, manifest: Manifest) -> None:
        if manifest.attaches and self._config.trainers is None:
            raise Denied(
                f"site {self._config.name} runs no trainers outside its sandbox",
                why="this workload waits for one to attach",
                remedy="its data owner can name a folder for them: trainers",
                notice=Notice(Code.NO_TRAINERS),
            )

    def with_claims(
        self, spec: Spec, manifest: Manifest, signed: SignedRequest, claims: Claims, sandbox: str
    ) -> Decision:
        """The same question with the evidence that was appraised, and the sandbox of the terms.

        Raises :class:`Denied`.
        """
        facts = EvidenceFacts(claims.kind, claims.hardware, claims.measurement, sandbox)
        decision = self._decide(spec, manifest, signed, facts)
        if not decision.allowed:
            raise Denied("this site's policy refuses the enclave", why=decision.why)
        return decision

    def _decide(
        self, spec: Spec, manifest: Manifest, signed: SignedRequest, evidence: EvidenceFacts
    ) -> Decision:
        return decide_join(self.policy, self._question(spec, manifest, signed, evidence))

    def _question(
        self, spec: Spec, manifest: Manifest, signed: SignedRequest, evidence: EvidenceFacts
    ) -> JoinRequest:
        project = self.project(spec)
        missing = [d for d in spec.datasets if d not in self._config.datasets]
        if missing:
            raise Denied(
                f"site {self._config.name} has no dataset {missing[0]!r}",
                notice=Notice(Code.LACKS_DATASET),
                about=missing,
            )
        rules = project.release
        labels = {label for d in spec.datasets for label in self._config.datasets[d].labels}
        return JoinRequest(
            project=spec.project,
            site=self._config.name,
            job=spec.job,
            submitter=spec.submitter,
            workload=WorkloadFacts.of(
                manifest,
                name=spec.name,
                bundle=spec.bundle,
                sites=spec.sites,
                min_sites=spec.min_sites,
                config=spec.config,
                task_seconds=spec.task_seconds,
                request=signed.digest,
                signed_by=signed.signed_by,
            ),
            evidence=evidence,
            release=ReleaseFacts.of(rules),
            datasets=spec.datasets,
            labels=tuple(sorted(labels)),
            site_files=signed.request.site_files,
        )
