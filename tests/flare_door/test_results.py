"""What a job released, as FLARE's tools find it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedgate.side_door import Released
from fedgate_flare.front_door.results import collect

FILES = {
    "model.safetensors": "m", "artifacts/app/model.npy": "a",
    "sites/site-1/psi/common.csv": "p", "sites/site-2.zip": "?",
}  # fmt: skip


class Submitter:
    """Fetches a model, the server's files, and the files of one site; of another a damaged one."""

    def fetch(self, _job: str, into: Path) -> Sequence[Released]:
        for name, text in FILES.items():
            path = into / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return [
            Released("model", into / "model.safetensors"),
            Released("artifacts", into / "artifacts"),
            Released("site_files", into / "sites/site-1"),
            Released("site_files", into / "sites/site-2.zip"),
        ]


def test_files_of_sites_lie_beside_the_servers(tmp_path: Path) -> None:
    submitter: Any = Submitter()
    with collect(submitter, "job-1", tmp_path / "scratch") as found:
        files = {str(p.relative_to(found.workspace)) for p in found.workspace.rglob("*.*")}
    assert files == {
        "model.safetensors", "app/model.npy", "artifact_manifest.json",
        "sites/site-1/psi/common.csv", "sites/site-2.zip",
    }  # fmt: skip
