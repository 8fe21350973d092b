"""Whatever bytes come: every reader of bundles and configuration says so in an error of its own.

Seeded: a failure names the seed and the number of the input, which are all that repeats it.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fedgate import plugins
from fedgate.bundle import Bundle, BundleTree, pack_files
from fedgate.errors import FedgateError
from fedgate_gateway.config import EnclaveConfig, GatewayConfig, ProjectConfig, SiteConfig
from fedgate_gateway.config.base import load_config

SEED = int(os.environ.get("SEED", "1"))
#: CPU seconds that any one of these small inputs may take.
SECONDS = 2.0
ADAPTERS = [plugins.load_adapter(name) for name in ("flare", "flower", "plain")]
ROOT = Path(__file__).parents[2]

HOCON = """# a comment // and another
format_version = 2
n = 3
workflows = [ { id = "w", path = "nvflare.app_common.workflows.scatter_and_gather.ScatterAndGather"
  args { min_clients = ${n}, num_rounds = 3 } } ]
text = \"\"\"many
lines\"\"\"
"""
YAML = """format_version: 2
executors:
  - tasks: [train]
    executor: {path: a.b, args: {x: 1e-4}}
"""
PYPROJECT = """[project]
name = "x"
version = "1.0"
dependencies = ["flwr>=1.26"]
[tool.flwr.app]
publisher = "me"
[tool.flwr.app.components]
serverapp = "x.s:app"
clientapp = "x.c:app"
[tool.flwr.app.config]
rounds = 3
rate = 0.1
nested.on = true
"""
PLAIN = 'name = "x"\nmodule = "w.py"\nrounds = 3\n[config]\nsize = 4\n'
CONFIG = """name = "site-1"
data = "d"
gateway = "localhost:1"
api = "https://localhost:1"
policy = "p.cedar"
projects = ["p.toml"]
[runtime.limits]
open_files = 4096
[datasets.a]
path = "x"
"""
FLARE = {
    path.relative_to(ROOT / "examples/flare-digits/job").as_posix(): path.read_bytes()
    for path in sorted((ROOT / "examples/flare-digits/job").rglob("*"))
    if path.is_file() and "__pycache__" not in path.parts
}
#: What breaks readers: quotes, brackets, comments, numbers that are too large, other encodings.
SPICES = [
    b'"', b"'", b'"""', b"{", b"}", b"[", b"]", b"${", b"${x}", b"#", b"//", b"include ", b"&a ",
    b"*a", b"!!int ", b"!x ", b"._", b"1" * 5000, b"9" * 25, b"-", b"1e999", b"nan", b".inf",
    b"\\", b"\\ud800", b"\0", b"\xff", b"\xed\xa0\x80", b"\r", b"\t", b"\n", b" " * 300, b"<<: ",
    b"? ", b": ", b"= ", b"+=", b",", b"(" * 50, b"[" * 2000, b"a." * 500, b"1:" * 50, b"include#",
    b"\xe2\x80\xae", b"2026-01-02T99:99", b"0x", b"true", b"null", b"@ALL", b"../", b"$",
]  # fmt: skip


def damaged(chance: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        at = chance.randrange(len(out) + 1)
        end = min(len(out), at + chance.choice((0, 0, 1, 4, 40)))
        match chance.randrange(5):
            case 0 | 1:
                out[at:end] = chance.choice(SPICES) * chance.choice((1, 1, 1, 2, 30))
            case 2:
                del out[at:end]
            case 3:
                out[at:at] = out[at:end] * chance.choice((1, 2, 50))
            case _:
                out[at:end] = chance.randbytes(end - at)
    return bytes(out)


def inspect(files: dict[str, bytes]) -> None:
    tree = BundleTree(files)
    for adapter in ADAPTERS:
        if adapter.recognises(tree):
            adapter.inspect(tree)


def flare(name: str, start: bytes) -> Callable[[random.Random, Path], None]:
    """An app's configuration in another format, in a job that is otherwise whole."""
    files = {k: v for k, v in FLARE.items() if not k.endswith("config_fed_server.json")}

    def run(chance: random.Random, _folder: Path) -> None:
        inspect({**files, f"app/config/{name}": damaged(chance, start)})

    return run


def one_of(files: dict[str, bytes]) -> Callable[[random.Random, Path], None]:
    def run(chance: random.Random, _folder: Path) -> None:
        name = chance.choice(sorted(files))
        inspect({**files, name: damaged(chance, files[name])})

    return run


def archive(chance: random.Random, _folder: Path) -> None:
    inspect(dict(Bundle.read(damaged(chance, pack_files(FLARE))).tree))


def config(chance: random.Random, folder: Path) -> None:
    path = folder / "config.toml"
    path.write_bytes(damaged(chance, CONFIG.encode()))
    load_config(chance.choice((SiteConfig, EnclaveConfig, GatewayConfig, ProjectConfig)), path)


READERS = {
    "hocon": flare("config_fed_server.conf", HOCON.encode()),
    "yaml": flare("config_fed_server.yml", YAML.encode()),
    "json": one_of(FLARE),
    "flower": one_of({"pyproject.toml": PYPROJECT.encode(), "x/s.py": b"", "x/c.py": b""}),
    "plain": one_of({"plain.toml": PLAIN.encode(), "w.py": b""}),
    "archive": archive,
    "config": config,
}


def torture(reader: str, count: int, folder: Path) -> None:
    for number in range(count):
        before = time.process_time()
        try:
            READERS[reader](random.Random(f"{SEED} {reader} {number}"), folder)
        except FedgateError as error:
            str(error).encode()
        except Exception as error:
            pytest.fail(f"seed {SEED}, {reader} {number}: {error!r}")
        took = time.process_time() - before
        assert took < SECONDS, f"seed {SEED}, {reader} {number}: {took:.1f} s"


@pytest.mark.parametrize("reader", READERS)
def test_a_sample_of_damaged_inputs(reader: str, tmp_path: Path) -> None:
    torture(reader, 20 if reader == "hocon" else 60, tmp_path)  # pyhocon is slow


@pytest.mark.torture
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("reader", READERS)
def test_many_damaged_inputs(reader: str, tmp_path: Path) -> None:
    torture(reader, 3_000 if reader == "hocon" else 20_000, tmp_path)
