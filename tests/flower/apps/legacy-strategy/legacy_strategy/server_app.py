"""A strategy that weighs sites by what they say of themselves, built on the base class."""

import json
from pathlib import Path

import numpy as np
from flwr.common import (
    EvaluateIns,
    FitIns,
    GetPropertiesIns,
    ndarrays_to_parameters,
    parameters_to_ndarrays,
)
from flwr.compat.server import ServerAppComponents
from flwr.server import ServerConfig
from flwr.server.strategy import Strategy
from flwr.serverapp import ServerApp


class Weighed(Strategy):
    def __init__(self):
        self.history = []

    def initialize_parameters(self, client_manager):
        return None  # a random client is asked for them

    def configure_fit(self, server_round, parameters, client_manager):
        clients = client_manager.sample(3, min_num_clients=3)
        properties = [c.get_properties(GetPropertiesIns({}), 30, None) for c in clients]
        weights = [p.properties["weight"] for p in properties]
        return [
            (client, FitIns(parameters, {"round": server_round, "weight": weight, "name": "ü"}))
            for client, weight in zip(clients, weights, strict=True)
        ]

    def aggregate_fit(self, server_round, results, failures):
        assert not failures, failures
        ordered = sorted((res for _, res in results), key=lambda res: res.metrics["site"])
        total = sum(res.metrics["weight"] for res in ordered)
        layers = zip(*(parameters_to_ndarrays(res.parameters) for res in ordered), strict=True)
        mean = [
            sum(a * (r.metrics["weight"] / total) for a, r in zip(layer, ordered, strict=True))
            for layer in layers
        ]
        np.savez("final.npz", **{str(i): a for i, a in enumerate(mean)})
        self.history.append([dict(res.metrics) for res in ordered])
        return ndarrays_to_parameters(mean), {"total": total}

    def configure_evaluate(self, server_round, parameters, client_manager):
        clients = sorted(client_manager.all().values(), key=lambda c: c.cid)
        return [(client, EvaluateIns(parameters, {})) for client in clients]

    def aggregate_evaluate(self, server_round, results, failures):
        losses = sorted(res.loss for _, res in results)
        self.history.append([losses, len(failures)])
        Path("story.json").write_text(json.dumps(self.history, indent=1, sort_keys=True))
        return sum(losses), {"sites": len(losses)}

    def evaluate(self, server_round, parameters):
        return float(parameters_to_ndarrays(parameters)[0].mean()), {"central": True}


def server_fn(context):
    config = ServerConfig(num_rounds=context.run_config["rounds"])
    return ServerAppComponents(strategy=Weighed(), config=config)


app = ServerApp(server_fn=server_fn)
