"""Every kind of damaged submission has an error of its own, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import base64
import io
import stat
import warnings
import zipfile

import pytest
from sqlalchemy import func, select

from fedgate.bundle import pack_files
from fedgate_gateway.control.principal import Scope
from fedgate_gateway.store.tables import BundleRow, JobEventRow, JobRow


def zipped(*entries, compression=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # duplicate names are the point of one case
        for name, content in entries:
            archive.writestr(name, content)
    return out.getvalue()


def symlink():
    info = zipfile.ZipInfo("workload.toml")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return zipped((info, "/etc/passwd"))


def flipped():
    whole = bytearray(zipped(("workload.toml", b"name = 'a'" * 100)))
    whole[60] ^= 0xFF
    return bytes(whole)


GOOD = ("workload.toml", b"name = 'a'")
DAMAGED = {
    "not a ZIP": (b"just some bytes", 422, "invalid-bundle", "not a readable ZIP"),
    "nothing at all": (b"", 422, "invalid-bundle", "not a readable ZIP"),
    "a flipped byte": (flipped(), 422, "invalid-bundle", "ZIP archive"),
    "a ZIP bomb": (zipped(GOOD, ("x", b"\0" * 2_000_000)), 413, "bundle-too-large", "ZIP bomb"),
    "path traversal": (zipped(GOOD, ("../x", b"")), 422, "invalid-bundle", "path traversal"),
    "an absolute path": (zipped(GOOD, ("/x", b"")), 422, "invalid-bundle", "absolute path"),
    "a symlink": (symlink(), 422, "invalid-bundle", "symbolic links"),
    "duplicate entries": (zipped(GOOD, GOOD), 422, "invalid-bundle", "duplicate entry"),
    "no files": (zipped(), 422, "invalid-bundle", "empty"),
    "an unknown framework": (pack_files({"a.py": b""}), 422, "unknown-framework", "recognises"),
    "an unsupported version": (
        pack_files({"workload.toml": b"version = 2"}), 422, "unsupported-version", "version 1",
    ),
    "over the size limit": (b"\0" * 200_001, 413, "bundle-too-large", "too large"),
    "far over the size limit": (b"\0" * 900_000, 413, "bundle-too-large", "too large"),
}  # fmt: skip


def nothing_is_stored(state) -> bool:
    with state.database.read() as session:
        tables = (BundleRow, JobRow, JobEventRow)
        rows = sum(session.scalar(select(func.count()).select_from(table)) for table in tables)
    return rows == 0 and asyncio.run(state.objects.keys()) == []


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_submission_has_its_own_error_and_nothing_is_stored(
    client, state, token, signed, case
):
    archive, status, code, words = DAMAGED[case]
    answer = client.post(
        "/api/v1/jobs",
        headers=token(Scope.JOBS_WRITE),
        data={"request": base64.b64encode(signed(archive)).decode()},
        files={"bundle": ("b.zip", archive)},
    )
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code)
    assert words in problem["what"] + problem["why"]
    assert nothing_is_stored(state)


def test_the_undamaged_one_is_stored(client, state, token, signed):
    archive = zipped(GOOD)
    answer = client.post(
        "/api/v1/jobs",
        headers=token(Scope.JOBS_WRITE),
        data={"request": base64.b64encode(signed(archive)).decode()},
        files={"bundle": ("b.zip", archive)},
    )
    assert answer.status_code == 201
    assert not nothing_is_stored(state)


BOUNDARY = "b0undary"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


def part(name, content, filename=""):
    shown = f'; filename="{filename}"' if filename else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{shown}\r\n\r\n'
    return head.encode() + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()
REQUEST = part("request", b"e30=")
BUNDLE = part("bundle", zipped(GOOD), "b.zip")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (REQUEST + END, "no file named 'bundle'"),
        (REQUEST + part("bundle", b"text") + END, "no file named 'bundle'"),
        (BUNDLE + END, "request"),
        (BUNDLE + REQUEST + END, "not a signed statement"),
        (BUNDLE + part("request", b"!!") + END, "not base64"),
        (BUNDLE + part("request", b"e30=" * 87_400) + END, "exceeded"),
        (BUNDLE + REQUEST + part("sitez", b"a") + END, "sitez"),
        (BUNDLE + REQUEST + REQUEST + END, "twice"),
        (BUNDLE + REQUEST + part("sites", b"site-1") + END, "sites"),
        (BUNDLE + REQUEST + part("recipient", b"!!") + END, "recipient"),
        (BUNDLE + REQUEST + part("name", b"x" * 400_000) + END, "exceeded"),
        (BUNDLE + BUNDLE + REQUEST + END, "Too many files"),
        (b"--wrong\r\n", "cannot be read"),
        (b"", "bundle"),
    ],
)
def test_a_damaged_form_is_refused_and_nothing_is_stored(client, state, token, body, words):
    headers = {**token(Scope.JOBS_WRITE), **FORM}
    answer = client.post("/api/v1/jobs", headers=headers, content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-message")
    assert words in answer.json()["what"] + answer.json()["why"]
    assert nothing_is_stored(state)


def test_another_content_type_is_refused(client, token):
    answer = client.post("/api/v1/jobs", headers=token(Scope.JOBS_WRITE), json={})
    assert answer.json()["what"] == "a submission is multipart/form-data"


def test_a_body_that_lies_about_its_size_is_cut_off(client, token):
    sent = 0

    def endless():
        nonlocal sent
        yield BUNDLE
        while sent < 100_000_000:
            sent += 65536
            yield b"\0" * 65536

    headers = {**token(Scope.JOBS_WRITE), **FORM}
    answer = client.post("/api/v1/jobs", headers=headers, content=endless())
    assert answer.status_code in {400, 413}
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_stranger_is_turned_away_before_the_body_is_read(state):
    """Without a token, not one byte of the upload is asked for."""
    from fedgate_gateway.api.app import create_app

    asked, answers = [], []
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
        "scheme": "https", "path": "/api/v1/jobs", "raw_path": b"/api/v1/jobs", "root_path": "",
        "query_string": b"", "server": ("localhost", 443), "client": ("127.0.0.1", 5),
        "headers": [(b"content-type", FORM["content-type"].encode())],
    }  # fmt: skip

    async def receive():
        asked.append(1)
        return {"type": "http.request", "body": b"x" * 65536, "more_body": True}

    async def send(message):
        answers.append(message)

    asyncio.run(create_app(state)(scope, receive, send))
    assert answers[0]["status"] == 401
    assert asked == []
