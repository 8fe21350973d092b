"""A site: adds a number to the array."""

import numpy as np
import nvflare.client as flare

KEY = "numpy_key"


def main():
    flare.init()
    while flare.is_running():
        received = flare.receive()
        if received is None:
            break
        array = received.params[KEY] + np.float32(0.01)
        flare.send(flare.FLModel(params={KEY: array}, meta={"NUM_STEPS_CURRENT_ROUND": 1}))


if __name__ == "__main__":
    main()
