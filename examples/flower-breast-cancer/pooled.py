"""The same model trained on all sites' rows in one place: what federation is measured against.

    python pooled.py CSV [CSV ...]

Prints one line of JSON: ``{"accuracy": ..., "loss": ...}`` on the sites' test rows together.
"""

import json
import sys
import tomllib
from pathlib import Path

import numpy as np
from breast_cancer import model


def train_pooled(paths):
    """``(accuracy, loss)`` after as many gradient steps as the federated run makes."""
    text = Path(__file__).with_name("pyproject.toml").read_text()
    config = tomllib.loads(text)["tool"]["flwr"]["app"]["config"]
    parts = zip(*[model.load(path) for path in paths], strict=True)
    x, y, x_test, y_test = (np.concatenate(part) for part in parts)
    sums = model.moments(x)
    start = model.initial(*model.scaling(sums["count"], sums["sum"], sums["squares"]))
    steps = config["num-server-rounds"] * config["local-steps"]
    trained, _ = model.train(start, x, y, steps, config["learning-rate"])
    loss, accuracy = model.evaluate(trained, x_test, y_test)
    return accuracy, loss


if __name__ == "__main__":
    accuracy, loss = train_pooled(sys.argv[1:])
    print(json.dumps({"accuracy": accuracy, "loss": loss}))
