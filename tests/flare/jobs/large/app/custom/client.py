"""Adds one to every weight, in place."""

import nvflare.client as flare

flare.init()
while flare.is_running():
    model = flare.receive()
    if model is None:
        break
    weights = model.params["numpy_key"]
    weights += 1
    flare.send(flare.FLModel(params={"numpy_key": weights}, meta={"NUM_STEPS_CURRENT_ROUND": 5}))
