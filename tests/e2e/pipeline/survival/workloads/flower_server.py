"""Flower's FedAvg."""

from flwr.app import ArrayRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg
from survivor.arithmetic import beginning

app = ServerApp()


@app.main()
def main(grid, context):
    strategy = FedAvg(
        fraction_train=1.0, fraction_evaluate=0.0, min_train_nodes=2, min_available_nodes=2
    )
    strategy.start(
        grid=grid, initial_arrays=ArrayRecord([beginning()]),
        num_rounds=context.run_config["num-server-rounds"],
    )  # fmt: skip
