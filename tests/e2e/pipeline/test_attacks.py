"""A gateway does its worst to some sites: their sessions end, and the job of the others goes on.

Each attack is carried out by a real gateway on what real programs send through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fedgate.codes import Code
from fedgate.errors import SealBroken

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
HONEST = ["site-1", "site-2"]
VICTIM = "site-3"
THREE = [*HONEST, VICTIM]

#: What is done to a letter, and the code for which its session ends.
LETTERS = {
    "flip": Code.ALTERED,
    "flip_header": Code.ALTERED,
    "truncate": Code.WRONG_LENGTH,
    "garbage": Code.NO_LETTER,
    "replay": Code.REPLAYED,
    "lie": Code.NEVER_SENT,
    "old": Code.OTHER_SESSION,
    "other": Code.OTHER_SESSION,
}
CARGO = {
    "flip": Code.ALTERED,
    "truncate": Code.TRUNCATED,
    "shorten": Code.WRONG_SIZE,
    "swap": Code.ALTERED,
    "repeat": Code.ALTERED,
    "foreign": Code.ALTERED,
    "extend": Code.TOO_LONG,
}
WAYS = ("to_enclave", "to_site")


def victims(table: Mapping[str, str]) -> dict[str, str]:
    """A site for each attack."""
    return {what: f"site-{number}" for number, what in enumerate(table, 1 + len(HONEST))}


def keeping(folder: Path) -> None:
    """Large results stay sealed on the enclave's disk, as those of many sites would."""
    enclave = folder / "enclave.toml"
    enclave.write_text(f"keep_sealed_bytes = 1_000_000\n{enclave.read_text()}")


@pytest.fixture(scope="module")
def bench(make_bench: Callable[..., Any], make_workload: Any) -> Iterator[Any]:
    made = make_bench(sites=2 + len(LETTERS), gateway="hostile_gateway", edit=keeping)
    made.small, made.big = make_workload(), make_workload(rounds=1, size=800_000)
    for archive in (made.small, made.big):  # something to take foreign letters and chunks from
        earlier = [*HONEST, victims(LETTERS)["old"]]
        assert made.wait(made.submit(archive, sites=earlier))["state"] == "succeeded"
    yield made
    made.order()


def run(bench: Any, archive: bytes, sites: list[str] = THREE, **order: Any) -> str:
    """A job under attack, which must succeed with the sites that are left alone."""
    bench.order(**order)
    job = str(bench.submit(archive, sites=sites, min_sites=len(HONEST), task_seconds=20))
    ended = bench.wait(job, 60)
    assert ended["state"] == "succeeded", ended
    return job


def reasons(bench: Any, job: str, attacked: set[str]) -> dict[str, list[str]]:
    """Why the session of each victim ended, and that those of the others did not."""
    told: dict[str, list[str]] = {}

    def all_told() -> bool:
        told.clear()
        for entry in bench.audit(job, "session.ended"):
            site = entry["data"].get("site") or entry["actor"].removeprefix("site:")
            told.setdefault(site, []).append(entry["data"]["code"])
        return set(told) >= attacked

    bench.until(all_told)
    assert set(told) == attacked, told
    lost = [e["site"] for e in bench.events(job, "site-state") if e["state"] == "lost"]
    assert sorted(lost) == sorted(attacked)
    (released,) = bench.audit(job, "released")
    assert set(HONEST) <= set(released["data"]["cohort"])
    return told


class Attacked:
    """Every attack of a table in one job, each on a site of its own: attack → reasons."""

    def __init__(self, bench: Any, archive: bytes, table: Mapping[str, str]) -> None:
        self._bench, self._archive = bench, archive
        self._victims = victims(table)
        self._told: dict[str, dict[str, list[str]]] = {}

    def told(self, way: str, what: str, **order: Any) -> list[str]:
        if way not in self._told:
            attacks = {
                site: {"way": way, "what": attack, **order}
                for attack, site in self._victims.items()
            }
            sites = [*HONEST, *self._victims.values()]
            job = run(self._bench, self._archive, sites, attacks=attacks)
            self._told[way] = reasons(self._bench, job, set(self._victims.values()))
        return self._told[way][self._victims[what]]


@pytest.fixture(scope="module")
def letters(bench: Any) -> Attacked:
    return Attacked(bench, bench.small, LETTERS)


@pytest.fixture(scope="module")
def cargo(bench: Any) -> Attacked:
    return Attacked(bench, bench.big, CARGO)


@pytest.mark.parametrize("what", LETTERS)
@pytest.mark.parametrize("way", WAYS)
def test_a_bad_letter_costs_its_site(letters: Attacked, way: str, what: str) -> None:
    kind = "RESULT" if way == "to_enclave" else "TASK"
    told = letters.told(way, what, carrier="letter", kind=kind, nth=2)
    assert LETTERS[what] in told, told


@pytest.mark.parametrize("what", CARGO)
@pytest.mark.parametrize("way", WAYS)
def test_bad_cargo_costs_its_site(cargo: Attacked, way: str, what: str) -> None:
    told = cargo.told(way, what, carrier="cargo")
    assert CARGO[what] in told, told


