"""How programs start and stop: real processes, real signals."""

from __future__ import annotations

import gc
import json
import logging
import signal
import subprocess
import sys

import pytest

from fedgate_gateway.cli.logs import JsonLines, Lines

PROGRAM = """
import asyncio, sys
from fedgate.errors import Unavailable
from fedgate_gateway.cli.programs import prepare, run_until_stopped

prepare("plain", "info")

async def program():
    print("up", flush=True)
    try:
        {body}
    finally:
        print("cleaned up", flush=True)

run_until_stopped(program, name="test", stop_on_eof={eof})
print("after", flush=True)
"""


def start(body: str = "await asyncio.sleep(60)", eof: bool = False) -> subprocess.Popen[str]:
    code = PROGRAM.format(body=body, eof=eof)
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "up\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_a_program_in_order(number):
    process = start()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "cleaned up\nafter\n")
    assert f"stopping ({signal.Signals(number).name})" in err


def test_a_program_without_a_loop_stops_by_a_signal_or_when_its_starter_is_gone():
    code = (
        "from fedgate_gateway.cli.programs import stop_event\n"
        "stop = stop_event(stop_on_eof=True)\n"
        "print('up', flush=True); stop.wait(); print('after')"
    )
    for end in (lambda p: p.send_signal(signal.SIGTERM), lambda p: p.stdin.close()):
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "up\n"
        end(process)
        assert process.stdout.read() == "after\n"
        assert process.wait(60) == 0
        process.stdout.close()


def test_a_second_signal_ends_a_program_that_does_not_stop():
    process = start("await asyncio.shield(asyncio.sleep(60))\n    except asyncio.CancelledError:\n"
                    "        await asyncio.sleep(60)")  # fmt: skip
    process.send_signal(signal.SIGTERM)
    assert any("stopping (SIGTERM)" in line for line in process.stderr)  # as soon as it is said
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM


def test_a_program_whose_starter_is_gone_stops_by_itself():
    process = start(eof=True)
    process.stdin.close()
    process.stdin = None
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "cleaned up\nafter\n")
    assert "whoever started this is gone" in err


def test_a_program_s_own_error_comes_out():
    process = start("raise Unavailable('no port')")
    out, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "after" not in out
    assert "Unavailable" in err  # a log has no words of exceptions


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_large_blocks_stay_with_the_process_once_the_allocator_is_set():
    """Freed, 64 MB go back to the system by default and are kept for the next message with ours."""
    code = (
        "import sys\n"
        "from fedgate_gateway.cli import allocator\n"
        "if sys.argv[1] == 'tuned': assert allocator.tune()\n"
        "block = b'x' * (64 << 20)\n"
        "del block\n"
        "pages = int(open('/proc/self/statm').read().split()[1])\n"
        "print(pages * 4096 > 48 << 20)\n"
    )
    kept = {
        how: subprocess.run(
            [sys.executable, "-c", code, how], capture_output=True, text=True, check=True
        ).stdout.strip()
        for how in ("tuned", "plain")
    }
    assert kept == {"tuned": "True", "plain": "False"}


def test_threads_switch_more_often_than_by_default():
    code = (
        "import sys; from fedgate_gateway.cli.programs import prepare\n"
        "prepare('plain', 'info'); print(sys.getswitchinterval() <= 5e-4)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "True"


def test_no_garbage_is_looked_for_until_a_program_runs():
    code = (
        "import gc, os, socket\n"
        "from fedgate_gateway.cli.programs import prepare, run_until_stopped\n"
        "from fedgate_gateway.inspection.server import settle\n"
        "prepare('plain', 'info'); told = [gc.isenabled()]\n"
        "ours, theirs = socket.socketpair()\n"
        "if os.fork() == 0: settle(theirs); os._exit(gc.isenabled())\n"
        "told.append(bool(os.waitstatus_to_exitcode(os.wait()[1])))\n"
        "async def program(): told.append(gc.isenabled() and gc.get_freeze_count() > 0)\n"
        "run_until_stopped(program, name='test'); print(told)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[False, True, True]"


def test_a_program_that_cannot_run_leaves_the_collector_on(fedgate):
    assert fedgate("gateway", "--config", "/nowhere/gateway.toml").code != 0
    assert gc.isenabled()


def record(message: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("fedgate.x", logging.WARNING, "f", 1, message, arguments, None)


def test_json_lines_are_one_object_each():
    line = JsonLines().format(record("site %s\nsaid", "a"))
    assert "\n" not in line
    told = json.loads(line)
    assert (told["level"], told["logger"], told["message"]) == (
        "warning",
        "fedgate.x",
        "site a\nsaid",
    )


def test_a_name_with_a_line_break_cannot_forge_a_log_line():
    line = Lines().format(record("site %s", "a\n2026-01-01 INFO fedgate: all is well"))
    assert len(line.splitlines()) == 1


def test_a_program_opens_as_many_files_as_the_system_lets_it():
    code = (
        "import resource as r; from fedgate_gateway.cli.programs import prepare\n"
        "r.setrlimit(r.RLIMIT_NOFILE, (256, 4096)); prepare('plain', 'info')\n"
        "print(r.getrlimit(r.RLIMIT_NOFILE))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "(4096, 4096)\n"
