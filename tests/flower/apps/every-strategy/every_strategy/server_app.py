"""One process start for a dozen strategies; what each arrives at is written down."""

import random

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord
from flwr.serverapp import ServerApp, strategy

STRATEGIES = {
    "FedAvg": {},
    "FedProx": {"proximal_mu": 0.1},
    "FedAvgM": {"server_learning_rate": 0.5, "server_momentum": 0.9},
    "FedAdam": {},
    "FedAdagrad": {},
    "FedYogi": {},
    "FedMedian": {},
    "FedTrimmedAvg": {"beta": 0.25},
    "Krum": {"num_malicious_nodes": 1},
    "MultiKrum": {"num_malicious_nodes": 1, "num_nodes_to_select": 3},
    "Bulyan": {"num_malicious_nodes": 0},
    "QFedAvg": {"client_learning_rate": 0.1},
}

app = ServerApp()


@app.main()
def main(grid, context):
    random.seed(11)  # strategies sample nodes with it, so with the same seed in the same order
    for name, options in STRATEGIES.items():
        rng = np.random.default_rng(7)
        initial = ArrayRecord(
            {
                "w": Array(rng.standard_normal((3, 4)).astype(np.float32)),
                "b": Array(rng.standard_normal(4)),
            }
        )
        chosen = getattr(strategy, name)(**options)
        result = chosen.start(
            grid,
            initial,
            num_rounds=context.run_config["rounds"],
            train_config=ConfigRecord({"lr": 0.1}),
        )
        arrays = {key: array.numpy() for key, array in result.arrays.items()}
        np.savez(f"{name}.npz", **arrays)
        losses = {n: dict(m) for n, m in result.evaluate_metrics_clientapp.items()}
        print(name, "evaluated", losses, flush=True)