def test_letters_in_another_order_cost_one_site(bench: Any) -> None:
    """A task and the witness of its shared model follow each other."""
    attack = {"carrier": "letter", "way": "to_site", "what": "swap", "kind": "TASK", "nth": 1}
    job = run(bench, bench.big, attacks={VICTIM: attack})
    told = reasons(bench, job, {VICTIM})[VICTIM]
    assert Code.OUT_OF_ORDER in told, told


def test_a_job_that_needs_the_attacked_site_fails_with_the_reason(bench: Any) -> None:
    attack = {"carrier": "letter", "way": "to_enclave", "what": "flip", "kind": "RESULT", "nth": 1}
    bench.order(attacks={VICTIM: attack})
    ended = bench.wait(bench.submit(bench.small, sites=THREE, min_sites=3))
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
    job = bench.submit(bench.small, sites=THREE)
    ended = bench.wait(job)
    assert ended["state"] == "failed"
    assert "another bundle" in ended["reason"]
    assert bench.audit(job, "released") == []


def test_a_key_of_the_gateways_own_gets_nothing_sealed_to_it(bench: Any) -> None:
    bench.order(spec={"recipient": True})
    job = bench.submit(bench.small, sites=THREE)
    ended = bench.wait(job)
    assert ended["state"] == "failed"
    assert "recipient key is not one of the project's" in ended["reason"]
    assert bench.federation.client.outputs(job) == []


def test_a_site_that_the_gateway_adds_to_a_cohort_is_refused(bench: Any) -> None:
    bench.order(spec={"site": "nobody"})
    ended = bench.wait(bench.submit(bench.small, sites=THREE))
    assert ended["state"] == "failed"
    assert "not a member" in ended["reason"]


def test_a_handshake_played_again_opens_nothing_and_ends_nothing(bench: Any) -> None:
    job = run(bench, bench.small, replay=VICTIM)
    refused = bench.until(lambda: bench.audit(job, "session.refused"))
    assert {entry["data"]["site"] for entry in refused} == {VICTIM}
    assert bench.audit(job, "session.ended") == []
    (released,) = bench.audit(job, "released")
    assert released["data"]["cohort"] == ["site-1", "site-2", VICTIM]


def test_a_session_that_the_gateway_ends_ends_with_our_words_and_no_other_does(bench: Any) -> None:
    """A reason is not authenticated: of a text nothing stays, and a code is one of ours."""
    text = "zqPatient7"
    lies = {
        VICTIM: {"session": "its own", "notice": text},
        "site-4": {"session": "its own", "notice": f'{{"code":"denied","why":"{text}"}}'},
        "site-5": {"session": "its own", "notice": '{"code":"worker-died"}'},
        "site-6": {"session": "another", "notice": '{"code":"worker-died"}'},
    }
    job = run(bench, bench.small, [*HONEST, *lies], close=lies)
    told = reasons(bench, job, {VICTIM, "site-4", "site-5"})
    assert told == {
        VICTIM: [Code.SITE_ENDED], "site-4": [Code.SITE_ENDED], "site-5": [Code.WORKER_DIED],
    }  # fmt: skip
    assert "site-6" in bench.audit(job, "released")[0]["data"]["cohort"]
    kept = [p for p in bench.folder.rglob("*") if p.is_file() and "recorded-" not in p.name]
    said = {p.name for p in kept if p.name != "order.json" and text.encode() in p.read_bytes()}
    assert said == set()


class OfAnother:
    """A client whose gateway answers for one job with what it has of another, and its own id."""

    def __init__(self, client: Any, old: str) -> None:
        self.profile, self._client, self._old = client.profile, client, old

    def job(self, job: str) -> dict[str, Any]:
        told = self._client.job(self._old)
        return {**told, "job": {**told["job"], "id": job}}

    def outputs(self, _job: str) -> Any:
        return self._client.outputs(self._old)

    def download(self, _job: str, name: str) -> Any:
        return self._client.download(self._old, name)


def test_what_an_earlier_run_released_is_not_taken_for_a_later_ones(
    bench: Any, tmp_path: Path
) -> None:
    """The same workload, project, enclave and recipient; each by a request of its own."""
    from fedgate_gateway.cli.results import fetch_all
    from fedgate_gateway.cli.signing import sign_submission
    from fedgate_gateway.cli.submissions import Submissions
    from fedgate_gateway.dev.files import recipient_key

    federation, mine = bench.federation, Submissions(tmp_path / "profile.toml")
    client, jobs = federation.client, []
    bench.order()
    for _ in range(2):
        recipient = recipient_key(federation.layout).public_raw
        signed = sign_submission(
            federation.profile, bench.small, recipient=recipient, sites=HONEST, min_sites=2
        )
        jobs.append(client.send(signed))
        mine.submitted(jobs[-1], signed)
    old, new = (bench.wait(job["id"])["id"] for job in jobs)
    assert fetch_all(client, new, tmp_path / "honest", submissions=mine)
    with pytest.raises(SealBroken):
        fetch_all(OfAnother(client, old), new, tmp_path / "forged", submissions=mine)
    assert list((tmp_path / "forged").iterdir()) == []


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
