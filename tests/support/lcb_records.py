"""Records in LiveCodeBench's own form, and a hub that serves them, for the tests."""

from __future__ import annotations

import base64
import hashlib
import json
import pickle
import re
import zlib
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def pack(value: Any, protocol: int = 4) -> str:
    """As the data set packs private tests: JSON text, pickle, zlib, base64."""
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(value), protocol=protocol))).decode()


def record(name: str, **changed: Any) -> dict[str, Any]:
    """A stdin problem of one public and four private tests; ``private`` replaces the latter, unpacked."""
    four = [{"input": f"{i}\n", "output": f"{i + 1}\n", "testtype": "stdin"} for i in range(4)]
    private = changed.pop("private", four)
    return {
        "question_title": name.title(),
        "question_content": f"Read n, print n + 1. ({name})",
        "platform": "atcoder",
        "question_id": name,
        "contest_id": "abc390",
        "contest_date": "2025-02-08T00:00:00",
        "starter_code": "",
        "difficulty": "easy",
        "public_test_cases": json.dumps([{"input": "9\n", "output": "10\n", "testtype": "stdin"}]),
        "private_test_cases": pack(private),
        "metadata": "{}",
        **changed,
    }


def jsonl(records: list[dict[str, Any]]) -> bytes:
    """The records, one line each."""
    return b"".join(json.dumps(item).encode() + b"\n" for item in records)


class Hub(ThreadingHTTPServer):
    """Speaks the hub's file routes for one data set: HEAD and GET with Range, a commit and an etag per file."""

    daemon_threads = True

    def __init__(
        self, files: Mapping[str, bytes], *, break_first: int | None = None, status: int = 200
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.break_first = break_first
        """Close the connection of the first GET after so many bytes."""
        self.status = status
        self.requests: list[tuple[str, str, str | None]] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        hub = self.server
        hub.requests.append((self.command, self.path, self.headers.get("Range")))
        route = re.fullmatch(
            r"/datasets/livecodebench/code_generation_lite/resolve/main/(\w+\.jsonl)", self.path
        )
        data = hub.files.get(route[1]) if route else None
        if hub.status != 200 or data is None:
            self.send_response(hub.status if hub.status != 200 else 404)
            if hub.status == 200:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        ask = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(ask[1]) if ask else 0
        self.send_response(206 if ask else 200)
        if ask:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 39 + "6")
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if body:
            cut, hub.break_first = hub.break_first, None
            self.wfile.write(data[start : None if cut is None else cut])
            if cut is not None:
                self.close_connection = True


@contextmanager
def hub(files: Mapping[str, bytes], **behaviour: Any) -> Iterator[Hub]:
    """A hub on a free local port, for the block."""
    server = Hub(files, **behaviour)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
