"""FedAvg with evaluation at the server as well."""

import random

import numpy as np
from flwr.app import Array, ArrayRecord, MetricRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


def evaluate(server_round, arrays):
    return MetricRecord({"norm": float(np.linalg.norm(arrays["coef"].numpy()))})


@app.main()
def main(grid, context):
    random.seed(2)
    initial = ArrayRecord({"coef": Array(np.zeros((1, 5))), "intercept": Array(np.zeros(1))})
    strategy = FedAvg(min_available_nodes=3)
    result = strategy.start(
        grid, initial, num_rounds=context.run_config["rounds"], evaluate_fn=evaluate
    )
    np.savez("final.npz", **{key: array.numpy() for key, array in result.arrays.items()})
