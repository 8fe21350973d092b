"""A lifespan around main; what it opened is there in main, and it is closed after it."""

import random
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()
opened = []


@app.lifespan()
def lifespan(context):
    opened.append(context.run_config["rounds"])
    yield
    with Path("story.txt").open("a") as file:
        file.write(f"closed {opened}\n")


@app.main()
def main(grid, context):
    random.seed(1)
    Path("story.txt").write_text(f"main {opened}\n")
    initial = ArrayRecord({"w": Array(np.zeros(3))})
    result = FedAvg(fraction_evaluate=0.0).start(grid, initial, num_rounds=opened[0])
    np.savez("final.npz", **{key: array.numpy() for key, array in result.arrays.items()})
