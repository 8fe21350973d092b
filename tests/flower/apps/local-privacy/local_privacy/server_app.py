"""Plain FedAvg; what is special happens in the sites' mods."""

import random
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


@app.main()
def main(grid, context):
    random.seed(5)
    initial = ArrayRecord({"w": Array(np.zeros((4, 2)))})
    result = FedAvg(fraction_evaluate=0.0).start(
        grid, initial, num_rounds=context.run_config["rounds"]
    )
    np.savez("final.npz", **{key: array.numpy() for key, array in result.arrays.items()})
    metrics = {n: dict(m) for n, m in result.train_metrics_clientapp.items()}
    Path("metrics.txt").write_text(repr(metrics))
