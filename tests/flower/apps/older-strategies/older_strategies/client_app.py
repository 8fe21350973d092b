"""A step towards a target that differs from site to site, clipped where a wrapper asks for it."""

from flwr.client import NumPyClient
from flwr.client.mod import adaptiveclipping_mod, fixedclipping_mod
from flwr.clientapp import ClientApp

MODS = {
    "DifferentialPrivacyClientSideFixedClipping": fixedclipping_mod,
    "DifferentialPrivacyClientSideAdaptiveClipping": adaptiveclipping_mod,
}


class Client(NumPyClient):
    def __init__(self, site):
        self.site = site

    def fit(self, parameters, config):
        pull = 0.1 * (1 + config.get("proximal_mu", 0.0))
        stepped = [(p - pull * (p - self.site)).astype(p.dtype) for p in parameters]
        return stepped, 10 + self.site, {"site": self.site}


def clipping(message, context, call_next):
    config = message.content.config_records.get("fitins.config", {})
    mod = MODS.get(config.get("mode"))
    return call_next(message, context) if mod is None else mod(message, context, call_next)


def client_fn(context):
    return Client(context.node_config["partition-id"]).to_client()


app = ClientApp(client_fn=client_fn, mods=[clipping])
