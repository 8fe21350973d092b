"""Our copy of Flower's messages is Flower's, and what they say is read strictly."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

import fedgate_flower.control
from fedgate.errors import InvalidBundle, InvalidMessage
from fedgate.front_door import Sight
from fedgate.job import Job, JobState
from fedgate.manifest import Manifest
from fedgate_flower.control import orders, runs
from fedgate_flower.control import wire_pb2 as pb

FOLDER = Path(fedgate_flower.control.__file__).parent
MAPS = {"OverrideConfigEntry", "RunDictEntry"}


def flower_s(name: str):
    """The installed flwr's message of this name."""
    from flwr.proto import control_pb2, fab_pb2, federation_config_pb2, run_pb2, transport_pb2

    for module in (control_pb2, run_pb2, fab_pb2, transport_pb2, federation_config_pb2):
        if name in module.DESCRIPTOR.message_types_by_name:
            return module.DESCRIPTOR.message_types_by_name[name]
    raise AssertionError(f"flwr has no message {name}")


def shape(field):
    """What decides the bytes of a field, and whether its absence can be seen."""
    return (field.type, field.is_repeated, field.has_presence)


@pytest.mark.parametrize("name", sorted(pb.DESCRIPTOR.message_types_by_name))
def test_every_message_has_the_numbers_and_types_of_flower(name):
    theirs = {field.number: field for field in flower_s(name).fields}
    for field in pb.DESCRIPTOR.message_types_by_name[name].fields:
        other = theirs[field.number]
        assert shape(field) == shape(other), field.full_name
        assert field.name == other.name or name == "Scalar"
        if field.message_type is not None and field.message_type.name not in MAPS:
            assert field.message_type.name == other.message_type.name
        if field.message_type is not None and field.message_type.name in MAPS:
            ours, flowers = field.message_type.fields, other.message_type.fields
            assert [shape(f) for f in ours] == [shape(f) for f in flowers]


def test_scalars_of_flower_are_read_as_what_they_are():
    from flwr.common.serde import user_config_to_proto
    from flwr.proto.control_pb2 import StartRunRequest

    config = {"a": 1, "b": -2, "c": 0.5, "d": True, "e": "text", "f": False, "g": 0}
    sent = StartRunRequest(override_config=user_config_to_proto(config))
    sent.fab.content, sent.fab.hash_str = b"", ""
    read = pb.StartRunRequest.FromString(sent.SerializeToString())
    found = orders._config(read)
    assert found == config
    assert {k: type(v) for k, v in found.items()} == {k: type(v) for k, v in config.items()}


def test_the_generated_module_is_what_its_source_gives(tmp_path):
    root = FOLDER.parents[1]
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--python_out={tmp_path}",
         f"--pyi_out={tmp_path}", "fedgate_flower/control/wire.proto"],
        cwd=root, check=True, timeout=60,
    )  # fmt: skip
    for name in ("wire_pb2.py", "wire_pb2.pyi"):
        fresh = (tmp_path / "fedgate_flower" / "control" / name).read_text()
        assert (FOLDER / name).read_text() == fresh


def test_answering_flwr_loads_no_flwr():
    code = (
        "import sys; from fedgate.plugins import load_front_door; load_front_door('flower');"
        "import fedgate_flower.control.connection;"
        "sys.exit(any(m.split('.')[0] in ('flwr', 'numpy') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


# -- what flwr run sends ---------------------------------------------------------------------


def test_sites_datasets_and_limits_are_settings_of_the_run(ask, archive):
    config = {
        "fedgate.sites": pb.Scalar(text="site-2, site-1"),
        "fedgate.datasets": pb.Scalar(text="patients,"),
        "fedgate.min-sites": pb.Scalar(integer=2),
        "fedgate.task-seconds": pb.Scalar(real=1.5),
        "fedgate.node-wait-seconds": pb.Scalar(real=9.0),
        "lr": pb.Scalar(real=0.5),
    }
    bundle, order = orders.read(ask(archive, override_config=config, federation="@fedgate/health"))
    assert bundle == archive
    assert (order.project, order.sites, order.datasets) == (
        "health", ("site-2", "site-1"), ("patients",)
    )  # fmt: skip
    assert (order.min_sites, order.task_seconds) == (2, 1.5)
    assert order.config == {"lr": 0.5, "fedgate.node-wait-seconds": 9.0}


def test_a_series_by_its_number_is_one_by_its_name(ask, archive):
    _, order = orders.read(ask(archive, series_id=2026))
    assert order.config == {"fedgate.series": 2026}
    with pytest.raises(InvalidMessage, match="two series"):
        orders.read(
            ask(archive, series_id=1, override_config={"fedgate.series": pb.Scalar(text="a")})
        )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("fedgate.sites", pb.Scalar(integer=1)),
        ("fedgate.datasets", pb.Scalar(truth=True)),
        ("fedgate.min-sites", pb.Scalar(text="2")),
        ("fedgate.min-sites", pb.Scalar(truth=True)),
        ("fedgate.task-seconds", pb.Scalar(text="1")),
        ("lr", pb.Scalar(real=float("nan"))),
        ("lr", pb.Scalar(real=float("inf"))),
        ("lr", pb.Scalar(blob=b"\x00")),
        ("lr", pb.Scalar()),
        ("lr", pb.Scalar(natural=2**63)),
        ("", pb.Scalar(natural=1)),
        ("x" * 256, pb.Scalar(natural=1)),
        ("a\x1b[2Jb", pb.Scalar(natural=1)),
    ],
)
def test_a_setting_that_cannot_be_is_refused(ask, archive, key, value):
    with pytest.raises(InvalidMessage):
        orders.read(ask(archive, override_config={key: value}))


