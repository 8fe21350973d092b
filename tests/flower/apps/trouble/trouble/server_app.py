"""FedAvg, unless the run is to go wrong at the server."""

import os
import threading

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


@app.main()
def main(grid, context):
    does = context.run_config["does"]
    nodes = 7 if does == "wait for nodes" else 2
    if does == "raise":
        raise RuntimeError("no luck today")
    if does == "block the server":
        threading.Event().wait()
    if does == "invent a message type":
        node = next(iter(grid.get_node_ids()))
        grid.push_messages([Message(RecordDict(), node, "gossip")])
    if does == "call an unknown action":
        messages = [Message(RecordDict(), node, "train.secretly") for node in grid.get_node_ids()]
        print([reply.error.reason for reply in grid.send_and_receive(messages)])
        return
    if does == "print a gigabyte":
        chunk = b"0123456789abcde\n" * 4096
        for _ in range((1 << 30) // len(chunk)):
            os.write(1, chunk)
    strategy = FedAvg(min_available_nodes=nodes, fraction_evaluate=0.0)
    initial = ArrayRecord({"w": Array(np.zeros(3, dtype=np.float32))})
    strategy.start(grid, initial, num_rounds=1, train_config=ConfigRecord({"does": does}))
