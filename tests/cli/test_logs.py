"""`--log-format json`: every line on standard error is an object, whoever writes it."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fedgate_gateway.cli.logs import JsonLines

PROGRAM = """
import asyncio, os, threading, warnings
from fedgate_gateway.cli.programs import prepare, run_until_stopped

prepare("json", "info")

def fails():
    raise ValueError("in a\\nthread")

async def program():
    os.write(2, b"E0000 00:00:00 chttp2_transport.cc:1148] GOAWAY received\\nhalf a line")
    os.write(2, b" and its end\\n")
    os.write(2, b"x" * 40_000 + b"\\xff\\n")
    warnings.warn("an old way")
    thread = threading.Thread(target=fails)
    thread.start()
    thread.join()
    import grpc
    channel = grpc.aio.insecure_channel("127.0.0.1:1")
    try:
        await channel.unary_unary("/a/b")(b"", timeout=2)
    except grpc.aio.AioRpcError:
        pass
    await channel.close()
    os.write(2, b"the last words")
    raise RuntimeError("nobody catches this")

run_until_stopped(program, name="test")
"""


def lines(code: str, **environment: str) -> list[dict[str, Any]]:
    ran = subprocess.run(
        [sys.executable, "-c", code],
        check=False, capture_output=True, text=True, timeout=60,
        env={"PATH": "/usr/bin:/bin", **environment},
    )  # fmt: skip
    assert ran.stderr.endswith("\n")
    return [json.loads(line) for line in ran.stderr.splitlines()]


def test_every_line_is_an_object_whoever_writes_it():
    told = lines(PROGRAM, GRPC_VERBOSITY="debug", GRPC_TRACE="http")
    said = [line["message"] for line in told]
    for line in ("half a line and its end", "the last words", "test: started"):
        assert any(line in message for message in said), line
    assert sum(message.count("x") for message in said) >= 40_000, "all of a long line"
    assert any("an old way" in message for message in said)
    assert any("gRPC Tracers: http" in message for message in said), "gRPC's core, in its own C"
    caught = [line["exception"] for line in told if "exception" in line]
    assert ["ValueError" in trace for trace in caught] == [True, False]
    assert caught[-1].endswith("RuntimeError")
    assert "in program" in caught[-1], "where it was raised"


WORDS = """
import asyncio, logging, sys
from fedgate_gateway.cli.logs import configure

configure(sys.argv[1], sys.argv[2])

async def fails():
    try:
        raise OSError(28, "No space left on device", "/data/Jane Doe")
    except OSError:
        raise ValueError("Jane Doe has a cough")

async def program():
    asyncio.ensure_future(fails())  # nobody asks how it ended
    await asyncio.sleep(0)
    try:
        raise ExceptionGroup("Jane Doe", [KeyError("Jane Doe")])
    except ExceptionGroup:
        logging.getLogger("fedgate").exception("job-1 failed")

asyncio.run(program())
raise RuntimeError("Jane Doe")
"""


@pytest.mark.parametrize("format", ["plain", "json"])
@pytest.mark.parametrize("level", ["info", "debug"])
def test_what_an_exception_says_is_for_those_who_debug(format: str, level: str):
    """It may repeat what a workload or its data said; a log goes to a journal, and anywhere."""
    ran = subprocess.run(
        [sys.executable, "-c", WORDS, format, level],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    for told in ("job-1 failed", "KeyError", "ValueError", "No space left on device",
                 "RuntimeError", "Task exception was never retrieved"):  # fmt: skip
        assert told in ran.stderr, told
    assert ran.stderr.count("in program") >= 1
    # Source lines of this test hold the name; those of a program of ours do not.
    said = [line for line in ran.stderr.splitlines() if "raise " not in line]
    assert ("Jane Doe" in "".join(said)) == (level == "debug")


def run(*arguments: object) -> tuple[int, list[dict[str, Any]]]:
    ran = subprocess.run(
        [sys.executable, "-m", "fedgate_gateway.cli.main", *map(str, arguments)],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return ran.returncode, [json.loads(line) for line in ran.stderr.splitlines()]


def test_a_program_that_cannot_start_says_so_in_a_line(tmp_path: Path):
    (tmp_path / "gateway.toml").write_text("data = [")
    code, (line,) = run("gateway", "-c", tmp_path / "gateway.toml", "--log-format", "json")
    assert code == line["exit_code"] == 78
    assert (line["level"], line["code"]) == ("error", "invalid-config")
    assert "is not valid TOML" in line["message"]
    code, (line,) = run("enclave", "--log-format", "json")
    assert code == line["exit_code"] == 2


def test_fields_stand_beside_the_sentence():
    told = logging.LogRecord("fedgate.x", logging.INFO, "f", 1, "a sentence", (), None)
    told.fields = {"kind": "job.submitted", "job": "j1", "at": "forged"}
    line = json.loads(JsonLines().format(told))
    assert (line["kind"], line["job"]) == ("job.submitted", "j1")
    assert line["at"] != "forged"
