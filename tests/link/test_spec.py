"""What a gateway says of a job: nothing in it may surprise the peer that reads it."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedgate.errors import FedgateError, InvalidMessage
from fedgate_gateway.control.ids import new_job_id
from fedgate_gateway.link.spec import Spec
from fedgate_proto.v1 import link_pb2 as pb

MANIFEST = {"framework": "plain", "name": "x", "entry_points": {"worker": "w.py"}}


def spec(**changes: Any) -> pb.JobSpec:
    fields = {
        "job": new_job_id(), "project": "demo", "name": "n", "bundle": "sha256:" + "ab" * 32,
        "bundle_bytes": 100, "framework": "plain", "manifest": json.dumps(MANIFEST),
        "submitter": "me", "sites": ["a", "b"], "min_sites": 1, "config": "{}", "enclave": "e",
        "request": b"signed",
    }  # fmt: skip
    return pb.JobSpec(**{**fields, **changes})


def test_a_job_of_our_gateway_is_read() -> None:
    found = Spec.read(spec(config='{"lr": 0.5, "name": "x", "n": 3, "on": true}'))
    assert found.sites == ("a", "b")
    assert found.manifest.entry_points == {"worker": "w.py"}
    assert found.config == {"lr": 0.5, "name": "x", "n": 3, "on": True}


@pytest.mark.parametrize(
    "job", ["", ".", "..", "../x", "a/b", "/etc", "a\\b", "a\0b", ".hidden", "-rf", "j" * 64, "é"]
)
def test_an_id_that_could_name_another_folder_is_refused(job: str) -> None:
    """Peers make and delete a folder of that name; ``..`` would be all they have."""
    with pytest.raises(InvalidMessage):
        Spec.read(spec(job=job))


@pytest.mark.parametrize(
    "changes",
    [
        {"sites": []},
        {"sites": ["a", "a"]},
        {"min_sites": 0},
        {"min_sites": 3},
        {"bundle_bytes": 1 << 40},
        {"bundle": "md5:abc"},
        {"bundle": "sha256:../../x"},
        {"recipient": b"short"},
        {"config": "[]"},
        {"config": "{"},
        {"config": '{"a": [1]}'},
        {"config": '{"a": null}'},
        {"config": "[" * 100_000},
        {"manifest": "[]"},
        {"manifest": "7"},
        {"manifest": "{}"},
        {"manifest": '{"framework": "x", "name": "y", "more": 1}'},
        {"task_seconds": -1.0},
        {"task_seconds": math.nan},
        {"task_seconds": math.inf},
        {"request": b""},
        {"request": bytes(256 * 1024 + 1)},
    ],
    ids=lambda c: str(c)[:40],
)
def test_a_job_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(FedgateError):
        Spec.read(spec(**changes))


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_for_manifest_and_config_is_read_or_refused(manifest: str, config: str) -> None:
    for changes in ({"manifest": manifest}, {"config": config}):
        try:
            Spec.read(spec(**changes))
        except (FedgateError, UnicodeEncodeError):
            continue


def test_a_manifest_of_any_json_is_read_or_refused() -> None:
    for value in ({"framework": 1, "name": []}, [["framework", "x"]], "text", None, True, {"a": 1}):
        try:
            Spec.read(spec(manifest=json.dumps(value)))
        except FedgateError:
            continue
