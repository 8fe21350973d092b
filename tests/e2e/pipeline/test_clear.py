"""Nothing in clear: planted weights are found nowhere at the gateway.

With encryption switched off the same search finds them, so it could have.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
LABELS = ("planted model", "planted update")


def found(data: bytes, planted: bytes) -> bool:
    """The pattern repeats, so 16 bytes of it stand in whatever piece of 47 bytes or more."""
    return planted[:16] in data


def everything_of(state: Path) -> dict[str, bytes]:
    """Every file of the gateway: database, write-ahead log, objects, keys, spool."""
    return {str(p.relative_to(state)): p.read_bytes() for p in state.rglob("*") if p.is_file()}


def traffic(bench: Any, make_workload: Any) -> tuple[bytes, bytes, dict[str, bytes], bytes]:
    """Letters, cargo, files and program log of two jobs: one in letters, one in cargo."""
    for size in (300, 800_000):
        job = bench.submit(make_workload(size=size))
        ended = bench.wait(job)
        assert ended["state"] == "succeeded", ended
        kinds = {output["kind"] for output in bench.federation.client.outputs(job)}
        assert "model" in kinds
    letters = (bench.folder / "recorded-letters").read_bytes()
    cargo = (bench.folder / "recorded-cargo").read_bytes()
    files = everything_of(bench.federation.layout.state("gateway"))
    return letters, cargo, files, bench.federation.programs["gateway"].log.read_bytes()


def test_weights_are_in_no_frame_no_row_and_no_file_of_the_gateway(
    make_bench: Callable[..., Any], make_workload: Any, planted_bytes: Any
) -> None:
    bench = make_bench(sites=2, gateway="hostile_gateway")
    letters, cargo, files, log = traffic(bench, make_workload)
    assert b"site-1" in letters  # this is what was relayed
    assert len(cargo) > 4 * 3_200_000
    assert any(name.endswith((".db", ".sqlite", ".sqlite3")) for name in files), list(files)
    assert any(name.startswith("objects") for name in files), list(files)
    for label in LABELS:
        for name, data in {"letters": letters, "cargo": cargo, "log": log, **files}.items():
            assert not found(data, planted_bytes(label)), f"{label} is in {name}"


def test_the_same_search_finds_them_where_encryption_is_switched_off(
    make_bench: Callable[..., Any], make_workload: Any, planted_bytes: Any
) -> None:
    bench = make_bench(sites=2, every="unsealed")
    letters, cargo, files, _ = traffic(bench, make_workload)
    for label in LABELS:
        assert found(letters, planted_bytes(label))
        assert found(cargo, planted_bytes(label))
    released = [name for name, data in files.items() if found(data, planted_bytes(LABELS[1]))]
    assert any(name.startswith("objects") for name in released)
