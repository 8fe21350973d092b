"""One site's part: NVIDIA FLARE's Client API around a softmax regression in plain numpy.

The site's data is the file that the environment variable DIGITS_DATA names (see split.py).
"""

import os

import numpy as np
import nvflare.client as flare
from softmax import accuracy, load, train

KEY = "numpy_key"  # the name under which FLARE's numpy persistor keeps the model


def main():
    data = load(os.environ["DIGITS_DATA"])
    flare.init()
    while flare.is_running():
        received = flare.receive()
        if received is None:
            break
        weights = np.asarray(received.params[KEY], dtype=np.float64)
        score = accuracy(weights, data["x_test"], data["y_test"])
        print(f"round {received.current_round}: global model has accuracy {score:.4f} here")
        trained = train(weights, data["x_train"], data["y_train"], steps=40)
        flare.send(
            flare.FLModel(
                params={KEY: trained},
                metrics={"accuracy": score},
                meta={"NUM_STEPS_CURRENT_ROUND": len(data["y_train"])},
            )
        )


if __name__ == "__main__":
    main()
