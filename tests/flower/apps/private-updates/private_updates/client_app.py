"""A custom mod that picks the clipping mod which the server's wrapper asks for."""

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import adaptiveclipping_mod, fixedclipping_mod

app = ClientApp()
MODS = {"client-fixed": fixedclipping_mod, "client-adaptive": adaptiveclipping_mod}


def clipping(message, context, call_next):
    mod = MODS.get(message.content["config"]["mode"])
    return call_next(message, context) if mod is None else mod(message, context, call_next)


@app.train(mods=[clipping])
def train(message, context):
    site = context.node_config["partition-id"]
    array = message.content["arrays"]["w"].numpy()
    array += np.float32(1 + site)
    content = {
        "arrays": ArrayRecord({"w": Array(array)}),
        "metrics": MetricRecord({"num-examples": 5}),
    }
    return Message(RecordDict(content), reply_to=message)


@app.evaluate()
def evaluate(message, context):
    mean = float(message.content["arrays"]["w"].numpy().mean())
    metrics = MetricRecord({"num-examples": 5, "mean": mean})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
