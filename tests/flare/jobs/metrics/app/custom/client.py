"""Streams a metric while it trains."""

import nvflare.client as flare
from nvflare.client.tracking import SummaryWriter

flare.init()
writer = SummaryWriter()
while flare.is_running():
    model = flare.receive()
    for step in range(5):
        writer.add_scalar("loss", 1.0 / (step + 1), global_step=model.current_round * 5 + step)
    params = {name: value + 1 for name, value in model.params.items()}
    flare.send(
        flare.FLModel(params=params, params_type="FULL", meta={"NUM_STEPS_CURRENT_ROUND": 1})
    )
