"""Outputs have the names of their kinds: nobody else's words stand in the gateway's register."""

from __future__ import annotations

import pytest

from fedgate.errors import InvalidMessage
from fedgate_gateway.control.records import OutputKind
from fedgate_gateway.link.output_names import OUTPUT_NAMES, check_output


def test_each_kind_has_one_name() -> None:
    assert set(OUTPUT_NAMES) == {kind.value for kind in OutputKind}
    for kind, name in OUTPUT_NAMES.items():
        check_output(kind, name)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("model", "coordinator.log"), ("model", "Patient-7"), ("model", ""), ("Patient 7", ""),
     ("", "model.safetensors"), ("log", "coordinator.log "), ("log", "../coordinator.log")],
)  # fmt: skip
def test_no_output_has_another_name(kind: str, name: str) -> None:
    with pytest.raises(InvalidMessage) as refused:
        check_output(kind, name)
    assert "Patient" not in str(refused.value)
