"""A ServerApp that says all that it can, and asks its sites to."""

from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg

from .plants import NUMBER, ROUND, fail_as, say, word

app = ServerApp()
ASKS = ("exception", "key", "exit", "beyond", "error", "object", "name", "body", "action")


def arrays():
    tensor = word("flower tensor")
    return ArrayRecord({"w": Array(np.zeros(3)), tensor: Array(np.array([float(NUMBER)]))})


@app.main()
def main(grid, context):
    say("flower server")
    for number, does in enumerate(ASKS):
        content = {
            "config": ConfigRecord({"does": does, word("flower key"): word("flower value")}),
            "arrays": arrays(),
            word("flower record"): MetricRecord({word("flower metric"): float(NUMBER)}),
        }
        kind = ("train", "evaluate", "query")[number % 3]
        if does == "action":
            kind = f"train.{word('flower action')}"
        grid.send_and_receive(
            Message(RecordDict(content), node, kind, group_id=str(ROUND + number))
            for node in grid.get_node_ids()
        )
    strategy = FedAvg(fraction_evaluate=0.0)
    config = ConfigRecord({"does": "well", word("flower setting"): NUMBER})
    result = strategy.start(grid, arrays(), num_rounds=1, train_config=config)
    Path(word("flower file")).write_text(repr(result))
    if context.run_config["ends"] == "badly":
        grid.send_and_receive(
            Message(RecordDict({"config": ConfigRecord({"does": "die"})}), node, "query")
            for node in list(grid.get_node_ids())[:1]
        )
        fail_as("exit", "flower server")
