"""Messages over 2 GiB, which no protobuf message holds, through a whole federation.

It wants 14 GB of memory and three quarters of a minute, so only where ``FEDGATE_LARGE`` is set.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from fedgate_gateway.cli import workload
from fedgate_gateway.cli.results import fetch_all
from fedgate_gateway.cli.signing import sign_submission
from fedgate_gateway.cli.submissions import Submissions
from fedgate_gateway.dev import DatasetTemplate, Federation

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not os.environ.get("FEDGATE_LARGE"), reason="set FEDGATE_LARGE=1 (14 GB)"),
]

APP = Path(__file__).parent / "apps" / "two-gigabytes"
FLOATS = 550_000_000


def test_an_array_of_more_than_2_gib_crosses_both_ways(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    data = DatasetTemplate("data", str(tmp_path / "data"))
    adapters = ("flower",)
    federation = Federation(
        tmp_path / "federation", sites=2, datasets=[data], adapters=adapters, examples=False
    )
    federation.prepare()
    for site in federation.sites:
        with federation.layout.site(site).open("a") as file:
            file.write('\n[guard.query]\narrays = "unchecked"\ndtypes = ["U8", "F32", "F64"]\n')
    with federation:
        client, kept = federation.client, Submissions(federation.profile_path)
        archive = workload.load(APP, adapters=adapters)
        signed = sign_submission(
            client.profile,
            archive,
            sites=federation.sites,
            datasets=["data"],
            min_sites=2,
            recipient=client.profile.recipient_key().public_raw,
        )
        job = client.send(signed)
        kept.submitted(job, signed)
        for _event in client.events(job["id"]):
            pass
        ended = client.job(job["id"])["job"]
        assert ended["state"] == "succeeded", ended["reason"]
        fetch_all(client, job["id"], tmp_path / "results", submissions=kept)
    (found,) = (tmp_path / "results").rglob("found.json")
    expected = float(np.arange(FLOATS, dtype="f4")[::997].astype("f8").sum())
    assert json.loads(found.read_text()) == {
        "down": [expected, expected],
        "up": expected,
        "bytes": FLOATS * 4,
    }
