"""Unmodified Flower apps in real child processes, against the same apps on stock flwr."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedgate.errors import DeadlineExceeded, InvalidConfig, WorkloadFailed
from fedgate.task import Failure, TaskKind
from fedgate_gateway.child.local import LocalRun, LocalSite, run_locally

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("forked")]

HERE = Path(__file__).parent
EXAMPLE = HERE.parents[1] / "examples" / "flower-breast-cancer"


def sites(count: int, **changes: Any) -> list[LocalSite]:
    return [LocalSite(f"site-{i}", **changes) for i in range(count)]


def succeeded(run: LocalRun) -> LocalRun:
    assert run.error is None, f"{run.error}\n{run.log[-3000:]}\n{run.site_logs}"
    return run


def same_arrays(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> None:
    assert sorted(a) == sorted(b)
    for name in a:
        assert a[name].dtype == b[name].dtype
        assert a[name].tobytes() == b[name].tobytes(), name


# -- parity ----


def test_the_example_ends_with_the_very_weights_of_stock_flower_and_near_pooled_training(
    tmp_path: Path, stock: Callable[..., Path]
) -> None:
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("make_data", EXAMPLE / "make_data.py")
    assert spec is not None
    assert spec.loader is not None
    make_data = module_from_spec(spec)
    spec.loader.exec_module(make_data)
    names = ["site-1", "site-2", "site-3"]
    files = make_data.write_sites(tmp_path / "data", names)
    settings = [{"data-path": str(path)} for path in files]

    run = succeeded(
        run_locally(
            EXAMPLE,
            [LocalSite(n, settings=s) for n, s in zip(names, settings, strict=True)],
            tmp_path / "work",
            timeout=90,
        )
    )
    theirs = dict(np.load(stock(EXAMPLE, tmp_path / "stock", settings) / "final_model.npz"))
    same_arrays(dict(np.load(run.artifacts / "final_model.npz")), theirs)
    assert run.model is not None
    same_arrays(run.model.numpy(), theirs)

    pooled = subprocess.run(
        [sys.executable, EXAMPLE / "pooled.py", *files],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    accuracy = run.metrics_by_round[8]["accuracy"]
    assert accuracy > 0.95
    assert abs(accuracy - json.loads(pooled.stdout)["accuracy"]) < 0.02
    kinds = [(r.number, r.kind) for r in run.rounds]
    assert kinds[0] == (0, TaskKind.QUERY)
    assert [n for n, kind in kinds if kind is TaskKind.TRAIN] == list(range(1, 9))


LEGACY_SERVER = """
    import numpy as np
    from flwr.common import parameters_to_ndarrays
    from flwr.server import ServerConfig
    from flwr.compat.server import ServerAppComponents
    from flwr.server.strategy import FedAvg
    from flwr.serverapp import ServerApp

    class Saving(FedAvg):
        def aggregate_fit(self, server_round, results, failures):
            parameters, metrics = super().aggregate_fit(server_round, results, failures)
            if parameters is not None:
                arrays = parameters_to_ndarrays(parameters)
                np.savez("final.npz", **{str(i): a for i, a in enumerate(arrays)})
            return parameters, metrics

    def mean(metrics):
        return {"acc": float(np.mean([m["acc"] for _, m in metrics]))}

    def server_fn(context):
        strategy = Saving(
            min_available_clients=context.run_config["clients"],
            evaluate_metrics_aggregation_fn=mean,
        )
        config = ServerConfig(num_rounds=context.run_config["rounds"], round_timeout=60)
        return ServerAppComponents(strategy=strategy, config=config)

    app = ServerApp(server_fn=server_fn)
"""
LEGACY_CLIENT = """
    import numpy as np
    from flwr.client import NumPyClient
    from flwr.clientapp import ClientApp

    class Client(NumPyClient):
        def __init__(self, site):
            self.site = site

        def get_parameters(self, config):
            return [np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3), np.zeros(2)]

        def fit(self, parameters, config):
            rng = np.random.default_rng(self.site)
            return [p + rng.standard_normal(p.shape).astype(p.dtype) for p in parameters], \\
                10 + self.site, {"who": self.site}

        def evaluate(self, parameters, config):
            return float(abs(parameters[0]).mean()), 5, {"acc": 0.5 + self.site}

    def client_fn(context):
        return Client(context.node_config["partition-id"]).to_client()

    app = ClientApp(client_fn)
