"""A gateway does its worst to one site: its session ends, and the job of the others goes on.

Each attack is carried out by a real gateway on what real programs send through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
VICTIM = "site-3"


def keeping(folder: Path) -> None:
    """Large results stay sealed on the enclave's disk, as those of many sites would."""
    enclave = folder / "enclave.toml"
    enclave.write_text(f"keep_sealed_bytes = 1_000_000\n{enclave.read_text()}")


@pytest.fixture(scope="module")
def bench(make_bench: Callable[..., Any], make_workload: Any) -> Iterator[Any]:
    made = make_bench(sites=3, gateway="hostile_gateway", edit=keeping)
    made.small, made.big = make_workload(), make_workload(rounds=1, size=800_000)
    for archive in (made.small, made.big):  # something to take foreign letters and chunks from
        assert made.wait(made.submit(archive))["state"] == "succeeded"
    yield made
    made.order()


def run(bench: Any, archive: bytes, **order: Any) -> str:
    """A job under attack, which must succeed with the other two sites."""
    bench.order(**order)
    job = str(bench.submit(archive, min_sites=2, task_seconds=8))
    ended = bench.wait(job)
    assert ended["state"] == "succeeded", ended
    return job


def require_lost(bench: Any, job: str, *reasons: str) -> None:
    """The victim's session has ended, with one of the reasons in the audit log, and no other."""
    ended = bench.until(lambda: bench.audit(job, "session.ended"))
    told = [(entry["data"].get("site"), entry["actor"], entry["data"]["why"]) for entry in ended]
    assert {site or actor.removeprefix("site:") for site, actor, _ in told} == {VICTIM}
    assert any(reason in why for *_, why in told for reason in reasons), told
    lost = [e for e in bench.events(job, "site-state") if e["state"] == "lost"]
    assert [e["site"] for e in lost] == [VICTIM]
    (released,) = bench.audit(job, "released")
    assert {"site-1", "site-2"} <= set(released["data"]["cohort"])


LETTERS = [
    ("flip", "altered"),
    ("flip_header", "altered"),
    ("truncate", "wrong length"),
    ("garbage", "letter"),
    ("replay", "replayed"),
    ("lie", "never sent"),
    ("old", "another"),
    ("other", "another"),
]


@pytest.mark.parametrize(("what", "reason"), LETTERS, ids=[what for what, _ in LETTERS])
@pytest.mark.parametrize("way", ["to_enclave", "to_site"])
def test_a_bad_letter_costs_one_site(bench: Any, way: str, what: str, reason: str) -> None:
    kind = "RESULT" if way == "to_enclave" else "TASK"
    job = run(
        bench, bench.small, carrier="letter", way=way, site=VICTIM, what=what, kind=kind, nth=2
    )
    require_lost(bench, job, reason)


def test_letters_in_another_order_cost_one_site(bench: Any) -> None:
    """A task and the witness of its shared model follow each other."""
    job = run(
        bench,
        bench.big,
        carrier="letter",
        way="to_site",
        site=VICTIM,
        what="swap",
        kind="TASK",
        nth=1,
    )
    require_lost(bench, job, "out of order")


CARGO = [
    ("flip", "altered"),
    ("truncate", "truncated"),
    ("shorten", "wrong size"),
    ("swap", "altered"),
    ("repeat", "altered"),
    ("foreign", "altered"),
    ("extend", "longer"),
]


@pytest.mark.parametrize(("what", "reason"), CARGO, ids=[what for what, _ in CARGO])
@pytest.mark.parametrize("way", ["to_enclave", "to_site"])
def test_bad_cargo_costs_one_site(bench: Any, way: str, what: str, reason: str) -> None:
    job = run(bench, bench.big, carrier="cargo", way=way, site=VICTIM, what=what)
    require_lost(bench, job, reason)


