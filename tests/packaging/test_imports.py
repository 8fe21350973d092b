"""What each program loads before it does anything: nobody waits for what it does not use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

#: What starts, and what it must not have loaded then.
FRAMEWORKS = ("flwr", "nvflare", "torch", "sklearn", "scipy", "pandas")
API = ("fastapi", "starlette", "uvicorn", "sqlalchemy", "alembic", "obstore", "prometheus_client")
LINK = ("grpc", "google.protobuf", "cryptography", "cedarpy")
CLIENT = ("httpx", "rich", "typer")
CONFIG = ("pydantic", "asyncio", "ssl")
DOORS = ("fedgate.front_door", "fedgate.side_door")
_EACH = "for name in ('flower', 'flare', 'plain'): {}.load_adapter(name)"
STARTS = {
    "a worker or coordinator, before its framework": (
        "import fedgate_gateway.child.__main__ as child\n" + _EACH.format("child"),
        (*FRAMEWORKS, *API, *LINK, *CLIENT, *CONFIG, *DOORS, "numpy"),
    ),
    "the inspection server": (
        "import fedgate_gateway.inspection.__main__, fedgate.plugins as plugins\n"
        + _EACH.format("plugins"),
        (*FRAMEWORKS, *API, *LINK, *CLIENT, *DOORS, "numpy"),
    ),
    "a site": ("import fedgate_gateway.site.agent", (*FRAMEWORKS, *API, *CLIENT)),
    "an enclave host": (
        "import fedgate_gateway.enclave.host",
        (*FRAMEWORKS, *API, *CLIENT, "cedarpy", "numpy"),
    ),
    "the gateway": (
        "import fedgate_gateway.program",
        (*FRAMEWORKS, "httpx", "rich", "numpy", "alembic", "mako", "pygments"),
    ),
    "the help": (
        "from fedgate_gateway.cli.main import main; assert main(['--help']) == 0",
        (*FRAMEWORKS, *API, *LINK, "httpx", "pydantic", "numpy", "stevedore"),
    ),
    "a command that reads": (
        "import fedgate_gateway.cli.board; from fedgate_gateway.cli.commands import job",
        (*FRAMEWORKS, *API, *LINK, "numpy", "stevedore", "fedgate_gateway.sealed"),
    ),
    "a command's help": (
        "from fedgate_gateway.cli.main import main; assert main(['job', '--help']) == 0",
        (
            *FRAMEWORKS, *API, *LINK, *CONFIG, "httpx", "numpy", "stevedore",
            *(f"fedgate_gateway.cli.commands.{name}" for name in ("dev", "gateway", "audit")),
        ),
    ),
}  # fmt: skip
#: Each in a process forked from one interpreter that has loaded nothing.
_SCRIPT = """
import json, os, sys
told = {}
for name, code in json.load(sys.stdin).items():
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.dup2(2, 1)
        exec(code, {})
        os.write(writing, " ".join(sys.modules).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as loaded:
        told[name] = loaded.read().split()
    os.wait()
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, list[str]], Path]:
    """The modules of each, and the home folder that they had."""
    home = tmp_path_factory.mktemp("home")
    ran = subprocess.run(
        [sys.executable, "-P", "-c", _SCRIPT],
        input=json.dumps({name: code for name, (code, _) in STARTS.items()}),
        env={**os.environ, "HOME": str(home)},
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return json.loads(ran.stdout), home


@pytest.mark.parametrize("name", STARTS)
def test_it_loads_nothing_that_it_does_not_use(
    loaded: tuple[dict[str, list[str]], Path], name: str
) -> None:
    modules = loaded[0][name]
    assert "fedgate.errors" in modules, "it did not start"
    assert not set(STARTS[name][1]) & set(modules)


def test_entry_points_are_not_kept_in_the_home_folder(
    loaded: tuple[dict[str, list[str]], Path],
) -> None:
    """A child's home is its scratch folder: what is kept there is read by no one, or by a job."""
    assert list(loaded[1].iterdir()) == []
