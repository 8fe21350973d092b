"""Bagging wants the new tree alone, cyclic training the whole booster."""

import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from boosting.booster import grown

app = ClientApp()


@app.train()
def train(message, context):
    site = context.node_config["partition-id"]
    newest, whole = grown(message.content["arrays"]["0"].numpy().tobytes(), site)
    content = {
        "arrays": ArrayRecord([np.frombuffer(newest if site % 2 else whole, dtype=np.uint8)]),
        "metrics": MetricRecord({"num-examples": 60}),
    }
    return Message(RecordDict(content), reply_to=message)


@app.evaluate()
def evaluate(message, context):
    size = len(message.content["arrays"]["0"].numpy())
    metrics = MetricRecord({"num-examples": 60, "bytes": float(size)})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
