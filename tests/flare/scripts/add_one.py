"""A Client API script that adds one to every weight and says so."""

import nvflare.client as flare

flare.init()
while flare.is_running():
    model = flare.receive()
    params = {name: value + 1 for name, value in model.params.items()}
    flare.send(
        flare.FLModel(
            params=params,
            params_type="FULL",
            metrics={"level": float(params["numpy_key"].mean())},
            meta={"NUM_STEPS_CURRENT_ROUND": 1},
        )
    )
