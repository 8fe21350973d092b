"""A site: adds its number to the array."""

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    step = np.float32(0.01 * (1 + int(context.node_config["partition-id"])))
    arrays = [array + step for array in message.content["arrays"].to_numpy_ndarrays()]
    content = {"arrays": ArrayRecord(arrays), "metrics": MetricRecord({"num-examples": 1})}
    return Message(RecordDict(content), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    array = message.content["arrays"].to_numpy_ndarrays()[0]
    metrics = MetricRecord({"num-examples": 1, "head": float(array[:9].sum())})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
