"""The masks cancel exactly, so the sum is the same whatever the keys are."""

import numpy as np
from flwr.common import ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server import LegacyContext, ServerConfig
from flwr.server.strategy import FedAvg
from flwr.server.workflow import DefaultWorkflow, SecAggPlusWorkflow
from flwr.serverapp import ServerApp

app = ServerApp()


class Saving(FedAvg):
    def aggregate_fit(self, server_round, results, failures):
        parameters, metrics = super().aggregate_fit(server_round, results, failures)
        arrays = parameters_to_ndarrays(parameters)
        np.savez(f"round-{server_round}.npz", **{str(i): a for i, a in enumerate(arrays)})
        return parameters, metrics


@app.main()
def main(grid, context):
    initial = ndarrays_to_parameters([np.zeros((2, 3)), np.zeros(4)])
    strategy = Saving(
        min_available_clients=3,
        min_fit_clients=3,
        fraction_evaluate=0.0,
        initial_parameters=initial,
    )
    legacy = LegacyContext(
        context=context,
        config=ServerConfig(num_rounds=context.run_config["rounds"]),
        strategy=strategy,
    )
    fit = SecAggPlusWorkflow(num_shares=3, reconstruction_threshold=2, max_weight=100)
    DefaultWorkflow(fit_workflow=fit)(grid, legacy)