def test_a_job_that_needs_the_attacked_site_fails_with_the_reason(bench: Any) -> None:
    bench.order(carrier="letter", way="to_enclave", site=VICTIM, what="flip", kind="RESULT", nth=1)
    ended = bench.wait(bench.submit(bench.small, min_sites=3))
    assert ended["state"] == "failed"
    assert "lost too many sites" in ended["reason"]
    assert "altered" in ended["reason"]


# -- a gateway that lies about jobs ---------------------------------------------------------------


def test_a_bundle_swapped_for_a_site_makes_that_site_refuse(bench: Any) -> None:
    job = run(bench, bench.small, bundle=VICTIM)
    decisions = {s["site"]: s for s in bench.federation.client.job(job)["sites"]}
    assert decisions[VICTIM]["decision"] == "denied"
    assert "another bundle" in decisions[VICTIM]["reason"]
    (released,) = bench.audit(job, "released")
    assert released["data"]["cohort"] == ["site-1", "site-2"]


def test_a_bundle_swapped_for_the_enclave_runs_nowhere(bench: Any) -> None:
    bench.order(bundle="enclave-1")
    job = bench.submit(bench.small)
    ended = bench.wait(job)
    assert ended["state"] == "failed"
    assert "another bundle" in ended["reason"]
    assert bench.audit(job, "released") == []


def test_a_key_of_the_gateways_own_gets_nothing_sealed_to_it(bench: Any) -> None:
    bench.order(spec={"recipient": True})
    job = bench.submit(bench.small)
    ended = bench.wait(job)
    assert ended["state"] == "failed"
    assert "recipient key is not one of the project's" in ended["reason"]
    assert bench.federation.client.outputs(job) == []


def test_a_site_that_the_gateway_adds_to_a_cohort_is_refused(bench: Any) -> None:
    bench.order(spec={"site": "site-4"})
    ended = bench.wait(bench.submit(bench.small))
    assert ended["state"] == "failed"
    assert "not a member" in ended["reason"]


def test_a_handshake_played_again_opens_nothing_and_ends_nothing(bench: Any) -> None:
    job = run(bench, bench.small, replay=VICTIM)
    refused = bench.until(lambda: bench.audit(job, "session.refused"))
    assert {entry["data"]["site"] for entry in refused} == {VICTIM}
    assert bench.audit(job, "session.ended") == []
    (released,) = bench.audit(job, "released")
    assert released["data"]["cohort"] == ["site-1", "site-2", VICTIM]


def test_a_site_with_the_right_name_and_another_key_is_kept_out(bench: Any) -> None:
    """Whoever runs the gateway can enrol a peer of any name; the roster knows its key."""
    from fedgate_gateway.cli.client import Client
    from fedgate_gateway.cli.profile import load_profile
    from fedgate_gateway.dev.program import Program
    from fedgate_gateway.pki.enrol import enrol

    federation, layout = bench.federation, bench.federation.layout
    text = layout.site(VICTIM).read_text()
    other = bench.folder / "impostor.toml"
    other.write_text(text.replace(f'"state/{VICTIM}"', '"state/impostor"'))
    assert other.read_text() != text
    api = federation.profile.api
    impostor = Program("impostor", ["site", "run", "--config", str(other)], layout.log("impostor"))
    with Client(load_profile(layout.admin_profile)) as admin:
        federation.programs[VICTIM].stop()
        token = admin.invite("site", VICTIM)["token"]
        enrol(api, token, "site", VICTIM, layout.state("impostor"))
        try:
            impostor.start()
            bench.until(lambda: any(s["name"] == VICTIM and s["online"] for s in admin.sites()))
            job = run(bench, bench.small)
        finally:
            impostor.stop()
            token = admin.invite("site", VICTIM)["token"]
            enrol(api, token, "site", VICTIM, layout.state(VICTIM))
            federation.programs[VICTIM].start()
    refused = bench.audit(job, "session.refused")
    assert {entry["data"]["site"] for entry in refused} == {VICTIM}
    (released,) = bench.audit(job, "released")
    assert released["data"]["cohort"] == ["site-1", "site-2"]
