"""What a workload depends on is looked up before it starts, and never installed."""

from __future__ import annotations

import asyncio
import json
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fedgate.bundle import digest_of, pack_files
from fedgate.codes import Code
from fedgate.errors import Denied, InvalidConfig
from fedgate.notice import public
from fedgate_gateway.child.dependencies import Offer, choose_runtime, offer_of
from fedgate_gateway.config import EnclaveConfig, Runtime, SiteConfig
from fedgate_gateway.inspection import Inspector
from fedgate_gateway.link.spec import Spec
from fedgate_gateway.site.decision import examine
from fedgate_proto.v1 import link_pb2 as pb

PACKAGES = {
    "numpy": "2.1.0", "scikit-learn": "1.5.1", "flwr": "1.41.0", "xgboost-cpu": "3.2.0",
}  # fmt: skip
OFFER = Offer("3.11", "3.11.9", PACKAGES)


def python(folder: Path, name: str, **packages: str) -> str:
    """An interpreter that has only ``packages``, as far as it says."""
    path = folder / name
    packages = {"fedgate": "1", **packages}
    if not packages["fedgate"]:
        del packages["fedgate"]
    answer = json.dumps(["3.11", "3.11.9", {k.replace("_", "-"): v for k, v in packages.items()}])
    path.write_text(f"#!/bin/sh\necho '{answer}'\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def config(folder: Path, **changes: Any) -> SiteConfig:
    return SiteConfig(
        name="a", data=folder, gateway="localhost:1", api="https://localhost:2",
        policy=folder / "policy.cedar", projects=(), **changes,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("dependency", "missing"),
    [
        ("numpy", None),
        ("Scikit_Learn>=1.5,<2", None),
        ("flwr[simulation]>=1.27.0", None),
        ("flwr @ {root:parent:parent:uri}", None),
        ('tomli; python_version < "3.11"', None),
        ('numpy>=3; extra == "all"', None),
        ("numpy>=2.2", "numpy>=2.2 (2.1.0 is installed)"),
        ("torch==2.8.0", "torch==2.8.0 (not installed)"),
        ('pandas; python_version >= "3.11"', "pandas (not installed)"),
        ("pandas @ https://example.org/pandas.whl", "pandas (not installed)"),
        ("xgboost>=3", None),  # xgboost-cpu is another build of it
        ("xgboost>=4", "xgboost>=4 (3.2.0 is installed)"),
        ("no requirement at all!", "'no requirement at all!' (malformed)"),
    ],
)
def test_a_dependency_is_there_or_is_named(dependency: str, missing: str | None) -> None:
    assert OFFER.missing([dependency]) == ([] if missing is None else [missing])


def test_this_very_interpreter_says_what_it_has() -> None:
    asked = ["fedgate", "Types_Psutil", "numpy>=1", "a-package-that-nobody-has>1", "no name!"]
    offer = offer_of("", {}, asked)
    assert offer.missing(asked[:3]) == []
    assert offer.missing(asked[3:]) == [
        "a-package-that-nobody-has>1 (not installed)", "'no name!' (malformed)",
    ]  # fmt: skip
    assert set(offer.packages) == {"fedgate", "types-psutil", "numpy"}, "others were not asked for"


def test_more_dependencies_than_a_command_line_holds_are_looked_up() -> None:
    asked = [f"nobody-has-{number:060}" for number in range(3000)]
    assert len(offer_of("", {}, asked).missing(asked)) == len(asked)


def test_a_site_declines_with_the_names_of_what_it_lacks(tmp_path: Path) -> None:
    runtime = Runtime(interpreter=python(tmp_path, "plain", numpy="2.0"))
    with pytest.raises(Denied) as denied:
        choose_runtime(("numpy>=1", "torch==2.8.0", "pandas"), config(tmp_path, runtime=runtime))
    assert denied.value.why == "torch==2.8.0 (not installed), pandas (not installed)"


def test_the_first_prepared_interpreter_that_has_everything_is_taken(tmp_path: Path) -> None:
    made = config(
        tmp_path,
        runtime=Runtime(interpreter=python(tmp_path, "plain", numpy="2.0"), sandbox="process"),
        interpreters={
            "old": python(tmp_path, "old", numpy="2.0", torch="1.0"),
            "torch": python(tmp_path, "torch", numpy="2.0", torch="2.8.0"),
        },
    )
    assert choose_runtime(("numpy",), made) == made.runtime
    chosen = choose_runtime(("numpy", "torch>=2"), made)
    assert chosen.interpreter == str(tmp_path / "torch")
    assert chosen.sandbox == "process"
    with pytest.raises(Denied, match=r"runtime lacks pandas .*; old lacks .*; torch lacks"):
        choose_runtime(("pandas",), made)


def test_an_environment_without_what_children_run_on_is_not_taken(tmp_path: Path) -> None:
    bare = python(tmp_path, "bare", fedgate="", numpy="2.0")
    with pytest.raises(Denied, match=r"fedgate \(not installed\)"):
        choose_runtime(("numpy",), config(tmp_path, runtime=Runtime(interpreter=bare)))
    whole = python(tmp_path, "whole", numpy="2.0")
    made = config(tmp_path, runtime=Runtime(interpreter=bare), interpreters={"whole": whole})
    assert choose_runtime(("numpy",), made).interpreter == whole


def test_an_enclave_looks_for_an_interpreter_as_sites_do(tmp_path: Path) -> None:
    made = EnclaveConfig(
        name="e", data=tmp_path, gateway="localhost:1", api="https://localhost:2", projects=(),
        runtime=Runtime(interpreter=python(tmp_path, "plain", numpy="2.0")),
        interpreters={"torch": python(tmp_path, "torch", torch="2.8.0")},
    )  # fmt: skip
    assert choose_runtime(("torch>=2",), made).interpreter == str(tmp_path / "torch")
    with pytest.raises(Denied, match="enclave e does not have") as lacking:
        choose_runtime(("pandas",), made)
    assert public(lacking.value).code is Code.LACKS_DEPENDENCIES


def test_an_interpreter_that_does_not_answer_is_an_error_of_the_configuration(
    tmp_path: Path,
) -> None:
    with pytest.raises(InvalidConfig, match="does not work"):
        choose_runtime(("numpy",), config(tmp_path, runtime=Runtime(interpreter="/no/python")))


def test_a_bundle_is_examined_together_with_what_it_needs(tmp_path: Path) -> None:
    """With a real Flower app and the interpreter of this test."""
    project = """
        [project]
        name = "probe"
        version = "1.0.0"
        dependencies = ["flwr>=1.41,<2", "a-package-that-nobody-has>=2"]
        [tool.flwr.app]
        publisher = "tests"
        [tool.flwr.app.components]
        serverapp = "probe:app"
        clientapp = "probe:app"
    """
    archive = pack_files({"pyproject.toml": project.encode(), "probe.py": b""})
    spec = Spec.read(
        pb.JobSpec(
            job="job-1", project="demo", name="n", bundle=digest_of(archive),
            bundle_bytes=len(archive), framework="flower", submitter="me", sites=["a"],
            manifest=json.dumps({"framework": "flower", "name": "n"}), min_sites=1, config="{}",
            request=b"signed",
        )
    )  # fmt: skip
    site = config(tmp_path)
    with (
        closing(Inspector(site.adapters)) as inspector,
        pytest.raises(Denied, match="a-package-that-nobody-has>=2"),
    ):
        asyncio.run(examine(spec, archive, site, inspector))