def test_more_settings_than_anybody_needs_are_refused(ask, archive):
    many = {f"k{n}": pb.Scalar(natural=n) for n in range(1001)}
    with pytest.raises(InvalidMessage, match="too many settings"):
        orders.read(ask(archive, override_config=many))


@pytest.mark.parametrize("name", ["health", "@ada/health", "@fedgate/", "@fedgate/Health",
                                  "@fedgate/a b", "@fedgate/" + "a" * 64])  # fmt: skip
def test_a_federation_that_is_none_of_ours_is_refused(ask, archive, name):
    with pytest.raises(InvalidMessage, match="@fedgate/<project>"):
        orders.read(ask(archive, federation=name))


def test_an_app_of_the_hub_is_not_fetched(ask, archive):
    with pytest.raises(InvalidMessage, match="Flower Hub"):
        orders.read(ask(archive, app_spec="@flwrlabs/quickstart"))


def test_simulations_are_refused(ask, archive):
    with pytest.raises(InvalidMessage, match="simulate"):
        orders.read(ask(archive, override_federation_config=pb.SimulationConfig()))


def test_an_app_with_another_hash_is_refused(archive):
    for fab in (pb.Fab(hash_str="0" * 64, content=archive), pb.Fab(hash_str="", content=b"")):
        with pytest.raises(InvalidBundle):
            orders.read(pb.StartRunRequest(fab=fab))


# -- what flwr ls shows --------------------------------------------------------------------------

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
STATUSES = {
    JobState.SUBMITTED: "pending", JobState.IN_REVIEW: "pending", JobState.QUEUED: "pending",
    JobState.STARTING: "starting", JobState.RUNNING: "running",
    JobState.SUCCEEDED: "finished:completed", JobState.DENIED: "finished:failed",
    JobState.FAILED: "finished:failed", JobState.EXPIRED: "finished:failed",
    JobState.CANCELLED: "finished:stopped",
}  # fmt: skip


def sight(state: JobState, explanation: str = "") -> Sight:
    job = Job(
        "job-000000000000", "health", "sha256:" + "ab" * 32, "flower", "ada/mean", "alice",
        ("site-1",), state=state, created=AT, config={"lr": 0.5, "n": -1, "on": True},
    )  # fmt: skip
    return Sight(job, 7, Manifest("flower", "ada/mean", "1.2.3"), {}, explanation)


@pytest.mark.parametrize("state", JobState)
def test_flower_reads_our_states_as_its_own(state):
    from flwr.cli.run_utils import format_runs
    from flwr.common.serde import run_from_proto
    from flwr.proto.run_pb2 import Run

    sent = runs.run(sight(state, "because")).SerializeToString()
    row = format_runs([run_from_proto(Run.FromString(sent))], AT.isoformat())[0]
    assert row.status_text == STATUSES[state]
    assert row.details == f"{state.value.replace('_', ' ')}: because"
    assert (row.federation_id, row.fab_hash) == ("@fedgate/health", "ab" * 32)
    assert (row.fab_id, row.fab_version, row.run_id) == ("ada/mean", "1.2.3", 7)


def test_flower_accepts_the_names_of_our_federations():
    from flwr.supercore.utils import check_federation_format

    for project in ("health", "a", "0-x", "a" * 63):
        check_federation_format(runs.federation(project))
        assert runs.project_of(runs.federation(project)) == project
