"""SCAFFOLD's arithmetic (Karimireddy et al. 2020, option II) for a site whose gradient is a cosine.

One term differs from site to site, so that controls do not vanish.
"""

import zlib

import numpy as np
import nvflare.client as flare
from nvflare.app_common.app_constant import AlgorithmConstants

STEPS, RATE = 3, 0.25

flare.init()
seed = zlib.crc32(flare.get_site_name().encode()) % 1000
own = None
while flare.is_running():
    model = flare.receive()
    if model is None:
        break
    shared = model.meta[AlgorithmConstants.SCAFFOLD_CTRL_GLOBAL]["numpy_key"]
    start = model.params["numpy_key"]
    own = np.zeros_like(start) if own is None else own
    weights = start.copy()
    for _ in range(STEPS):
        weights = weights - RATE * (np.cos(weights * seed) - own + shared)
    new = own - shared + (start - weights) / (STEPS * RATE)
    delta, own = new - own, new
    flare.send(
        flare.FLModel(
            params={"numpy_key": weights - start},
            params_type="DIFF",
            meta={
                "NUM_STEPS_CURRENT_ROUND": STEPS,
                AlgorithmConstants.SCAFFOLD_CTRL_DIFF: {"numpy_key": delta},
            },
        )
    )
