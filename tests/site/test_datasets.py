"""A job gets the datasets it named and the site has, the way the site's owner says."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from fedgate.errors import Denied
from fedgate_gateway.config import Dataset
from fedgate_gateway.site.datasets import hand_over


def test_only_the_datasets_that_were_asked_for_are_handed_over(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).touch()
    both = {name: Dataset(path=tmp_path / name) for name in ("a", "b")}
    assert hand_over(both, ["a"]).paths == {"a": tmp_path / "a"}
    assert hand_over(both, []).paths == {}


def test_settings_and_environment_name_the_path_where_the_owner_wants_it(tmp_path: Path) -> None:
    data = {
        "a": Dataset(
            path=tmp_path,
            settings={"data-path": "{path}/x", "partition-id": 3, "on": True},
            environment={"DATA": "{path}"},
        )
    }
    handed = hand_over(data, ["a"])
    assert handed.settings == {"data-path": f"{tmp_path}/x", "partition-id": 3, "on": True}
    assert handed.environment == {"DATA": str(tmp_path)}


def test_a_dataset_lies_where_a_workload_looks_for_it(tmp_path: Path) -> None:
    (tmp_path / "ward.csv").write_text("a,b")
    data = {
        "ward": Dataset(path=tmp_path / "ward.csv", appears_as="data/client.csv"),
        "again": Dataset(path=tmp_path, appears_as="data/client.csv"),
        "around": Dataset(path=tmp_path, appears_as="data"),
    }
    hand_over(data, ["ward"]).place(tmp_path / "scratch")
    assert (tmp_path / "scratch" / "data" / "client.csv").read_text() == "a,b"
    for other in ("again", "around"):
        for both in (["ward", other], [other, "ward"]):
            with pytest.raises(Denied, match="two of the job's datasets"):
                hand_over(data, both)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "..", "../x", "a/../../x", "./a", "a/.", "a/", ".", "a\0"]
)
def test_a_dataset_appears_nowhere_else(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValidationError):
        Dataset(path=tmp_path, appears_as=name)
    for fine in ("a", "a/b.csv", "..a/...", "a..b"):
        assert Dataset(path=tmp_path, appears_as=fine)


@pytest.mark.parametrize("wanted", ["missing", "gone", "../a"])
def test_a_dataset_that_is_not_there_is_denied(tmp_path: Path, wanted: str) -> None:
    with pytest.raises(Denied, match="not at this site"):
        hand_over({"gone": Dataset(path=tmp_path / "gone")}, [wanted])
