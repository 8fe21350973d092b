"""Where everything of a development federation lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PROJECT = "demo"
ENCLAVE = "enclave-1"
#: Who submits: the name of the developer's token.
SUBMITTER = "developer"


@dataclass(frozen=True)
class Layout:
    root: Path

    @property
    def gateway(self) -> Path:
        return self.root / "gateway.toml"

    @property
    def enclave(self) -> Path:
        return self.root / "enclave.toml"

    def site(self, name: str) -> Path:
        return self.root / f"{name}.toml"

    @property
    def project(self) -> Path:
        return self.root / "projects" / f"{PROJECT}.toml"

    def policy(self, owner: str) -> Path:
        return self.root / "policies" / f"{owner}.cedar"

    def state(self, program: str) -> Path:
        """Keys, certificates and whatever else a program keeps."""
        return self.root / "state" / program

    @property
    def data(self) -> Path:
        """The sites' datasets, a folder for each site."""
        return self.root / "data"

    def log(self, program: str) -> Path:
        return self.root / "logs" / f"{program}.log"

    @property
    def profile(self) -> Path:
        return self.root / "profile.toml"

    @property
    def admin_profile(self) -> Path:
        return self.root / "admin" / "profile.toml"

    def sites(self) -> list[str]:
        """The sites that have a file, in the order of their numbers."""
        found = (path.stem for path in self.root.glob("site-*.toml"))
        numbers = sorted(int(n) for name in found if (n := name.removeprefix("site-")).isdecimal())
        return [f"site-{number}" for number in numbers]
