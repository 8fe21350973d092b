"""A project file that differs is seen before a job starts, and at whom."""

from __future__ import annotations

from typing import Any

from fedgate_gateway.cli.project_files import differing
from fedgate_gateway.control.principal import Scope
from fedgate_gateway.pki import PeerKind
from fedgate_gateway.relay.connections import Connection, Connections
from fedgate_proto.v1 import link_pb2 as pb

SAME, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def linked(**files: str) -> Connections:
    connections = Connections()
    for name, digest in files.items():
        kind = PeerKind.ENCLAVE if name.startswith("enclave") else PeerKind.SITE
        hello = pb.PeerHello(project_files={"health": digest})
        connections.add(Connection(kind, name.replace("_", "-"), hello))
    return connections


def test_what_a_site_lacks_before_the_job_starts_is_the_enclaves_file() -> None:
    connections = linked(enclave_1=SAME, site_1=SAME, site_2=OTHER)
    offers = [connections.offer(name) for name in ("site-1", "site-2")]
    assert [offer.differing for offer in offers if offer] == [frozenset(), {"health"}]
    alone = linked(site_2=OTHER).offer("site-2")
    assert alone is not None
    assert alone.differing == frozenset(), "nobody knows, while no enclave is linked"


def test_the_api_tells_whose_file_it_is_and_no_other_projects(
    state: Any, client: Any, token: Any
) -> None:
    connections = linked(enclave_1=SAME, site_1=OTHER, site_2="a text of the peer's own")
    connections.site("site-1").hello.project_files["elsewhere"] = SAME  # type: ignore[union-attr]
    state.project_files = connections.project_files
    headers = token(Scope.SITES_READ)
    sites = client.get("/api/v1/sites", headers=headers).json()["peers"]
    files = {peer["name"]: peer["project_files"] for peer in sites}
    assert files["site-1"] == {"health": OTHER}
    assert files["site-2"] == {}


def test_people_read_who_differs_from_whom() -> None:
    def peer(name: str, digest: str = "") -> dict[str, Any]:
        return {"name": name, "project_files": {"health": digest} if digest else {}}

    enclaves = [peer("enclave-1", SAME), peer("enclave-2")]
    assert differing([peer("site-1", SAME), peer("site-3")], enclaves) == []
    (sentence,) = differing([peer("site-1", SAME), peer("site-2", OTHER)], enclaves)
    assert sentence.startswith("no job of health starts at site-2: its project file is another")
    assert "sha256:aaaaaaaaaaaa at enclave-1" in sentence
    assert differing([peer("site-2", OTHER)], [peer("enclave-2")]) == []
