"""Exchanges torch tensors: no conversion on either side."""

import nvflare.client as flare
import torch

flare.init()
number = int(flare.get_site_name().rsplit("-", 1)[-1])
while flare.is_running():
    model = flare.receive()
    params = {name: torch.cos(value * number) for name, value in model.params.items()}
    flare.send(
        flare.FLModel(params=params, params_type="FULL", meta={"NUM_STEPS_CURRENT_ROUND": 1})
    )