"""


def test_a_legacy_server_fn_app_ends_with_the_weights_of_stock_flower(
    write_app: Callable[..., Path], tmp_path: Path, stock: Callable[..., Path]
) -> None:
    """Two sites, because stock Flower sums three in an order that changes from run to run."""
    app = write_app(LEGACY_SERVER, LEGACY_CLIENT, "clients = 2")
    run = succeeded(run_locally(app, sites(2), tmp_path / "work"))
    theirs = dict(np.load(stock(app, tmp_path / "stock", [{}, {}]) / "final.npz"))
    same_arrays(dict(np.load(run.artifacts / "final.npz")), theirs)
    assert run.model is not None
    same_arrays(run.model.numpy(), theirs)
    assert run.metrics_by_round[2]["acc"] == 1.0
    assert run.metrics_by_round[2]["loss"] > 0


LOOP_SERVER = """
    import time
    import numpy as np
    from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
    from flwr.serverapp import ServerApp

    app = ServerApp()

    @app.main()
    def main(grid, context):
        names = {n.node_id: n.name for n in grid.get_nodes()}
        weights = np.zeros(3)
        for number in range(context.run_config["rounds"]):
            content = RecordDict({
                "weights": ArrayRecord({"w": Array(weights)}),
                "config": ConfigRecord({"server-round": number + 1}),
            })
            ids = list(grid.push_messages(
                [Message(content, node, "train.add") for node in grid.get_node_ids()]))
            replies = []
            while len(replies) < len(ids):
                replies += grid.pull_messages(ids)
                time.sleep(0.01)
            replies.sort(key=lambda r: r.metadata.src_node_id)
            weights = sum(r.content["weights"]["w"].numpy() for r in replies)
        print("names", sorted(names.values()), "weights", weights.tolist())
"""
LOOP_CLIENT = """
    from flwr.app import Array, ArrayRecord, Message, RecordDict
    from flwr.clientapp import ClientApp

    app = ClientApp()

    @app.train("add")
    def add(message, context):
        weights = message.content["weights"]["w"].numpy()
        weights += context.node_config["step"]
        record = ArrayRecord({"w": Array(weights)})
        return Message(RecordDict({"weights": record}), reply_to=message)
"""


def test_an_app_that_pushes_pulls_and_aggregates_by_itself_runs(
    write_app: Callable[..., Path], tmp_path: Path
) -> None:
    app = write_app(LOOP_SERVER, LOOP_CLIENT)
    run = succeeded(
        run_locally(app, sites(2, settings={"step": 2}), tmp_path / "work", config={"rounds": 3})
    )
    assert "names ['site-0', 'site-1'] weights [28.0, 28.0, 28.0]" in run.log
    assert run.model is not None
    assert run.model.metadata["source"] == "sent"  # not claimed to be an aggregate
    assert run.model["w"].numpy().tolist() == [12.0, 12.0, 12.0]


# -- state, errors, and arrays of one's own ----

STRATEGY_SERVER = """
    import numpy as np
    from flwr.app import Array, ArrayRecord
    from flwr.serverapp import ServerApp
    from flwr.serverapp.strategy import FedAvg

    app = ServerApp()

    @app.main()
    def main(grid, context):
        initial = ArrayRecord({"w": Array(np.zeros(4, dtype=np.float32))})
        wanted = context.run_config["clients"]
        FedAvg(
            min_train_nodes=wanted, min_evaluate_nodes=wanted, min_available_nodes=wanted
        ).start(grid, initial, num_rounds=context.run_config["rounds"])
        print("the app is done")
