"""A recipe of FLARE's, executed through a whole federation: gateway, enclave, two sites."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedgate import Model
from fedgate.errors import Denied, NotFound
from fedgate_flare import FedgateEnv

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
SCRIPT = Path(__file__).parents[1] / "flare" / "scripts" / "add_one.py"


def recipe(**changes):
    from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe

    told = {"name": "plus", "min_clients": 2, "num_rounds": 3, "model": [[1.0, 2.0], [3.0, 4.0]]}
    return NumpyFedAvgRecipe(train_script=str(SCRIPT), **(told | changes))


def test_a_recipe_runs_and_its_result_is_opened(federation, tmp_path):
    env = FedgateEnv(federation.profile_path, name="by recipe", output=tmp_path)
    run = recipe().execute(env)
    folder = Path(run.get_result(timeout=60))
    assert run.get_status() == "FINISHED:COMPLETED"
    for place in ("workspace", "server/simulate_job"):  # where FLARE's examples look
        assert (folder / place / "models/server.npy").is_file(), sorted(folder.rglob("*"))
    (model,) = folder.rglob("*.safetensors")
    released = Model.parse(model.read_bytes()).numpy()["numpy_key"]
    assert released.tobytes() == np.array([[4.0, 5.0], [6.0, 7.0]], released.dtype).tobytes()


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
