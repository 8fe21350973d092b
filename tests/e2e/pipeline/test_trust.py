"""A gateway changes what a submitter asked for, or brings an enclave of its own: nobody takes part.

Everything that a submitter chooses is signed, and each site and the enclave compare the gateway's
description with that. An enclave is known by the project file: stock software that whoever runs the
gateway enrols, under a name that no project file lists or with a key of its own, gets nothing.
"""

from __future__ import annotations

import base64
import shutil
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedgate.codes import Code
from fedgate.errors import Unavailable
from fedgate_gateway.cli.signing import sign_submission
from fedgate_gateway.governance import read_unverified, sign_request
from fedgate_gateway.link.terms import fingerprint
from fedgate_gateway.sealed import RecipientKey

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
CHOSEN = {"config": {"pause": 0.001}, "min_sites": 2, "task_seconds": 20.0}


def waiting(folder: Path) -> None:
    """Its jobs wait for sites that are away, which is known soon."""
    enclave, project = folder / "enclave.toml", folder / "projects" / "demo.toml"
    enclave.write_text(f"grace_seconds = 0.2\n{enclave.read_text()}")
    rule = 'below_cohort = "wait"\nminimum_cohort = 2'
    project.write_text(project.read_text().replace("minimum_cohort = 2", rule, 1))


@pytest.fixture(scope="module")
def bench(make_bench: Callable[..., Any], make_workload: Any) -> Any:
    made = make_bench(sites=2, gateway="hostile_gateway", edit=waiting)
    made.archive = make_workload(rounds=1)
    return made


def test_a_job_waits_for_a_site_without_which_no_model_could_leave(
    bench: Any, make_workload: Any, tmp_path: Path
) -> None:
    hold = tmp_path / "go-on"
    job = bench.submit(make_workload(rounds=2, hold=str(hold)))
    bench.training(job)
    agent = bench.federation.programs["site-2"]
    agent.kill()
    bench.until(
        lambda: not {s["name"]: s["online"] for s in bench.federation.client.sites()}["site-2"], 60
    )
    agent.start()
    hold.touch()
    ended = bench.wait(job, 90)
    assert ended["state"] == "succeeded", ended
    finished = [e["data"] for e in bench.audit(job, "round.finished")]
    assert [sorted(r["answered"]) for r in finished] == [["site-1", "site-2"]] * 4
    (released,) = bench.audit(job, "released")
    assert released["data"]["cohort"] == ["site-1", "site-2"]


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def require_declined(bench: Any, job: str, because: str) -> None:
    """By each site that had answered when there were too few left."""
    assert bench.wait(job)["state"] == "denied"
    sites = bench.federation.client.job(job)["sites"]
    reasons = [site["reason"] for site in sites if site["decision"] == "denied"]
    assert reasons
    assert all(because in reason for reason in reasons), reasons
    entries = bench.federation.client.audit_entries(job=job, limit=1000)["entries"]
    assert "pause" not in str(entries)  # what a setting was, and is now, is told to nobody


LIES = {
    "config": '{"pause": 0.0}',
    "datasets": ["secrets"],
    "submitter": "somebody that policies trust",
    "min_sites": 1,
    "task_seconds": 9.0,
    "name": "another title",
    "recipient": encoded(RecipientKey.generate().public_raw),
}


def said(field: str) -> tuple[str, str]:
    """What a site says of it in review, and what everybody may hear of it at the start."""
    if field == "recipient":
        return ("recipient key is not one of the project's",) * 2
    return f"not what its submitter signed: {field}", "not what its submitter signed"


@pytest.mark.parametrize("field", LIES)
def test_a_job_that_the_gateway_changed_is_declined_by_each_site(bench: Any, field: str) -> None:
    bench.order(spec={"offer": {field: LIES[field]}})
    job = bench.submit(bench.archive, **CHOSEN)
    require_declined(bench, job, said(field)[0])


@pytest.mark.parametrize("field", LIES)
def test_a_job_that_the_gateway_changes_after_review_starts_nowhere(bench: Any, field: str) -> None:
    bench.order(spec={"start": {field: LIES[field]}})
    require_refused_at_the_start(bench, bench.submit(bench.archive, **CHOSEN), said(field)[1])


def test_a_job_that_the_gateway_changes_for_its_sites_alone_is_run_by_none(bench: Any) -> None:
    """The enclave runs what was signed; each site compares its own part once more as it joins."""
    bench.order(spec={"join": {"config": LIES["config"]}})
    job = bench.submit(bench.archive, **CHOSEN)
    assert bench.wait(job)["state"] == "failed"
    assert set(refusals(bench, job).values()) == {Code.REQUEST_CHANGED}
    assert bench.audit(job, "session.opened") == []


