"""Adds 1 to every weight."""

import nvflare.client as flare

flare.init()
while flare.is_running():
    model = flare.receive()
    params = {name: value + 1 for name, value in model.params.items()}
    flare.send(
        flare.FLModel(params=params, params_type="FULL", meta={"NUM_STEPS_CURRENT_ROUND": 1})
    )
