"""A job whose sites the project calls otherwise: its own names are replaced in its files."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from fedgate.bundle import Bundle, BundleTree, pack_directory, read_directory
from fedgate.errors import InvalidBundle, InvalidMessage
from fedgate_flare.adapter import FlareAdapter
from fedgate_gateway.cli.site_names import parse_site_names, with_site_names

JOBS = Path(__file__).parent / "jobs"
NAMES = {"site-1": "hospital-a", "site-2": "hospital-b"}


def renamed(job: str, names=NAMES) -> BundleTree:
    return FlareAdapter().rename_sites(read_directory(JOBS / job), names)


def test_every_app_goes_to_the_site_that_is_meant_whatever_its_files_are_written_in():
    before = FlareAdapter().inspect(read_directory(JOBS / "apps"))
    after = FlareAdapter().inspect(renamed("apps"))
    assert before.sites == ("site-1", "site-2")
    assert after.sites == ("hospital-a", "hospital-b")
    assert after.components == before.components
    assert after.entry_points == before.entry_points


def test_names_in_configurations_and_in_what_is_mandatory_are_meant_as_well():
    files = dict(read_directory(JOBS / "fedavg").files)
    meta = json.loads(files["meta.json"])
    meta |= {"mandatory_clients": ["site-2"], "resource_spec": {"site-1": {"num_of_gpus": 1}}}
    files["meta.json"] = json.dumps(meta).encode()
    path = "app/config/config_fed_server.json"
    server = json.loads(files[path])
    server["workflows"][0]["args"]["order"] = ["site-2", "site-1", "site-10"]
    files[path] = json.dumps(server).encode()
    tree = FlareAdapter().rename_sites(BundleTree(files), NAMES)
    assert json.loads(tree["meta.json"])["mandatory_clients"] == ["hospital-b"]
    assert set(json.loads(tree["meta.json"])["resource_spec"]) == {"hospital-a"}
    order = json.loads(tree[path])["workflows"][0]["args"]["order"]
    assert order == ["hospital-b", "hospital-a", "site-10"]
    assert tree["app/custom/client.py"] == files["app/custom/client.py"]


def test_two_sites_may_swap_names_but_not_become_one():
    swapped = renamed("apps", {"site-1": "site-2", "site-2": "site-1"})
    assert FlareAdapter().inspect(swapped).sites == ("site-2", "site-1")
    with pytest.raises(InvalidMessage, match="has a site 'site-2' already"):
        renamed("apps", {"site-1": "site-2"})


def test_a_name_that_the_job_does_not_hold_is_told_with_those_that_it_does():
    with pytest.raises(InvalidMessage, match="names no site 'site-7'") as told:
        renamed("apps", {"site-7": "hospital-a"})
    assert "site-1, site-2" in str(told.value)
    with pytest.raises(InvalidMessage, match="'server' is no name of a site"):
        renamed("apps", {"site-1": "server"})


def test_a_list_for_many_jobs_is_passed_over_where_a_job_holds_none_of_its_names():
    archive = pack_directory(JOBS / "fedavg")
    assert with_site_names(archive, NAMES, required=False) == archive
    with pytest.raises(InvalidMessage, match="names no site"):
        with_site_names(archive, NAMES)
    ours = {"clinic-1": "site-1"}  # a job may name the project's sites as they are
    archive = pack_directory(JOBS / "apps")
    assert with_site_names(archive, ours, required=False) == archive
    some = {**NAMES, "site-7": "hospital-c"}
    bundle = Bundle.read(with_site_names(pack_directory(JOBS / "apps"), some, required=False))
    assert FlareAdapter().inspect(bundle.tree).sites == ("hospital-a", "hospital-b")


def test_what_somebody_signed_is_not_rewritten():
    files = {**read_directory(JOBS / "apps").files, ".__nvfl_sig.json": b"{}"}
    with pytest.raises(InvalidBundle, match="signed job"):
        FlareAdapter().rename_sites(BundleTree(files), NAMES)


def test_the_archive_is_rewritten_before_anything_is_signed():
    archive = pack_directory(JOBS / "apps")
    assert with_site_names(archive, {}) == archive
    bundle = Bundle.read(with_site_names(archive, NAMES))
    assert FlareAdapter().inspect(bundle.tree).sites == ("hospital-a", "hospital-b")
    assert with_site_names(archive, NAMES) == with_site_names(archive, NAMES)


def test_how_names_are_written_on_the_command_line():
    assert parse_site_names("") == {}
    assert parse_site_names("site-1=hospital-a, site-2=hospital-b") == NAMES
    for wrong in ("site-1", "site-1=A B", "a=x,b=x", "a=x,a=y", "a=x=y"):
        with pytest.raises(click.UsageError, match="THEIRS=OURS"):
            parse_site_names(wrong)