"""
STATE_CLIENT = """
    from flwr.app import ArrayRecord, Array, ConfigRecord, Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp

    app = ClientApp()

    @app.train()
    def train(message, context):
        seen = context.state.get("seen", ConfigRecord({"rounds": 0}))
        seen["rounds"] += 1
        context.state["seen"] = seen
        mine = message.content["arrays"]["w"].numpy()
        mine += 1 + context.node_config["partition-id"]
        number = message.content["config"]["server-round"]
        if context.node_config["partition-id"] == 0 and number == 2:
            raise ValueError("patient 4711 has diabetes")
        kept = message.content["arrays"]["w"].numpy()  # not what was trained in place
        metrics = {
            "num-examples": 1, "seen": seen["rounds"], "kept": float(kept[0]),
            "moved": float((mine - kept)[0]),
        }
        content = {"arrays": ArrayRecord({"w": Array(mine)}), "metrics": MetricRecord(metrics)}
        return Message(RecordDict(content), reply_to=message)

    @app.evaluate()
    def evaluate(message, context):
        metrics = MetricRecord({"num-examples": 1, "rounds": context.state["seen"]["rounds"]})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)
"""


def test_state_lives_through_rounds_and_exceptions_whose_text_stays_inside(
    write_app: Callable[..., Path], tmp_path: Path
) -> None:
    app = write_app(STRATEGY_SERVER, STATE_CLIENT, "clients = 2")
    run = succeeded(run_locally(app, sites(2), tmp_path / "work", config={"rounds": 3}))
    # In round 2 site-0 raised after it had counted; both have seen three rounds.
    assert [run.metrics_by_round[n]["rounds"] for n in (1, 2, 3)] == [1, 2, 3]
    assert run.metrics_by_round[3]["seen"] == 3
    assert run.metrics_by_round[3]["kept"] == pytest.approx(3.5)  # mean(1, 2), then 2
    assert run.metrics_by_round[3]["moved"] == 1.5
    (failed,) = [r for r in run.rounds if r.failed]
    assert (failed.number, list(failed.failed)) == (2, ["site-0"])
    assert failed.failed["site-0"] is Failure.WORKLOAD  # a code: no word of it leaves the enclave
    assert "patient 4711" in run.log  # the enclave's own log has it, as in Flower


def test_a_site_whose_process_dies_is_left_behind(
    write_app: Callable[..., Path], tmp_path: Path
) -> None:
    app = write_app(STRATEGY_SERVER, STATE_CLIENT, "clients = 2")
    three = [*sites(2), LocalSite("site-2", dies_at=3)]
    run = succeeded(run_locally(app, three, tmp_path / "work", config={"rounds": 3}))
    assert list(run.rounds[-1].sites) != []
    assert "site-2" not in run.rounds[-1].sites
    assert run.model is not None


# -- jobs that must not succeed ----

FAILING_CLIENT = """
    from flwr.clientapp import ClientApp

    app = ClientApp()

    @app.train()
    def train(message, context):
        print("about to fail")
        raise SystemExit("no data here")  # worse than an exception
