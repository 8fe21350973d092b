"""Files on their way in: bounded in size and number, and gone when nobody takes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable

from fedgate.bundle import BundleLimits
from fedgate.errors import BundleTooLarge, InvalidMessage, Unavailable
from fedgate_flare.front_door import uploads as module
from fedgate_flare.front_door.uploads import Uploads

CONTEXT = FLContext()


@pytest.fixture
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Uploads:
    monkeypatch.setattr(module, "LIMITS", BundleLimits(archive_bytes=10))
    monkeypatch.setattr(module, "_MOST_THROWN_AWAY", 100)
    monkeypatch.setattr(module, "_MOST_AT_ONCE", 2)
    return Uploads(tmp_path)


def begin(uploads: Uploads, size: object) -> tuple[module.Upload, dict]:
    context = {
        "FileStreamer.file_size": size,
        "FileStreamer.file_location": "/etc/passwd",  # theirs does not count
    }
    return uploads.get_consumer(context, CONTEXT), context


def chunk(data: bytes, *, last: bool = False) -> Shareable:
    made = Shareable()
    made["Streamer.data"], made["Streamer.size"], made["Streamer.eof"] = data, len(data), last
    return made


def test_a_file_arrives_in_the_doors_own_folder(uploads, tmp_path):
    upload, context = begin(uploads, 6)
    assert upload.consume(chunk(b"abc"), context, CONTEXT)[0] is True
    assert upload.consume(chunk(b"def", last=True), context, CONTEXT)[0] is False
    upload.finalize(context, CONTEXT)
    assert uploads.take(context) is upload
    assert upload.path.parent == tmp_path
    assert upload.path.read_bytes() == b"abcdef"
    assert upload.refusal is None
    upload.discard()
    assert list(tmp_path.iterdir()) == []


def test_what_is_too_large_is_thrown_away_and_refused_at_its_end(uploads):
    upload, context = begin(uploads, 60)
    for _ in range(5):
        assert upload.consume(chunk(bytes(10)), context, CONTEXT)[0] is True
    assert upload.consume(chunk(bytes(10), last=True), context, CONTEXT)[0] is False
    upload.finalize(context, CONTEXT)
    assert isinstance(uploads.take(context).refusal, BundleTooLarge)
    assert upload.path.read_bytes() == b""


@pytest.mark.parametrize("size", [101, -1, None, "6", True, 6.0])
def test_a_size_beyond_reason_is_cut_off(uploads, tmp_path, size):
    with pytest.raises(BundleTooLarge):
        begin(uploads, size)
    assert list(tmp_path.iterdir()) == []


def test_an_upload_that_lies_about_its_size_is_cut_off(uploads):
    upload, context = begin(uploads, 4)
    with pytest.raises(InvalidMessage, match="larger"):
        upload.consume(chunk(b"abcdef"), context, CONTEXT)
    shorter, context = begin(uploads, 4)
    with pytest.raises(InvalidMessage, match="smaller"):
        shorter.consume(chunk(b"abc", last=True), context, CONTEXT)


def test_uploads_at_once_are_bounded_and_idle_ones_make_room(uploads, tmp_path, monkeypatch):
    first, context = begin(uploads, 4)
    begin(uploads, 4)
    with pytest.raises(Unavailable, match="too many"):
        begin(uploads, 4)
    monkeypatch.setattr(module, "_IDLE_SECONDS", -1)
    begin(uploads, 4)
    assert not first.path.exists()
    assert uploads.take(context) is None
    assert len(list(tmp_path.iterdir())) == 1
