"""Logistic regression by stochastic gradient descent, one epoch a round."""

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from sklearn.linear_model import SGDClassifier

app = ClientApp()


def data_of(site):
    rng = np.random.default_rng(site)
    inputs = rng.normal(size=(80 + 10 * site, 5))
    return inputs, (inputs @ [1.0, -1.0, 0.5, 0.0, 2.0] > 0).astype(int)


def model_of(message):
    model = SGDClassifier(loss="log_loss", random_state=0)
    model.classes_ = np.array([0, 1])
    model.coef_ = message.content["arrays"]["coef"].numpy()
    model.intercept_ = message.content["arrays"]["intercept"].numpy()
    return model


@app.train()
def train(message, context):
    inputs, labels = data_of(context.node_config["partition-id"])
    model = model_of(message)
    model.partial_fit(inputs, labels, classes=[0, 1])
    arrays = {"coef": Array(model.coef_), "intercept": Array(model.intercept_)}
    metrics = {"num-examples": len(labels), "accuracy": float(model.score(inputs, labels))}
    content = {"arrays": ArrayRecord(arrays), "metrics": MetricRecord(metrics)}
    return Message(RecordDict(content), reply_to=message)


@app.evaluate()
def evaluate(message, context):
    inputs, labels = data_of(context.node_config["partition-id"])
    accuracy = float(model_of(message).score(inputs, labels))
    metrics = MetricRecord({"num-examples": len(labels), "accuracy": accuracy})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
