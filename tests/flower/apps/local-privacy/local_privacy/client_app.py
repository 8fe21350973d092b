"""Four mods around one function, in the order in which they are listed."""

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import LocalDpMod, arrays_size_mod, message_size_mod


def counting(message, context, call_next):
    """Tags what goes in and what comes out."""
    message.content["config"]["tagged"] = True
    reply = call_next(message, context)
    reply.content["metrics"]["tagged"] = int(message.content["config"]["tagged"]) + 1
    return reply


app = ClientApp(mods=[counting, message_size_mod, arrays_size_mod])


@app.train(mods=[LocalDpMod(1.0, 0.1, 2.0, 1e-3)])
def train(message, context):
    config = message.content["config"]
    array = message.content["arrays"]["w"].numpy()
    # The mod's noise comes from numpy's own state: seeded here, it is the same everywhere.
    np.random.seed(100 * config["server-round"] + context.node_config["partition-id"])
    metrics = MetricRecord({"num-examples": 2, "seen": float(config["tagged"])})
    content = {"arrays": ArrayRecord({"w": Array(array + 1.5)}), "metrics": metrics}
    return Message(RecordDict(content), reply_to=message)
