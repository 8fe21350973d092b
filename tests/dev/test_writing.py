"""What `fedgate dev` writes is ordinary configuration, and it is written once."""

from __future__ import annotations

import socket

import pytest

from fedgate.bundle import Bundle
from fedgate.errors import InvalidConfig, Unavailable
from fedgate.guard_rules import missing_lines
from fedgate.plugins import recognise
from fedgate_gateway.cli.workload import load
from fedgate_gateway.config import (
    EnclaveConfig,
    GatewayConfig,
    ProjectConfig,
    SiteConfig,
    load_config,
)
from fedgate_gateway.config.programs import Guard
from fedgate_gateway.dev import examples, policies, ports
from fedgate_gateway.dev.datasets import DatasetTemplate, read_options
from fedgate_gateway.dev.federation import Federation
from fedgate_gateway.dev.files import Writer, recipient_key
from fedgate_gateway.dev.layout import Layout
from fedgate_gateway.link.terms import fingerprint
from fedgate_gateway.policy import Policy

SITES = ["site-1", "site-2"]


@pytest.fixture
def written(tmp_path) -> Layout:
    layout = Layout(tmp_path / "fed")
    layout.root.mkdir()
    write(layout)
    return layout


def write(layout: Layout) -> None:
    dataset = DatasetTemplate("numbers", "data/{site}.txt", settings={"data-path": "{path}"})
    writer = Writer(
        layout, SITES, datasets=[dataset], adapters=["plain"], runtime={"sandbox": "process"}
    )
    writer.gateway()
    writer.project(recipient_key(layout))
    writer.enclave(api="https://127.0.0.1:1", link="127.0.0.1:2")
    for site in SITES:
        writer.site(site, api="https://127.0.0.1:1", link="127.0.0.1:2")


def test_every_file_loads_as_the_program_would_load_it(written):
    gateway = load_config(GatewayConfig, written.gateway)
    enclave = load_config(EnclaveConfig, written.enclave)
    site = load_config(SiteConfig, written.site("site-2"))
    project = load_config(ProjectConfig, written.project)
    assert gateway.projects["demo"].sites == tuple(SITES)
    assert gateway.api.port != gateway.link.port
    assert enclave.projects == site.projects == (written.project,)
    assert site.datasets["numbers"].path == written.root / "data" / "site-2.txt"
    assert (gateway.adapters, enclave.adapters, site.adapters) == (("plain",),) * 3
    assert set(project.members) == set(SITES)


def test_what_leaves_the_enclave_is_sealed_to_the_developer_s_key(written):
    project = load_config(ProjectConfig, written.project)
    assert project.recipients == (fingerprint(recipient_key(written).public_raw),)
    rules = project.release
    assert (rules.model, rules.artifacts, rules.logs) == ("sealed", "sealed", "sealed")


def test_a_site_believes_a_simulated_enclave_only_because_its_file_says_so(written):
    text = written.site("site-1").read_text()
    assert 'evidence = [\n    "simulated",\n]' in text
    written.site("site-1").write_text(text.replace('"simulated",', ""))
    assert load_config(SiteConfig, written.site("site-1")).evidence == ()


def test_keys_are_for_their_owner_alone(written):
    secret = [*written.root.rglob("*.key")]
    assert len(secret) == 6
    assert {path.stat().st_mode & 0o077 for path in secret} == {0}


def test_what_was_edited_stays(written):
    before = {path: path.read_bytes() for path in written.root.rglob("*") if path.is_file()}
    edited = written.policy("site-1")
    before[edited] = edited.read_bytes() + b"// mine\n"
    edited.write_bytes(before[edited])
    write(written)
    assert {p: p.read_bytes() for p in written.root.rglob("*") if p.is_file()} == before


def test_policies_allow_this_federation_s_frameworks_and_datasets_and_still_load():
    text = policies.site_policy(["plain"], ["numbers", "more"])
    assert '["plain"]' in text
    assert '["numbers", "more"]' in text
    assert "breast-cancer" not in text.split("known-datasets")[1].split("forbid")[1]
    assert "Only the datasets numbers and more are offered here." in text
    Policy.from_text(text, "site")
    Policy.from_text(policies.site_policy(["plain"], []), "a site without data")
    Policy.from_text(policies.gateway_policy(["plain"]), "gateway")


def test_each_example_has_its_data_declared():
    declared = {dataset.name: dataset.for_site("site-1") for dataset in examples.DATASETS}
    assert declared["breast-cancer"]["settings"] == {"data-path": "{path}"}
    assert declared["digits"]["environment"] == {"DIGITS_DATA": "{path}"}


@pytest.mark.parametrize("workload", ["flower-breast-cancer", "flare-digits/job"])
def test_what_the_examples_need_of_a_guard_is_opened_and_for_them_alone(workload, tmp_path):
    def rules(datasets):
        layout = Layout(tmp_path / str(len(datasets)))
        writer = Writer(layout, SITES, datasets=datasets, adapters=["flower", "flare"], runtime={})
        writer.site("site-1", api="https://127.0.0.1:1", link="127.0.0.1:2")
        return load_config(SiteConfig, layout.site("site-1")).guard

    tree = Bundle.read(load(examples.folder() / workload, adapters=["flower", "flare"])).tree
    needs = recognise(tree).inspect(tree).guard
    assert missing_lines(needs, (), rules(examples.DATASETS).rules()) == []
    assert rules([]) == Guard()


def test_options_of_the_command_line_become_datasets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (made,) = read_options(
        ["patients=data/{site}/p.csv"], ["patients:data-path={path}"], ["patients:P=a=b"]
    )
    assert made.for_site("site-3") == {
        "path": f"{tmp_path}/data/site-3/p.csv",
        "settings": {"data-path": "{path}"},
        "environment": {"P": "a=b"},
    }


@pytest.mark.parametrize(
    "options",
    [(["patients"], [], []), (["=x"], [], []), (["a=x"], ["b:k=v"], []), (["a=x"], [], ["a:k"])],
)
def test_an_option_that_makes_no_sense_is_refused(options):
    with pytest.raises(InvalidConfig):
        read_options(*options)


def test_ports_are_different_and_free():
    chosen = ports.choose(20)
    assert len(set(chosen)) == 20
    for port in chosen:
        ports.require_free(port, what="a test", file="x")


def test_a_port_that_is_taken_is_told_with_the_file_that_names_it():
    with socket.socket() as other:
        other.bind((ports.HOST, 0))
        other.listen()
        with pytest.raises(Unavailable) as raised:
            ports.require_free(other.getsockname()[1], what="the API", file="gateway.toml")
    assert "is taken" in str(raised.value)
    assert "gateway.toml" in raised.value.remedy


def test_another_number_of_sites_than_was_written_is_refused(written):
    written.profile.write_text("")
    assert Federation(written.root, examples=False).sites == SITES
    with pytest.raises(InvalidConfig, match="has 2 sites, not 3"):
        Federation(written.root, sites=3, examples=False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max_jobs = 99999999999999999999", "max_jobs: an integer has 64 bits"),
        ("[runtime.limits]\nopen_files = [1, {x = -9223372036854775809}]", r"open_files.*64 bits"),
        ("max_jobs = " + "1" * 5000, "not valid TOML"),
        ("a = " + "[" * 5000, "not valid TOML"),
        ("name = \n", "line 1"),
    ],
    ids=range(5),
)
def test_a_configuration_that_no_program_can_hold_is_refused(tmp_path, text, words):
    (tmp_path / "site.toml").write_text(text)
    with pytest.raises(InvalidConfig, match=words):
        load_config(SiteConfig, tmp_path / "site.toml")
