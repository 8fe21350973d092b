"""What the quantiser draws comes from numpy's own state: seeded, it is the same everywhere."""

import numpy as np
from flwr.client import NumPyClient
from flwr.client.mod import secaggplus_mod
from flwr.clientapp import ClientApp


class Client(NumPyClient):
    def __init__(self, site):
        self.site = site

    def fit(self, parameters, config):
        np.random.seed(40 + self.site)
        return [p + 0.25 * (1 + self.site) for p in parameters], 10 + self.site, {}


def client_fn(context):
    return Client(context.node_config["partition-id"]).to_client()


app = ClientApp(client_fn=client_fn, mods=[secaggplus_mod])
