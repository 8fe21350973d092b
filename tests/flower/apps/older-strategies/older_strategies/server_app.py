"""Each strategy in a DefaultWorkflow of its own; what its rounds arrive at is written down."""

import random

import numpy as np
from flwr.common import ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server import LegacyContext, ServerConfig, strategy
from flwr.server.workflow import DefaultWorkflow
from flwr.serverapp import ServerApp

STRATEGIES = {
    "FedAvg": {},
    "FaultTolerantFedAvg": {},
    "FedProx": {"proximal_mu": 0.1},
    "FedAvgM": {"server_learning_rate": 0.5, "server_momentum": 0.9},
    "FedAdam": {},
    "FedAdagrad": {},
    "FedYogi": {},
    "FedMedian": {},
    "FedTrimmedAvg": {"beta": 0.25},
    "Krum": {"num_malicious_clients": 1},
    "Bulyan": {"num_malicious_clients": 0, "to_keep": 0},  # which its rule wants, and flwr forgets
}
#: Around FedAvg; the ones of the client's side with the mods that belong to them.
WRAPPERS = {
    "DifferentialPrivacyServerSideFixedClipping": {"clipping_norm": 0.5},
    "DifferentialPrivacyServerSideAdaptiveClipping": {"clipped_count_stddev": 2.0},
    "DifferentialPrivacyClientSideFixedClipping": {"clipping_norm": 0.5},
    "DifferentialPrivacyClientSideAdaptiveClipping": {"clipped_count_stddev": 2.0},
}

app = ServerApp()


def initial():
    rng = np.random.default_rng(7)
    return ndarrays_to_parameters(
        [rng.standard_normal((3, 4)).astype(np.float32), rng.standard_normal(4)]
    )


def recorded(name, chosen):
    """The strategy, which then also writes down what it aggregates.

    flwr meets clients in the order of their ids, which is another in each run: sums want one.
    """
    aggregate = chosen.aggregate_fit

    def aggregate_fit(server_round, results, failures):
        assert not failures, failures
        ordered = sorted(results, key=lambda result: result[1].metrics["site"])
        parameters, metrics = aggregate(server_round, ordered, failures)
        arrays = parameters_to_ndarrays(parameters)
        np.savez(f"{name}-{server_round}.npz", **{str(i): a for i, a in enumerate(arrays)})
        return parameters, metrics

    chosen.aggregate_fit = aggregate_fit
    return chosen


def made():
    for name, options in STRATEGIES.items():
        common = {
            "min_available_clients": 4,
            "initial_parameters": initial(),
            "fraction_evaluate": 0.0,
            "on_fit_config_fn": lambda number, name=name: {"mode": name, "round": number},
        }
        yield name, getattr(strategy, name)(**common, **options)
    for name, options in WRAPPERS.items():
        inner = strategy.FedAvg(
            min_available_clients=4,
            initial_parameters=initial(),
            fraction_evaluate=0.0,
            on_fit_config_fn=lambda number, name=name: {"mode": name, "round": number},
        )
        wrapper = getattr(strategy, name)
        yield name, wrapper(inner, noise_multiplier=0.5, num_sampled_clients=4, **options)


@app.main()
def main(grid, context):
    for name, chosen in made():
        random.seed(11)
        np.random.seed(13)
        legacy = LegacyContext(
            context=context,
            config=ServerConfig(num_rounds=context.run_config["rounds"]),
            strategy=recorded(name, chosen),
        )
        DefaultWorkflow()(grid, legacy)
