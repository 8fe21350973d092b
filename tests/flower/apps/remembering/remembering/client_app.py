"""Counts, remembers an array, and fails once, after it has counted."""

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message, context):
    site, number = context.node_config["partition-id"], message.content["config"]["server-round"]
    state = context.state
    if "arrays" not in state:
        state["arrays"] = ArrayRecord({"sum": Array(np.zeros(2, dtype=np.float32))})
        state["metrics"] = MetricRecord({"rounds": 0, "all": [0.0]})
        state["config"] = ConfigRecord({"bytes": b"", "texts": ["none"]})
    total = state["arrays"]["sum"].numpy() + np.float32(number * (site + 1))
    state["arrays"]["sum"] = Array(total)
    state["metrics"]["rounds"] += 1
    state["metrics"]["all"] = [*state["metrics"]["all"], number / 3]
    state["config"]["bytes"] += bytes([number])
    if site == 1 and number == 2:
        raise RuntimeError("after it has counted")
    seen = {
        "sum": total.tolist(),
        "rounds": state["metrics"]["rounds"],
        "all": state["metrics"]["all"],
        "bytes": state["config"]["bytes"].hex(),
    }
    return Message(RecordDict({"seen": ConfigRecord(seen)}), reply_to=message)
