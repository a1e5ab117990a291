"""A proxy before an S3 server that is as slow with checkpoints as a test says, and takes notes.

A checkpoint is recognised by its one file, whose text begins with ``trial NUMBER level LEVEL``.
"""

from __future__ import annotations

import http.client
import re
import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_CONTENT = re.compile(rb"trial (\d+) level (\d+)\b")
_MANIFEST = re.compile(r"trials/(\d+)/checkpoints/\d+-(\d+)\.json$")
_REFERENCE = re.compile(rb"trials/\d+/checkpoints/\d+-\d+\.json")


@dataclass
class Uploads:
    """What has been seen.

    Attributes:
        endpoint: the proxy's address.
        hold: called with trial and level when a checkpoint's file has arrived; it returns when the
            file may be stored, or returns False: then the sender is never answered.
        at_once: by trial, the most checkpoints of it that were being stored at a time.
        stored: references of the checkpoints that are stored.
        outcomes: keys of the outcomes that were to be stored.
        early: keys of journal entries and outcomes that refer to others.
    """

    hold: Callable[[int, int], bool]
    endpoint: str = ""
    at_once: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    stored: set[str] = field(default_factory=set)
    outcomes: list[str] = field(default_factory=list)
    early: list[str] = field(default_factory=list)
    _open: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, trial, level):
        with self._lock:
            self._open[trial].add(level)
            self.at_once[trial] = max(self.at_once[trial], len(self._open[trial]))

    def lose(self, trial):
        with self._lock:
            self._open[trial].clear()

    def finish(self, path):
        found = _MANIFEST.search(path)
        with self._lock:
            self.stored.add(found.group(0))
            self._open[int(found[1])].discard(int(found[2]))

    def check(self, path, body):
        with self._lock:
            if "/segments/" in path:
                self.outcomes.append(path)
            if {ref.decode() for ref in _REFERENCE.findall(body)} - self.stored:
                self.early.append(path)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def forward(self):
        uploads = self.server.uploads
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.command == "PUT" and not self.let_through(uploads, body):
            self.close_connection = True
            return
        connection = http.client.HTTPConnection(self.server.upstream, timeout=60)
        connection.request(self.command, self.path, body, dict(self.headers))
        response = connection.getresponse()
        data = response.read()
        connection.close()
        if self.command == "PUT" and response.status == 200 and _MANIFEST.search(self.path):
            uploads.finish(self.path)
        self.answer(response.status, dict(response.headers), data)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = forward  # noqa: N815

    def let_through(self, uploads, body):
        if found := _CONTENT.match(body):
            trial, level = int(found[1]), int(found[2])
            uploads.begin(trial, level)
            if not uploads.hold(trial, level):
                uploads.lose(trial)
                return False
        if "/journal/" in self.path or "/segments/" in self.path:
            uploads.check(self.path, body)
        return True

    def answer(self, status, headers, body):
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in {"content-length", "connection", "transfer-encoding"}:
                self.send_header(name, value)
        length = headers.get("Content-Length") if self.command == "HEAD" else len(body)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@contextmanager
def slow_uploads(upstream, hold):
    """A proxy that is there meanwhile; ``upstream`` is the S3 server's address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.upstream = upstream.removeprefix("http://")
    server.uploads = Uploads(hold, f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.uploads
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
