"""A recipe of FLARE's, executed through a whole federation: gateway, enclave, two sites."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fedgate import Model
from fedgate.errors import Denied, InvalidTransition, NotFound
from fedgate_flare import FedgateEnv
from fedgate_gateway.dev import Federation

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
SCRIPT = Path(__file__).parents[1] / "flare" / "scripts" / "add_one.py"


def recipe(**changes):
    from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe

    told = {"name": "plus", "min_clients": 2, "num_rounds": 3, "model": [[1.0, 2.0], [3.0, 4.0]]}
    return NumpyFedAvgRecipe(train_script=str(SCRIPT), **(told | changes))


def script(federation: Federation, output: Path, trains: str) -> subprocess.CompletedProcess[str]:
    """A recipe's own script, which names the sites otherwise than this federation does."""
    command = [sys.executable, SCRIPT.with_name("plus_recipe.py"), federation.profile_path, output]
    return subprocess.run(
        [*map(str, command), trains], capture_output=True, text=True, check=False, timeout=240
    )


def test_a_script_that_prints_the_status_and_then_waits_ends_with_the_result(federation, tmp_path):
    ran = script(federation, tmp_path, SCRIPT.name)
    assert ran.returncode == 0, ran.stderr
    status, result = ran.stdout.strip().splitlines()[-2:]
    assert status.removeprefix("Job status is: ") not in ("", "None")
    folder = Path(result.removeprefix("Result can be found in: "))
    job = federation.client.job(folder.name)["job"]
    assert (job["state"], job["name"]) == ("succeeded", "by recipe")
    assert job["sites"] == ["site-1", "site-2"]
    with pytest.raises(InvalidTransition, match="has ended already: succeeded"):
        FedgateEnv(federation.profile_path).abort_job(folder.name)
    for place in ("workspace", "server/simulate_job"):  # where FLARE's examples look
        assert (folder / place / "models/server.npy").is_file(), sorted(folder.rglob("*"))
    (model,) = folder.rglob("*.safetensors")
    released = Model.parse(model.read_bytes()).numpy()["numpy_key"]
    assert released.tobytes() == np.array([[4.0, 5.0], [6.0, 7.0]], released.dtype).tobytes()


def test_a_script_whose_job_fails_ends_as_under_the_simulator_with_the_reason(federation, tmp_path):
    ran = script(federation, tmp_path, "fails.py")
    assert ran.returncode == 1
    assert "ended as failed: " in ran.stderr
    assert "Result can be found" not in ran.stdout


def test_an_aborted_run_is_a_cancelled_job(federation, tmp_path):
    run = recipe(num_rounds=100_000).execute(FedgateEnv(federation.profile_path, output=tmp_path))
    assert run.get_status() in ("SUBMITTED", "APPROVED", "DISPATCHED", "RUNNING")
    run.abort()
    run.get_result(timeout=60)
    assert run.get_status() == "FINISHED:ABORTED"


def test_a_result_that_is_not_there_yet_is_none(federation, tmp_path):
    env = FedgateEnv(federation.profile_path, output=tmp_path)
    job = recipe(num_rounds=100_000).execute(env).get_job_id()
    assert env.get_job_result(job, timeout=1.5) is None
    env.abort_job(job)


def test_what_the_gateway_refuses_is_told_in_its_words(federation, tmp_path):
    env = FedgateEnv(federation.profile_path, project="nobody-s", output=tmp_path)
    with pytest.raises((Denied, NotFound), match="nobody-s"):
        recipe().execute(env)
