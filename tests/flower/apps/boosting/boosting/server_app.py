"""The global model is a uint8 array that begins empty and grows."""

import random

import numpy as np
from flwr.app import ArrayRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedXgbBagging, FedXgbCyclic

app = ServerApp()


@app.main()
def main(grid, context):
    random.seed(3)
    for name, chosen in {"bagging": FedXgbBagging(), "cyclic": FedXgbCyclic()}.items():
        initial = ArrayRecord([np.array([], dtype=np.uint8)])
        result = chosen.start(grid, initial, num_rounds=context.run_config["rounds"])
        np.savez(f"{name}.npz", booster=result.arrays["0"].numpy())
