"""The model and its data: plain numpy, deterministic."""

from pathlib import Path

import numpy as np


def load(path):
    """A site's rows as ``(x_train, y_train, x_test, y_test)``; every fifth row is for testing.

    The file is a CSV with a header: thirty measurements, then ``malignant`` (0 or 1).
    """
    rows = np.loadtxt(Path(path), delimiter=",", skiprows=1)
    x, y = rows[:, :-1], rows[:, -1]
    test = np.arange(len(rows)) % 5 == 4
    return x[~test], y[~test], x[test], y[test]


def moments(x):
    """Number of rows, and the sum and sum of squares of each column."""
    return {"count": np.array(len(x)), "sum": x.sum(axis=0), "squares": (x**2).sum(axis=0)}


def scaling(count, total, squares):
    """Mean and standard deviation of each column from its moments."""
    mean = total / count
    return mean, np.sqrt(squares / count - mean**2)


def initial(mean, scale):
    return {"weights": np.zeros_like(mean), "bias": np.zeros(1), "mean": mean, "scale": scale}


def train(model, x, y, steps, learning_rate):
    """Full-batch gradient descent on the logistic loss; returns the new model and the loss."""
    x = (x - model["mean"]) / model["scale"]
    weights, bias = model["weights"].copy(), model["bias"].copy()
    for _ in range(steps):
        error = _sigmoid(x @ weights + bias) - y
        weights -= learning_rate * (x.T @ error) / len(y)
        bias -= learning_rate * error.mean()
    trained = {**model, "weights": weights, "bias": bias}
    return trained, _loss(_sigmoid(x @ weights + bias), y)


def evaluate(model, x, y):
    """Loss and accuracy."""
    predicted = _sigmoid((x - model["mean"]) / model["scale"] @ model["weights"] + model["bias"])
    return _loss(predicted, y), float(((predicted > 0.5) == y).mean())


def _sigmoid(z):
    return 1 / (1 + np.exp(-z))


def _loss(predicted, y):
    predicted = np.clip(predicted, 1e-12, 1 - 1e-12)
    return float(-(y * np.log(predicted) + (1 - y) * np.log(1 - predicted)).mean())
