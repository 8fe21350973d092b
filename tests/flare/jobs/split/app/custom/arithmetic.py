"""What both halves compute, so that a test can compute it whole."""

import numpy as np

FEATURES = np.arange(12.0).reshape(4, 3) / 7
LABELS = np.array([0.0, 1.0, 1.0, 0.0])


def upward(features, weights):
    return np.tanh(features @ weights)


def loss(activations, labels):
    """Squared error of the activations' sum, and its gradient."""
    error = activations.sum(axis=1) - labels
    return float((error**2).mean()), np.repeat(error[:, None], activations.shape[1], axis=1) / 2


def lower_step(features, weights, gradient):
    slope = 1 - np.tanh(features @ weights) ** 2
    return weights - 0.1 * features.T @ (gradient * slope)
