"""Odd sites implement Client, even ones NumPyClient; both keep a count in their state."""

import numpy as np
from flwr.app import ConfigRecord
from flwr.client import Client, NumPyClient
from flwr.clientapp import ClientApp
from flwr.common import (
    Code,
    EvaluateRes,
    FitRes,
    GetParametersRes,
    GetPropertiesRes,
    Status,
    ndarrays_to_parameters,
    parameters_to_ndarrays,
)

INITIAL = [np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3), np.zeros(2), np.array(3.0)]
FINE = Status(Code.OK, "")


def stepped(parameters, site, number):
    rng = np.random.default_rng([site, number])
    return [p + rng.standard_normal(p.shape).astype(p.dtype) for p in parameters]


def counted(state):
    record = state.get("count", ConfigRecord({"fits": 0}))
    record["fits"] += 1
    state["count"] = record
    return record["fits"]


class Even(NumPyClient):
    def __init__(self, site, state):
        self.site, self.state = site, state

    def get_parameters(self, config):
        return INITIAL

    def get_properties(self, config):
        return {"weight": 1.0 + self.site, "label": b"even"}

    def fit(self, parameters, config):
        metrics = {"site": self.site, "weight": config["weight"], "fits": counted(self.state)}
        return stepped(parameters, self.site, config["round"]), 10, metrics

    def evaluate(self, parameters, config):
        return float(parameters[0].mean()) + self.site, 5, {}


class Odd(Client):
    def __init__(self, site, state):
        self.site, self.state = site, state

    def get_parameters(self, ins):
        return GetParametersRes(FINE, ndarrays_to_parameters(INITIAL))

    def get_properties(self, ins):
        return GetPropertiesRes(FINE, {"weight": 1.0 + self.site, "label": "odd"})

    def fit(self, ins):
        arrays = stepped(parameters_to_ndarrays(ins.parameters), self.site, ins.config["round"])
        metrics = {"site": self.site, "weight": ins.config["weight"], "name": ins.config["name"]}
        metrics["fits"] = counted(self.state)
        return FitRes(FINE, ndarrays_to_parameters(arrays), 10, metrics)

    def evaluate(self, ins):
        mean = float(parameters_to_ndarrays(ins.parameters)[0].mean())
        return EvaluateRes(FINE, mean + self.site, 5, {})


def client_fn(context):
    site = context.node_config["partition-id"]
    kind = Odd if site % 2 else Even
    made = kind(site, context.state)
    return made if site % 2 else made.to_client()


app = ClientApp(client_fn)
