"""A recipe as FLARE's examples run theirs: the status first, then the wait for the result."""

import sys
from pathlib import Path

from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe
from nvflare.recipe.utils import set_per_site_config

from fedgate_flare import FedgateEnv

profile, output, script = sys.argv[1:]
env = FedgateEnv(
    profile,
    name="by recipe",
    output=output,
    site_names={"clinic-1": "site-1", "clinic-2": "site-2"},
    wait="fails" in script,
)
recipe = NumpyFedAvgRecipe(
    name="plus",
    min_clients=2,
    num_rounds=3,
    model=[[1.0, 2.0], [3.0, 4.0]],
    train_script=str(Path(__file__).with_name(script)),
)
set_per_site_config(recipe, {"clinic-1": {}, "clinic-2": {}})
run = recipe.execute(env)
print("Job status is:", run.get_status())
print("Result can be found in:", run.get_result())
