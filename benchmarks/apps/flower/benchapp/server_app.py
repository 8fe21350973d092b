"""FedAvg over one array. Leaves rounds.json: when each round began and what came out."""

import hashlib
import json
import time
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    stamps = []

    def stamp(server_round, arrays):  # called before the first round and after each
        stamps.append(time.time())

    options = context.run_config
    array = np.random.default_rng(0).standard_normal(int(options["floats"]), dtype=np.float32)
    strategy = FedAvg(
        fraction_evaluate=1.0 if options["evaluate"] else 0.0,
        min_train_nodes=2,
        min_available_nodes=2,
    )
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord([array]),
        num_rounds=int(options["num-server-rounds"]),
        timeout=300,
        evaluate_fn=stamp,
    )
    final = result.arrays.to_numpy_ndarrays()[0]
    report = {"stamps": stamps, "sha256": hashlib.sha256(final.tobytes()).hexdigest()}
    Path("rounds.json").write_text(json.dumps(report))