"""


def test_all_clients_failed_is_a_failed_job_though_flower_returns(
    write_app: Callable[..., Path], tmp_path: Path
) -> None:
    app = write_app(STRATEGY_SERVER, FAILING_CLIENT, "clients = 2")
    run = run_locally(app, sites(2), tmp_path / "work")
    assert "the app is done" in run.log
    assert isinstance(run.error, WorkloadFailed)
    assert "all clients failed in round 2" in run.error.what
    assert "the ClientApp raised SystemExit" in run.error.why
    assert "no data here" not in str(run.error)  # the gateway sees this text
    assert "no answer in round 2 from site-0: SystemExit: no data here" in run.log
    assert run.model is None


def test_all_legacy_clients_failed_is_a_failed_job_too(
    write_app: Callable[..., Path], tmp_path: Path
) -> None:
    client = LEGACY_CLIENT.replace("rng =", "raise RuntimeError('no data here')\n            rng =")
    app = write_app(LEGACY_SERVER, client, "clients = 2")
    run = run_locally(app, sites(2), tmp_path / "work", config={"rounds": 1})
    assert isinstance(run.error, WorkloadFailed)
    assert "all clients failed in round 1" in run.error.what


@pytest.mark.parametrize(
    ("server", "client"),
    [(STRATEGY_SERVER, STATE_CLIENT), (LEGACY_SERVER, LEGACY_CLIENT)],
    ids=["main", "server_fn"],
)
def test_waiting_for_more_nodes_than_there_are_ends_with_a_deadline(
    write_app: Callable[..., Path], tmp_path: Path, server: str, client: str
) -> None:
    app = write_app(server, client, "clients = 5")
    run = run_locally(
        app, sites(2), tmp_path / "work", timeout=60, config={"fedgate.node-wait-seconds": 0.5}
    )
    assert isinstance(run.error, DeadlineExceeded)
    assert "nodes" in run.error.what
    assert "2 of the job's sites" in run.error.why


def test_an_app_that_does_not_load_at_a_site_says_what_is_missing(
    write_app: Callable[..., Path], tmp_path: Path
) -> None:
    app = write_app(STRATEGY_SERVER, "import a_module_that_nobody_has", "clients = 1")
    run = run_locally(app, sites(1), tmp_path / "work")
    assert isinstance(run.error, WorkloadFailed)
    assert "a_module_that_nobody_has" in run.error.why
    assert run.rounds[0].failed["site-0"] is Failure.WORKLOAD


@pytest.mark.parametrize(
    ("server", "error", "words"),
    [
        ("raise KeyError('at import')", WorkloadFailed, "does not load"),
        ("app = 5", WorkloadFailed, "is not a ServerApp"),
        (
            STRATEGY_SERVER.replace("initial =", "raise OSError('disk full')\n        initial ="),
            WorkloadFailed,
            "disk full",
        ),
    ],
    ids=["import", "no app", "raises"],
)
def test_a_server_app_that_fails_is_a_failed_job_with_its_reason(
    write_app: Callable[..., Path], tmp_path: Path, server: str, error: type, words: str
) -> None:
    app = write_app(server, STATE_CLIENT, "clients = 1")
    run = run_locally(app, sites(1), tmp_path / "work")
    assert isinstance(run.error, error)
    assert words in str(run.error)
    assert "Traceback" in run.log


def test_an_override_that_the_app_does_not_know_is_named(
    write_app: Callable[..., Path], tmp_path: Path
) -> None:
    app = write_app(STRATEGY_SERVER, STATE_CLIENT, "clients = 1")
    run = run_locally(app, sites(1), tmp_path / "work", config={"epochs": 3})
    assert isinstance(run.error, InvalidConfig)
    assert "'epochs'" in run.error.what


# -- what is released ----

NOISY_SERVER = """
    import numpy as np
    from flwr.app import Array, ArrayRecord
    from flwr.serverapp import ServerApp
    from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping, FedAvg

    app = ServerApp()

    @app.main()
    def main(grid, context):
        initial = ArrayRecord({"w": Array(np.zeros(4, dtype=np.float32))})
        private = DifferentialPrivacyServerSideFixedClipping(
            FedAvg(), noise_multiplier=5.0, clipping_norm=1.0, num_sampled_clients=2)
        result = private.start(grid, initial, num_rounds=1)
        np.savez("final.npz", **{k: a.numpy() for k, a in result.arrays.items()})
        result.arrays.clear()
"""


def test_differential_privacys_noisy_model_is_released_and_never_the_clean_one(
    write_app: Callable[..., Path], tmp_path: Path
) -> None:
    app = write_app(NOISY_SERVER, STATE_CLIENT)
    run = succeeded(run_locally(app, sites(2), tmp_path / "work", config={"rounds": 1}))
    assert run.model is not None
    same_arrays(run.model.numpy(), dict(np.load(run.artifacts / "final.npz")))
    clean = np.full(4, 0.5, np.float32)  # both updates clipped to norm 1, so to 0.5 in each of 4
    assert not np.allclose(run.model["w"].numpy(), clean, atol=1e-3)
