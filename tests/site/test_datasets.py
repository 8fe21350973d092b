"""A job gets the datasets it named and the site has, the way the site's owner says."""

from pathlib import Path

import pytest

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


@pytest.mark.parametrize("wanted", ["missing", "gone", "../a"])
def test_a_dataset_that_is_not_there_is_denied(tmp_path: Path, wanted: str) -> None:
    with pytest.raises(Denied, match="not at this site"):
        hand_over({"gone": Dataset(path=tmp_path / "gone")}, [wanted])
