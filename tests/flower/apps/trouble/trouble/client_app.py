"""One step, unless the run is to go wrong at the sites."""

import os
import threading

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message, context):
    does = message.content["config"]["does"]
    array = message.content["arrays"]["w"].numpy() + 1
    if does == "block the sites":
        threading.Event().wait()
    if does == "kill the sites":
        os._exit(3)
    metrics = MetricRecord({"num-examples": 1})
    if does == "send what may not leave":
        if context.node_config["partition-id"] == 0:
            array[1] = np.nan
        else:
            metrics["losses"] = [0.5] * 5_000_000  # 40 MB
    content = {"arrays": ArrayRecord({"w": Array(array)}), "metrics": metrics}
    return Message(RecordDict(content), reply_to=message)
