"""A Client API script: trains by arithmetic that is sensitive to the last bit."""

import os
import time
import zlib

import numpy as np
import nvflare.client as flare


def main():
    flare.init()
    seed = zlib.crc32(flare.get_site_name().encode()) % 1000
    while flare.is_running():
        model = flare.receive()
        if model is None:
            break
        if os.environ.get("TRAINER_FAILS"):
            raise RuntimeError("this site's data is unusable")
        time.sleep(float(os.environ.get("TRAINER_SLEEPS", "0")))
        weights = model.params["numpy_key"]
        trained = weights + np.cos(weights * seed) / 3
        flare.send(
            flare.FLModel(
                params={"numpy_key": trained},
                metrics={"level": float(weights.mean())},
                meta={"NUM_STEPS_CURRENT_ROUND": 7 + seed % 13},
            )
        )


if __name__ == "__main__":
    main()