def require_refused_at_the_start(bench: Any, job: str, because: str) -> None:
    ended = bench.wait(job)
    assert ended["state"] == "failed"
    assert because in ended["reason"], ended
    assert bench.audit(job, "session.opened") == []
    assert {o["kind"] for o in bench.federation.client.outputs(job)} <= {"log"}  # why, sealed


def signed(bench: Any, **options: Any) -> bytes:
    """An envelope of the developer's, for the same workload."""
    from fedgate_gateway.dev.files import recipient_key

    recipient = recipient_key(bench.federation.layout).public_raw
    made = sign_submission(
        bench.federation.profile, bench.archive, recipient=recipient, **{**CHOSEN, **options}
    )
    return bytes(made.envelope)


def by_a_stranger(bench: Any) -> bytes:
    """The right content, by a key that the project does not list."""
    request = read_unverified(signed(bench)).request
    return sign_request(request, Ed25519PrivateKey.generate())


@pytest.mark.parametrize(
    ("other", "because"),
    [
        (lambda bench: signed(bench, config={"pause": 0.002}), "submitter signed: config"),
        (lambda bench: signed(bench, valid_seconds=1), "has expired"),
        (by_a_stranger, "not signed by anybody whom the project lists"),
    ],
    ids=["of another job", "expired", "by a stranger"],
)
def test_another_envelope_does_not_do(
    bench: Any, other: Callable[[Any], bytes], because: str
) -> None:
    envelope = other(bench)
    expires = read_unverified(envelope).request.expires
    if because == "has expired":
        bench.until(lambda: time.time() >= expires)
    bench.order(spec={"offer": {"request": encoded(envelope)}})
    job = bench.submit(bench.archive, **CHOSEN)
    require_declined(bench, job, because)


def test_a_signed_request_runs_once(bench: Any) -> None:
    """Under another job's id it is refused by sites in review, and later by the enclave as well."""
    envelope = signed(bench)
    bench.order(
        spec={"offer": {"request": encoded(envelope)}, "start": {"request": encoded(envelope)}}
    )
    first = bench.submit(bench.archive, **CHOSEN)
    assert bench.wait(first)["state"] == "succeeded", bench.job(first)
    second = bench.submit(bench.archive, **CHOSEN)
    require_declined(bench, second, "has been run already")
    bench.order(spec={"start": {"request": encoded(envelope)}})
    third = bench.submit(bench.archive, **CHOSEN)
    require_refused_at_the_start(bench, third, "has been run already")


def test_an_honest_job_is_none_the_worse(bench: Any) -> None:
    bench.order()
    job = bench.submit(bench.archive, **CHOSEN)
    assert bench.wait(job)["state"] == "succeeded", bench.job(job)


# -- an enclave of the gateway's own ---------------------------------------------------------------


def enrol_enclave(bench: Any, name: str, state: Path) -> None:
    from fedgate_gateway.cli.client import Client
    from fedgate_gateway.cli.profile import load_profile
    from fedgate_gateway.pki.enrol import enrol

    with Client(load_profile(bench.federation.layout.admin_profile)) as admin:
        token = admin.invite("enclave", name)["token"]
    enrol(bench.federation.profile.api, token, "enclave", name, state)


class Rogue:
    """An enclave host that the gateway lets in under ``name``.

    ``recipient`` stands in its project file in addition; ``stolen`` gives it the enclave's own
    identity key, as an operator has it who edits a project file.
    """

    def __init__(
        self, bench: Any, name: str, *, recipient: RecipientKey | None = None, stolen: bool = False
    ) -> None:
        from fedgate_gateway.dev.program import Program
        from fedgate_gateway.link.client import load_identity

        self._bench, self._name, layout = bench, name, bench.federation.layout
        folder = bench.folder / f"rogue-{name}{'-stolen' * stolen}"
        state = folder / "state"
        state.mkdir(parents=True, mode=0o700)
        project = tomllib.loads(layout.project.read_text())
        project["enclaves"] = {name: next(iter(project["enclaves"].values()))}
        if recipient is not None:
            project["recipients"].append(fingerprint(recipient.public_raw))
        if stolen:
            shutil.copy2(layout.state(name) / "identity.key", state)
        (folder / "demo.toml").write_text(tomli_w.dumps(project))
        config = tomllib.loads(layout.enclave.read_text())
        config |= {"name": name, "data": "state", "projects": ["demo.toml"]}
        (folder / "enclave.toml").write_text(tomli_w.dumps(config))
        enrol_enclave(bench, name, state)
        self.project = folder / "demo.toml"
        self.identity = encoded(load_identity(state).public_raw)
        arguments = ["enclave", "--config", str(folder / "enclave.toml")]
        self.program = Program(f"rogue-{name}", arguments, layout.log(f"rogue-{name}"))

    def run(self) -> tuple[dict[str, Any], str]:
        """A job that the gateway gives to this enclave, and the job's id."""
        self._bench.order()
        self._bench.federation.programs["enclave-1"].stop()
        self.program.start()
        client = self._bench.federation.client
        try:
            self._bench.until(
                lambda: any(e["name"] == self._name and e["online"] for e in client.enclaves())
            )
            job = self._bench.submit(self._bench.archive)
            return self._bench.wait(job), job
        finally:
            self.program.stop()


