"""What runs at a hospital. Its file is named by the node's configuration, ``data-path``."""

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from breast_cancer import model

app = ClientApp()


@app.query()
def moments(message: Message, context: Context) -> Message:
    """Sums over the training rows, from which the server derives one scaling for all."""
    x, _, _, _ = model.load(context.node_config["data-path"])
    record = ArrayRecord({k: Array(np.asarray(v)) for k, v in model.moments(x).items()})
    return Message(RecordDict({"moments": record}), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    x, y, _, _ = model.load(context.node_config["data-path"])
    arrays = {name: array.numpy() for name, array in message.content["arrays"].items()}
    trained, loss = model.train(
        arrays, x, y, context.run_config["local-steps"], context.run_config["learning-rate"]
    )
    content = RecordDict(
        {
            "arrays": ArrayRecord({k: Array(v) for k, v in trained.items()}),
            "metrics": MetricRecord({"train-loss": loss, "num-examples": len(y)}),
        }
    )
    return Message(content, reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    _, _, x, y = model.load(context.node_config["data-path"])
    arrays = {name: array.numpy() for name, array in message.content["arrays"].items()}
    loss, accuracy = model.evaluate(arrays, x, y)
    metrics = MetricRecord({"loss": loss, "accuracy": accuracy, "num-examples": len(y)})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
