"""The job, by NVIDIA FLARE's own recipe: FedAvg over a Client API script that runs in process.

usage: python job.py OUT_DIR    writes the job folder OUT_DIR/digits
"""

import argparse
import os
from pathlib import Path

import numpy as np
from nvflare.app_common.np.recipes import NumpyFedAvgRecipe
from softmax import SHAPE

HERE = Path(__file__).resolve().parent


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--clients", type=int, default=3, help="sites in a round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    out = options.out.resolve()
    os.chdir(HERE)  # FLARE writes the script's path into the job as it is given
    recipe = NumpyFedAvgRecipe(
        name="digits",
        model=np.zeros(SHAPE).tolist(),
        min_clients=options.clients,
        num_rounds=options.rounds,
        train_script="client.py",
    )
    recipe.add_client_file("softmax.py")
    recipe.export(str(out))
    print(f"exported to {out / 'digits'}")


if __name__ == "__main__":
    main()