def refusals(bench: Any, job: str) -> dict[str, str]:
    """Why each site refused, from its own entries in the log."""

    def told() -> dict[str, str]:
        found = bench.audit(job, "site.refused")
        return {e["actor"].removeprefix("site:"): e["data"]["code"] for e in found}

    return dict(bench.until(lambda: len(t := told()) == 2 and t))


def require_nothing_sent(bench: Any, rogue: Rogue, because: Code) -> None:
    ended, job = rogue.run()
    assert ended["state"] == "failed"
    assert set(refusals(bench, job).values()) == {because}
    assert bench.audit(job, "session.opened") == []


def test_an_enclave_that_no_project_file_knows_gets_nothing(bench: Any) -> None:
    rogue = Rogue(bench, "rogue", recipient=RecipientKey.generate())
    require_nothing_sent(bench, rogue, Code.UNKNOWN_ENCLAVE)


def test_an_enclave_under_a_known_name_with_another_key_gets_nothing(bench: Any) -> None:
    require_nothing_sent(bench, Rogue(bench, "enclave-1"), Code.WRONG_SIGNER)


def test_an_enclave_whose_project_file_lists_one_recipient_more_gets_nothing(bench: Any) -> None:
    rogue = Rogue(bench, "enclave-1", recipient=RecipientKey.generate(), stolen=True)
    require_nothing_sent(bench, rogue, Code.OTHER_PROJECT_FILE)


def test_a_recipient_that_no_project_file_knows_is_declined_by_each_site(bench: Any) -> None:
    job = bench.submit(bench.archive, recipient=RecipientKey.generate().public_raw)
    require_declined(bench, job, "recipient key is not one of the project's")


def test_a_signed_request_is_one_job_also_where_a_project_has_two_enclaves(bench: Any) -> None:
    """Each of them, and each site, would find one job, as it was signed. It restarts everybody."""
    federation, layout = bench.federation, bench.federation.layout
    second = Rogue(bench, "enclave-2")
    project = tomllib.loads(layout.project.read_text())
    project["enclaves"]["enclave-2"] = {"identity": second.identity}
    project["release"]["minimum_cohort"] = 1
    for path in (layout.project, second.project):
        path.write_text(tomli_w.dumps(project))
    told = layout.gateway.read_text()
    layout.gateway.write_text(told.replace("minimum_cohort = 2", "minimum_cohort = 1"))
    for site in federation.sites:  # their policies want two sites in a job
        policy = layout.policy(site)
        policy.write_text("permit (principal, action, resource);")
    enrol_enclave(bench, "enclave-1", layout.state("enclave-1"))  # others had its place above
    restarted = [federation.programs[name] for name in ("gateway", "enclave-1", *federation.sites)]
    for program in reversed(restarted):
        program.stop()
    for program in restarted:
        program.start()

    def online() -> bool:
        try:
            return all(site["online"] for site in federation.client.sites())
        except Unavailable:  # the gateway starts
            return False

    bench.until(online)
    envelope = encoded(signed(bench, min_sites=1, enclave="enclave-1"))
    other = {**CHOSEN, "min_sites": 1}

    lie = {"request": envelope, "min_sites": 1}
    bench.order(spec={"offer": lie, "start": {**lie, "sites": ["site-1"]}})
    first = bench.submit(bench.archive, **other)
    bench.wait(first)
    (opened,) = bench.audit(first, "session.opened")
    assert opened["data"]["site"] == "site-1"
    federation.programs["enclave-1"].stop()
    second.program.start()
    try:
        bench.order(spec={"offer": lie, "start": lie})
        again = bench.submit(bench.archive, **other)
        require_refused_at_the_start(bench, again, "not what its submitter signed")
    finally:
        second.program.stop()
