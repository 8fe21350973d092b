"""FedAvg inside each wrapper, its noise from a seed."""

import random

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import (
    DifferentialPrivacyClientSideAdaptiveClipping,
    DifferentialPrivacyClientSideFixedClipping,
    DifferentialPrivacyServerSideAdaptiveClipping,
    DifferentialPrivacyServerSideFixedClipping,
    FedAvg,
)

#: Flower's own default of a twentieth of the clients is too little for as few as these.
ADAPTIVE = {"clipped_count_stddev": 2.0}
WRAPPERS = {
    "server-fixed": (DifferentialPrivacyServerSideFixedClipping, {"clipping_norm": 0.5}),
    "server-adaptive": (
        DifferentialPrivacyServerSideAdaptiveClipping,
        ADAPTIVE,
    ),
    "client-fixed": (DifferentialPrivacyClientSideFixedClipping, {"clipping_norm": 0.5}),
    "client-adaptive": (
        DifferentialPrivacyClientSideAdaptiveClipping,
        ADAPTIVE,
    ),
}

app = ServerApp()


@app.main()
def main(grid, context):
    random.seed(5)
    for name, (wrapper, options) in WRAPPERS.items():
        np.random.seed(13)
        private = wrapper(FedAvg(), noise_multiplier=0.5, num_sampled_clients=3, **options)
        initial = ArrayRecord({"w": Array(np.ones((2, 3), dtype=np.float32))})
        result = private.start(
            grid,
            initial,
            num_rounds=context.run_config["rounds"],
            train_config=ConfigRecord({"mode": name}),
        )
        np.savez(f"{name}.npz", **{key: array.numpy() for key, array in result.arrays.items()})
