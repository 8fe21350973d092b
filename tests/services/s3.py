"""An object store that speaks as much of S3 as a gateway uses; it keeps objects in memory."""

from __future__ import annotations

import re
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest


class S3:
    """``url`` for obstore, ``environment`` with the address and credentials of a stranger.

    It can be stopped, and started again on the same port with what it holds.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.asked = 0
        self._server: ThreadingHTTPServer | None = None
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return "s3://bucket/production"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT": f"http://127.0.0.1:{self.port}", "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing",
            "AWS_REGION": "eu-central-1",
        }  # fmt: skip

    def start(self) -> None:
        server = ThreadingHTTPServer(("127.0.0.1", self.port), _Handler)
        server.store = self  # type: ignore[attr-defined]
        server.daemon_threads = True
        self._server, self.port = server, server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Connections that are open are closed at their next request."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    @property
    def there(self) -> bool:
        return self._server is not None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _store(self) -> S3 | None:
        store: S3 = self.server.store  # type: ignore[attr-defined]
        store.asked += 1
        self.query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        self.key = urlsplit(self.path).path.lstrip("/")
        if store.there:
            return store
        self.close_connection = True
        self.connection.close()
        return None

    def _answer(self, code: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def do_PUT(self) -> None:
        body = self._body()
        if store := self._store():
            self._answer(self._put(store, body), ETag='"e"')

    def _put(self, store: S3, body: bytes) -> int:
        if "partNumber" in self.query:
            store.uploads[self.query["uploadId"][0]][int(self.query["partNumber"][0])] = body
        elif self.headers.get("If-None-Match") == "*" and self.key in store.objects:
            return 412
        else:
            store.objects[self.key] = body
        return 200

    def do_POST(self) -> None:
        body = self._body()
        if store := self._store():
            deletes = "delete" in self.query
            self._answer(200, self._delete(store, body) if deletes else self._upload(store))

    def _delete(self, store: S3, body: bytes) -> bytes:
        """Many at a time."""
        bucket = self.key.partition("/")[0]
        for key in (e.text for e in ET.fromstring(body).iter() if e.tag.endswith("Key")):
            store.objects.pop(f"{bucket}/{key}", None)
        return _xml("DeleteResult", {})

    def _upload(self, store: S3) -> bytes:
        """In parts: its beginning, or its end."""
        told = {"Bucket": "bucket", "Key": self.key}
        if "uploads" in self.query:
            name = f"upload-{len(store.uploads)}"
            store.uploads[name] = {}
            return _xml("InitiateMultipartUploadResult", {**told, "UploadId": name})
        parts = store.uploads.pop(self.query["uploadId"][0])
        store.objects[self.key] = b"".join(parts[number] for number in sorted(parts))
        return _xml("CompleteMultipartUploadResult", {**told, "ETag": '"e"'})

    def do_GET(self) -> None:
        if store := self._store():
            found = store.objects.get(self.key)
            if found is None:
                self._answer(404, _xml("Error", {"Code": "NoSuchKey", "Message": "none"}))
            else:
                self._found(found)

    def _found(self, found: bytes) -> None:
        headers = {"ETag": '"e"', "Last_Modified": "Tue, 24 Nov 2026 00:00:00 GMT"}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            self._answer(200, found, **headers)
            return
        first, last = int(asked[1]), int(asked[2] or len(found) - 1)
        headers["Content_Range"] = f"bytes {first}-{last}/{len(found)}"
        self._answer(206, found[first : last + 1], **headers)

    do_HEAD = do_GET

    def do_DELETE(self) -> None:
        if (store := self._store()) is not None:
            store.objects.pop(self.key, None)
            self._answer(204)

    def log_message(self, *_: object) -> None:
        pass


def _xml(name: str, fields: dict[str, str]) -> bytes:
    root = ET.Element(name)
    for field, text in fields.items():
        ET.SubElement(root, field).text = text
    return ET.tostring(root)


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    """One that answers."""
    store = S3()
    yield store
    store.stop()
