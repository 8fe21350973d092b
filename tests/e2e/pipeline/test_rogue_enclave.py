"""Whoever runs the gateway enrols an enclave of its own: stock software, and nobody's updates.

Its own project file lists the members as they are, and where it wants one recipient more.
"""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable
from typing import Any

import pytest
import tomli_w

from fedgate.codes import Code
from fedgate_gateway.link.terms import fingerprint
from fedgate_gateway.sealed import RecipientKey

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def bench(make_bench: Callable[..., Any], make_workload: Any) -> Any:
    made = make_bench(sites=2)
    made.archive = make_workload(rounds=1)
    return made


class Rogue:
    """An enclave host that the gateway lets in under ``name``.

    ``recipient`` stands in its project file in addition; ``stolen`` gives it the enclave's own
    identity key, as an operator has it who edits a project file.
    """

    def __init__(
        self, bench: Any, name: str, *, recipient: RecipientKey | None = None, stolen: bool = False
    ) -> None:
        from fedgate_gateway.cli.client import Client
        from fedgate_gateway.cli.profile import load_profile
        from fedgate_gateway.dev.program import Program
        from fedgate_gateway.pki.enrol import enrol

        self._bench, self._name, layout = bench, name, bench.federation.layout
        folder = bench.folder / f"rogue-{name}{'-stolen' * stolen}"
        state = folder / "state"
        state.mkdir(parents=True, mode=0o700)
        project = tomllib.loads(layout.project.read_text())
        if recipient is not None:
            project["recipients"].append(fingerprint(recipient.public_raw))
        if stolen:
            shutil.copy2(layout.state(name) / "identity.key", state)
        (folder / "demo.toml").write_text(tomli_w.dumps(project))
        config = tomllib.loads(layout.enclave.read_text())
        config |= {"name": name, "data": "state", "projects": ["demo.toml"]}
        (folder / "enclave.toml").write_text(tomli_w.dumps(config))
        with Client(load_profile(layout.admin_profile)) as admin:
            token = admin.invite("enclave", name)["token"]
        enrol(bench.federation.profile.api, token, "enclave", name, state)
        arguments = ["enclave", "--config", str(folder / "enclave.toml")]
        self.program = Program(f"rogue-{name}", arguments, layout.log(f"rogue-{name}"))

    def run(self) -> tuple[dict[str, Any], str]:
        """A job that the gateway gives to this enclave, and the job's id."""
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
    assert bench.wait(job)["state"] == "denied"
    for site in bench.federation.client.job(job)["sites"]:
        assert "recipient key is not one of the project's" in site["reason"]
