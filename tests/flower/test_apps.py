"""Our own Flower apps, each through a whole federation and on stock flwr: the same to the bit.

An app writes what it arrives at into its working directory; those files are compared.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedgate.model import ITEMSIZE
from fedgate_gateway.cli import workload
from fedgate_gateway.cli.results import fetch_all
from fedgate_gateway.cli.signing import sign_submission
from fedgate_gateway.cli.submissions import Submissions
from fedgate_gateway.dev import DatasetTemplate, Federation

pytestmark = pytest.mark.e2e

HERE = Path(__file__).parent
APPS = HERE / "apps"
SITES = 4

#: App -> sites, overrides of its run configuration.
RUNS: Mapping[str, tuple[int, Mapping[str, Any]]] = {
    "every-strategy": (4, {}),
    "boosting": (3, {}),
    "private-updates": (3, {}),
    "local-privacy": (2, {}),
    "named-actions": (3, {}),
    "every-payload": (2, {}),
    "legacy-strategy": (3, {}),
    "older-strategies": (4, {}),
    "secure-sum": (3, {}),
    "lifespans": (2, {}),
    "remembering": (2, {}),
    "settings": (2, {"number": 7, "rate": 2.0, "flag": True, "text": "ö", "nested.deep.value": 9}),
    "opaque-model": (2, {}),
    "histograms": (2, {"bins": 4}),
    "linear-models": (3, {}),
}


#: What :func:`settings_of` site 0 is in a site's file, and what another site's number makes of it.
_IN_FILE = ('name = "ward 0"', "beds = 20", "open = true")


def settings_of(site: int) -> dict[str, Any]:
    return {"name": f"ward {site}", "beds": 20 + site, "open": site % 2 == 0}


#: What some of the apps need: NaN and every dtype, trees, first weights, shares of keys.
_GUARD = f"""
[guard]
finite = false

[guard.train]
arrays = "unchecked"
dtypes = {json.dumps(list(ITEMSIZE))}
body_bytes = 16777216

[guard.query]
arrays = "unchecked"
dtypes = {json.dumps(list(ITEMSIZE))}
"""


@pytest.fixture(scope="module")
def federation(
    tmp_path_factory: pytest.TempPathFactory, quick_programs: Callable[[], Any]
) -> Iterator[Federation]:
    """Four sites without data but with settings of their own."""
    folder = tmp_path_factory.mktemp("apps")
    data = DatasetTemplate("ward", str(folder), settings=settings_of(0))
    made = Federation(
        folder / "f", sites=SITES, datasets=[data], examples=False, adapters=("flower",)
    )
    made.prepare()
    for index, site in enumerate(made.sites):
        path = made.layout.site(site)
        text = path.read_text()
        other = (f'name = "ward {index}"', f"beds = {20 + index}", f"open = {index % 2 == 0}")
        for ours, theirs in zip(_IN_FILE, other, strict=True):
            assert ours in text
            text = text.replace(ours, theirs.replace("True", "true").replace("False", "false"))
        # every-payload has NaN among its values, which no site lets out by itself
        path.write_text(f"{text}\n{_GUARD}")
    # Boosting that passes from site to site ends with what one site answered: its owners say so.
    for file in (made.layout.project, made.layout.gateway):
        file.write_text(file.read_text().replace("minimum_cohort = 2", "minimum_cohort = 1"))
    for policy in map(made.layout.policy, made.sites):
        told = policy.read_text()
        policy.write_text(told.replace("context.release.minimum_cohort >= 2", "true"))
    with quick_programs(), made:
        yield made


def ours(federation: Federation, app: str, into: Path) -> Path:
    """The app as a job; the folder of what its ServerApp wrote, as its submitter gets it."""
    count, config = RUNS[app]
    client, kept = federation.client, Submissions(federation.profile_path)
    archive = workload.load(APPS / app, adapters=("flower",))
    signed = sign_submission(
        client.profile,
        archive,
        sites=federation.sites[:count],
        datasets=["ward"],
        min_sites=count,
        config=config,
        recipient=client.profile.recipient_key().public_raw,
    )
    job = client.send(signed)
    kept.submitted(job, signed)
    for _event in client.events(job["id"]):
        pass
    ended = client.job(job["id"])["job"]
    fetch_all(client, job["id"], into, submissions=kept)
    log = into / "coordinator.log"  # there is none if the ServerApp printed nothing
    printed = log.read_text()[-3000:] if log.exists() else ""
    assert ended["state"] == "succeeded", f"{ended['reason']}\n{printed}"
    return into / "artifacts"


#: Secure aggregation sums over sets of nodes: the last bit of a float was seen to differ by run.
LAST_BIT = {"secure-sum"}


def same_files(ours: Path, theirs: Path, *, last_bit: bool = False) -> None:
    names = sorted(path.name for path in theirs.iterdir() if path.is_file())
    assert names, "the app wrote nothing down"
    for name in names:
        if name.endswith(".npz"):
            mine, other = dict(np.load(ours / name)), dict(np.load(theirs / name))
            assert sorted(mine) == sorted(other)
            for key, array in mine.items():
                assert (array.dtype, array.shape) == (other[key].dtype, other[key].shape), name
                if last_bit and array.dtype.kind == "f":
                    np.testing.assert_array_max_ulp(array, other[key], maxulp=2)
                else:
                    assert array.tobytes() == other[key].tobytes(), (name, key)
        else:
            assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name


@pytest.mark.parametrize("app", RUNS)
def test_an_app_arrives_at_the_very_bytes_of_stock_flower(
    federation: Federation, stock: Callable[..., Path], app: str, tmp_path: Path
) -> None:
    count, config = RUNS[app]
    settings = [settings_of(site) for site in range(count)]
    with ThreadPoolExecutor() as beside:
        theirs = beside.submit(stock, APPS / app, tmp_path / "stock", settings, config)
        mine = ours(federation, app, tmp_path / "ours")
    same_files(mine, theirs.result(), last_bit=app in LAST_BIT)
