"""A step of gradient descent towards a target that differs from site to site."""

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


def loss_of(arrays, site):
    return float(sum(((a - site) ** 2).mean() for a in arrays.values()))


def metrics_of(arrays, site, name):
    return MetricRecord({"num-examples": 10 + site, name: loss_of(arrays, site)})


@app.train()
def train(message, context):
    site, config = context.node_config["partition-id"], message.content["config"]
    arrays = {k: a.numpy() for k, a in message.content["arrays"].items()}
    pull = 1 + config.get("proximal-mu", 0.0)
    trained = {}
    for key, array in arrays.items():
        step = (config["lr"] * pull * (array - site)).astype(array.dtype)
        trained[key] = Array(np.ascontiguousarray(array - step))
    content = {
        "arrays": ArrayRecord(trained),
        "metrics": metrics_of(arrays, site, "train_loss"),
    }
    return Message(RecordDict(content), reply_to=message)


@app.evaluate()
def evaluate(message, context):
    site = context.node_config["partition-id"]
    arrays = {k: a.numpy() for k, a in message.content["arrays"].items()}
    content = RecordDict({"metrics": metrics_of(arrays, site, "loss")})
    return Message(content, reply_to=message)
