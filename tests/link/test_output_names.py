"""Outputs have the names of their kinds: nobody else's words stand in the gateway's register."""

from __future__ import annotations

import pytest

from fedgate.errors import InvalidMessage
from fedgate_gateway.control.records import OutputKind
from fedgate_gateway.link.output_names import (
    OUTPUT_NAMES,
    SITE_FILES,
    check_output,
    site_files_name,
    site_of,
)


def test_each_kind_has_one_name() -> None:
    assert {*OUTPUT_NAMES, SITE_FILES} == {kind.value for kind in OutputKind}
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


def test_files_of_a_site_have_its_name_if_it_is_one_of_the_job() -> None:
    name = site_files_name("site-1")
    check_output(SITE_FILES, name, {"site-1", "site-2"})
    assert site_of(name) == "site-1"
    for kind, other in ((SITE_FILES, site_files_name("site-3")), ("model", name),
                        (SITE_FILES, "model.safetensors"), (SITE_FILES, "site-files..zip"),
                        (SITE_FILES, "site-files.Patient.zip"), (SITE_FILES, "")):  # fmt: skip
        with pytest.raises(InvalidMessage):
            check_output(kind, other, {"site-1", "site-2"})
    assert [site_of(n) for n in ("model.safetensors", "site-files.x", ".zip")] == ["", "", ""]
