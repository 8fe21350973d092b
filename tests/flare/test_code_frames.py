"""Opaque traffic that a job's own code needs is told beforehand, or that it cannot be told."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedgate.bundle import BundleTree, read_directory
from fedgate_flare import code_frames
from fedgate_flare.inspection import inspect_job

JOBS = Path(__file__).parent / "jobs"


def read(**code: str) -> code_frames.CodeFrames:
    return code_frames.read(
        BundleTree({f"app/custom/{name}.py": text.encode() for name, text in code.items()})
    )


@pytest.mark.parametrize(
    "call",
    [
        'engine.send_aux_request(["server"], "ask", request, 5.0, fl_ctx)',
        'engine.send_aux_request(targets=None, topic="ask", request=r, timeout=1, fl_ctx=c)',
        'engine.fire_and_forget_aux_request("ask", request, fl_ctx)',
        'engine.fire_and_forget_aux_request(["site-1"], "ask", request, fl_ctx)',
        'TOPIC = "ask"\nengine.send_aux_request(None, TOPIC, r, 1, c)',
        'class A:\n    T = "ask"\n    f = lambda self: e.multicast_aux_requests(self.T, r)',
    ],
)
def test_a_message_under_a_constant_topic_names_its_frame(call):
    found = read(executor=call)
    assert found.frames == {"aux_communication:ask"}
    assert found.notes() == []


def test_a_constant_of_another_file_counts_and_an_ambiguous_one_does_not():
    use = "engine.send_aux_request(None, TOPIC, r, 1, c)"
    assert read(names='TOPIC = "ask"', use=use).frames == {"aux_communication:ask"}
    unclear = read(names='TOPIC = "ask"', others='TOPIC = "other"', use=use)
    assert unclear.frames == set()
    (note,) = unclear.notes()
    assert "use.py:1" in note


def test_a_topic_made_at_run_time_is_a_note_and_so_is_one_that_would_be_a_pattern():
    for topic in ('f"ask-{name}"', '"*"', '"a\\n"'):
        found = read(executor=f"engine.send_aux_request(None, {topic}, r, 1, c)")
        assert found.frames == set()
        assert "executor.py:1" in found.notes()[0]


@pytest.mark.parametrize(
    ("code", "topic"),
    [
        ("r = ContainerRetriever()", "ContainerRetriever"),
        ('r = streamers.FileRetriever(topic="mine", source_dir="x")', "mine"),
        ("class Mine(ContainerRetriever):\n    pass", "Mine"),
    ],
)
def test_streams_of_dictionaries_and_files_are_seen(code, topic):
    assert read(executor=code).frames == {
        "aux_communication:ObjectStreamer.*", f"aux_communication:{topic}",
    }  # fmt: skip


def test_what_does_not_parse_is_passed_over():
    assert read(broken="def (:", nested="(" * 5000, nul="\0").frames == set()


def test_a_job_that_streams_files_says_so():
    manifest = inspect_job(read_directory(JOBS / "files"))
    assert "aux_communication:ObjectStreamer.*" in manifest.frames
