"""A workload that needs opaque traffic, and sites that say beforehand what they let through."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from fedgate.bundle import pack_files
from fedgate.errors import Denied
from fedgate.guard_rules import GuardRules
from fedgate.manifest import Manifest
from fedgate_gateway.control.guard_needs import check_guards
from fedgate_gateway.pki import PeerKind
from fedgate_gateway.relay.connections import Connection, Connections
from fedgate_proto.v1 import link_pb2 as pb

NEEDED = ("aux:hello", "stream:*")
EVERYTHING = ("aux:*", "stream:*")


def workload(*frames, min_sites=1):
    text = f'name = "talker"\nmin_sites = {min_sites}\nframes = {json.dumps(frames)}\n'
    return pack_files({"workload.toml": text.encode()})


@pytest.fixture
def says(state):
    """``says(**{"site-1": [...]})``: what linked sites say; the others are not linked."""

    def set_rules(**rules):
        state.site_guard = {s: GuardRules(tuple(f)) for s, f in rules.items()}.get

    return set_rules


@pytest.mark.parametrize("rules", [(), ("aux:hello",), ("aux:*", "stream:other", "stream:x*")])
def test_a_workload_that_sites_will_not_let_talk_is_refused_at_once_with_the_names(
    state, submit, says, rules
):
    says(**dict.fromkeys(("site-1", "site-2", "site-3"), rules))
    with pytest.raises(Denied) as refused:
        submit(bundle=workload(*NEEDED))
    assert "site-2: " in refused.value.why
    assert "stream:*" in refused.value.why
    assert ("aux:hello" in refused.value.why) == (rules == ())
    (entry,) = [e.entry for e in state.audit.entries(kind="job.refused")]
    assert "stream:*" in entry.data["reason"]
    assert list(state.audit.entries(kind="job.submitted")) == []


def test_a_workload_that_needs_nothing_opaque_runs_where_nothing_is_allowed(submit, says):
    says(**dict.fromkeys(("site-1", "site-2", "site-3"), ()))
    assert submit(bundle=workload()).id


def test_sites_that_refuse_do_not_stop_a_workload_that_can_do_without_them(submit, says):
    says(**{"site-1": (), "site-2": EVERYTHING, "site-3": EVERYTHING})
    assert submit(bundle=workload(*NEEDED, min_sites=2)).id
    with pytest.raises(Denied, match="site-1: "):
        submit(bundle=workload(*NEEDED, min_sites=3))
    with pytest.raises(Denied, match="site-1: "):
        submit(bundle=workload(*NEEDED), sites=("site-1",))


def test_a_site_that_is_not_linked_is_asked_later(submit, says):
    says(**{"site-1": (), "site-2": ()})
    assert submit(bundle=workload(*NEEDED)).id


def test_what_a_site_says_counts_while_it_is_linked():
    links = Connections()
    assert links.site_guard("site-1") is None
    silent = Connection(PeerKind.SITE, "site-1", pb.PeerHello())
    links.add(silent)
    assert links.site_guard("site-1") is None
    strict = Connection(PeerKind.SITE, "site-1", pb.PeerHello(guard=pb.Guard()))
    links.add(strict)
    assert links.site_guard("site-1") == GuardRules((), {})
    open_ = Connection(PeerKind.SITE, "site-1", pb.PeerHello(guard=pb.Guard(frames=EVERYTHING)))
    links.add(open_)
    assert links.site_guard("site-1") == GuardRules(EVERYTHING, {})
    links.remove(open_)
    assert links.site_guard("site-1") is None


def test_whoever_may_see_sites_sees_what_they_let_through(client, admin, says):
    says(**{"site-2": EVERYTHING})
    told = client.get("/api/v1/sites", headers=admin).json()["peers"]
    shown = {peer["name"]: peer["frames"] for peer in told}
    assert shown["site-2"] == list(EVERYTHING)
    assert shown["site-1"] is None


def test_a_site_that_is_needed_and_will_refuse_is_told_at_once():
    manifest = Manifest("toml", "n", frames=("aux:hello",), mandatory=("site-1",))
    asked = SimpleNamespace(sites=("site-1", "site-2"), min_sites=1, manifest=manifest)
    guards = {"site-1": GuardRules(()), "site-2": GuardRules(("aux:*",))}
    with pytest.raises(Denied, match="site-1: "):
        check_guards(asked, guards.get)
    asked.manifest = replace(manifest, mandatory=("site-2",))
    check_guards(asked, guards.get)
