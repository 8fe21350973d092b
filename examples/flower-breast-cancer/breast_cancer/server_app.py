"""What runs where the models meet."""

import random
import time

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MessageType, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from breast_cancer import model

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    config = context.run_config
    random.seed(config["seed"])  # FedAvg draws the order of its nodes from here
    nodes = wait_for_nodes(grid, config["min-nodes"])
    mean, scale = common_scaling(grid, nodes)
    initial = ArrayRecord({k: Array(v) for k, v in model.initial(mean, scale).items()})
    strategy = FedAvg(min_available_nodes=config["min-nodes"])
    result = strategy.start(grid, initial, num_rounds=config["num-server-rounds"])
    np.savez("final_model.npz", **{k: array.numpy() for k, array in result.arrays.items()})
    for number, metrics in sorted(result.evaluate_metrics_clientapp.items()):
        print(f"round {number}: accuracy {metrics['accuracy']:.4f}, loss {metrics['loss']:.4f}")


def wait_for_nodes(grid: Grid, wanted: int) -> list[int]:
    while len(nodes := list(grid.get_node_ids())) < wanted:
        time.sleep(1)
    return nodes


def common_scaling(grid: Grid, nodes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each measurement over all nodes, from their sums alone."""
    question = RecordDict()
    messages = [Message(question, node, MessageType.QUERY) for node in nodes]
    replies = [r.content["moments"] for r in grid.send_and_receive(messages) if r.has_content()]
    totals = {k: sum(r[k].numpy() for r in replies) for k in ("count", "sum", "squares")}
    return model.scaling(totals["count"], totals["sum"], totals["squares"])
