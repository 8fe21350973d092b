"""Updates whose mean over any of three sites is exact, so that a model tells who was in it."""

import time
from pathlib import Path

import numpy as np


def wait(hold, pause):
    """Until the file ``hold`` is there, and then some seconds."""
    print("training", flush=True)
    while not Path(hold).exists():
        time.sleep(0.02)
    time.sleep(pause)


def beginning():
    return np.arange(64, dtype=np.float32)


def update(weights, site):
    """Of sites 1 to 3: multiples of 6, far below what 24 bits hold."""
    whole = weights.astype(np.int64)
    return (6 * ((7 * whole + 31 * site + 5) % 1001)).astype(np.float32)


def model_of(rounds):
    """``rounds``: the sites whose updates each round averaged."""
    weights = beginning()
    for sites in rounds:
        total = sum(update(weights, site).astype(np.int64) for site in sites)
        weights = (total // len(sites)).astype(np.float32)
    return weights
