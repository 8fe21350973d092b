"""Whoever runs the gateway enrols an enclave of its own: stock software, and nobody's updates.

Its own project file lists the members as they are, and one recipient more: the attacker's key.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from typing import Any

import pytest
import tomli_w

from fedgate_gateway.link.terms import fingerprint
from fedgate_gateway.sealed import RecipientKey

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def bench(make_bench: Callable[..., Any], make_workload: Any) -> Any:
    made = make_bench(sites=2)
    made.archive = make_workload(rounds=1)
    return made


class Rogue:
    """An enclave host under ``name`` that the gateway lets in, with a recipient of its own."""

    def __init__(self, bench: Any, name: str) -> None:
        from fedgate_gateway.cli.client import Client
        from fedgate_gateway.cli.profile import load_profile
        from fedgate_gateway.dev.program import Program
        from fedgate_gateway.pki.enrol import enrol

        self.key = RecipientKey.generate()
        self._bench, self._name, layout = bench, name, bench.federation.layout
        folder = bench.folder / f"rogue-{name}"
        folder.mkdir()
        project = tomllib.loads(layout.project.read_text())
        project["recipients"].append(fingerprint(self.key.public_raw))
        (folder / "demo.toml").write_text(tomli_w.dumps(project))
        config = tomllib.loads(layout.enclave.read_text())
        config |= {"name": name, "data": "state", "projects": ["demo.toml"]}
        (folder / "enclave.toml").write_text(tomli_w.dumps(config))
        self._state = folder / "state"
        with Client(load_profile(layout.admin_profile)) as admin:
            token = admin.invite("enclave", name)["token"]
        enrol(bench.federation.profile.api, token, "enclave", name, self._state)
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
            job = self._bench.submit(self._bench.archive, recipient=self.key.public_raw)
            return self._bench.wait(job), job
        finally:
            self.program.stop()


def refusals(bench: Any, job: str) -> dict[str, str]:
    """Why each site refused, from its own entries in the log."""

    def told() -> dict[str, str]:
        found = bench.audit(job, "site.refused")
        return {e["actor"].removeprefix("site:"): e["data"]["why"] for e in found}

    return dict(bench.until(lambda: len(t := told()) == 2 and t))


def test_an_enclave_that_no_project_file_knows_gets_nothing(bench: Any) -> None:
    ended, job = Rogue(bench, "rogue").run()
    assert ended["state"] == "failed"
    for why in refusals(bench, job).values():
        assert "'rogue' is not an enclave of project demo" in why
    assert bench.audit(job, "session.opened") == []


def test_an_enclave_under_a_known_name_with_another_key_gets_nothing(bench: Any) -> None:
    ended, job = Rogue(bench, "enclave-1").run()
    assert ended["state"] == "failed"
    for why in refusals(bench, job).values():
        assert "not signed by enclave enclave-1" in why
    assert bench.audit(job, "session.opened") == []
