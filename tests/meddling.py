"""A proxy before an object storage that misbehaves on demand."""

from __future__ import annotations

import http.client
import math
import random
import re
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SLOW_DOWN = "SlowDown"


@dataclass
class Fault:
    """What goes wrong with some requests.

    Attributes:
        status: answer with this one, and do not ask the server.
        code: of the error in that answer.
        reset: break the connection "before" or "after" the server has acted; after it, the answer
            is lost.
        cut: break the connection after so many bytes of the answer's body.
        delay: seconds until the answer is passed on.
        trickle: seconds between each twentieth of the answer's body and the next.
        hang: take the request, and say nothing until the proxy ends.
        where: a pattern for the requests it is for, searched in ``METHOD path?query``.
        times: for how many of them.
    """

    status: int | None = None
    code: str = "InternalError"
    reset: str = ""
    cut: int | None = None
    delay: float = 0.0
    trickle: float = 0.0
    hang: bool = False
    where: str = ""
    times: float = 1

    def is_for(self, request):
        return self.times > 0 and re.search(self.where, request) is not None


def everything(seed, rate):
    """Return a function that has a part of all requests go wrong, each in a way of its own."""
    rng, lock = random.Random(seed), threading.Lock()
    ways = [
        {"status": 500},
        {"status": 503, "code": SLOW_DOWN},
        {"status": 429, "code": "TooManyRequests"},
        {"reset": "before"},
        {"reset": "after"},
        {"cut": 40},
        {"delay": 0.02},
    ]

    def choose(request):
        with lock:
            return Fault(**rng.choice(ways)) if rng.random() < rate else None

    return choose


@dataclass
class Meddling:
    """What the proxy does to requests, and which it has seen.

    Attributes:
        upstream: the server's host and port.
        faults: what goes wrong; for each request the first that is for it.
        choose: says what goes wrong with a request that no fault is for, or None.
        seen: method, path and headers of each request.
        met: the requests that something went wrong with, in order.
    """

    upstream: str
    endpoint: str = ""
    strip_condition: bool = False
    strip_offset: bool = False
    puts_answered_by: tuple[int, str] | None = None
    faults: list[Fault] = field(default_factory=list)
    choose: object = None
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    met: list[str] = field(default_factory=list)

    def __post_init__(self):
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._sockets = set()
        self._server = self._thread = None
        self._port = 0
        self.back()
        self.endpoint = f"http://127.0.0.1:{self._port}"

    def go_wrong(self, **fault):
        """Have something go wrong; see `Fault`."""
        self.faults.append(Fault(**fault))

    def count(self, method, pattern=""):
        """Return how many requests of a method, for a path with a pattern, were seen."""
        return sum(seen[0] == method and bool(re.search(pattern, seen[1])) for seen in self.seen)

    @property
    def keys(self):
        """The access keys that requests were signed with, in order, without repetition."""
        found = [re.search(r"Credential=([^/]+)/", _authorization(seen[2])) for seen in self.seen]
        return list(dict.fromkeys(match.group(1) for match in found if match))

    def away(self):
        """Stop to listen, and break what connections there are."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server = None
        with self._lock:
            for sock in self._sockets:
                _break(sock)

    def back(self):
        """Listen, on the same port as before."""
        handler = type("Handler", (_Handler,), {"settings": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), handler)
        self._server.daemon_threads = True
        self._port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def end(self):
        """Stop for good."""
        self._ended.set()
        if self._server is not None:
            self.away()

    def _fault(self, request):
        with self._lock:
            for fault in self.faults:
                if fault.is_for(request):
                    fault.times -= 1
                    self.met.append(request)
                    return fault
        found = self.choose(request) if self.choose else None
        if found is not None:
            self.met.append(request)
        return found or Fault(times=math.inf)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    settings: Meddling

    def setup(self):
        super().setup()
        with self.settings._lock:
            self.settings._sockets.add(self.connection)

    def finish(self):
        with self.settings._lock:
            self.settings._sockets.discard(self.connection)
        with suppress(OSError):
            super().finish()

    def handle(self):
        with suppress(OSError):
            super().handle()

    def forward(self):
        settings = self.settings
        settings.seen.append((self.command, self.path, dict(self.headers)))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = settings._fault(f"{self.command} {self.path}")
        if fault.hang:
            settings._ended.wait()
        if fault.reset == "before" or fault.hang:
            return self.drop()
        if fault.status is not None:
            text = f"<Error><Code>{fault.code}</Code><Message>at once</Message></Error>"
            return self.answer(fault.status, {}, text.encode())
        if self.command == "PUT" and settings.puts_answered_by:
            status, text = settings.puts_answered_by
            return self.answer(status, {}, text.encode())
        status, headers, data = self.ask(body)
        time.sleep(fault.delay)
        if fault.reset == "after":
            return self.drop()
        return self.answer(status, headers, data, fault)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = forward  # noqa: N815

    def ask(self, body):
        """Return what the server answers."""
        headers, path = dict(self.headers), self.path
        if self.settings.strip_condition:
            headers.pop("if-none-match", None)
        if self.settings.strip_offset:
            path = re.sub(r"start-after=[^&]*&?", "", path)
        connection = http.client.HTTPConnection(self.settings.upstream, timeout=30)
        try:
            connection.request(self.command, path, body, headers)
            response = connection.getresponse()
            return response.status, dict(response.headers), response.read()
        finally:
            connection.close()

    def answer(self, status, headers, body, fault=None):
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in {"content-length", "connection", "transfer-encoding"}:
                self.send_header(name, value)
        length = headers.get("Content-Length") if self.command == "HEAD" else len(body)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        cut = fault.cut if fault else None
        if cut is not None and cut < len(body):
            self.wfile.write(body[:cut])
            self.wfile.flush()
            return self.drop()
        step = max(1, len(body) // 20) if fault and fault.trickle else max(1, len(body))
        for start in range(0, len(body), step):
            self.wfile.write(body[start : start + step])
            self.wfile.flush()
            time.sleep(fault.trickle if fault else 0)
        return None

    def drop(self):
        self.close_connection = True
        _break(self.connection)

    def log_message(self, *args):
        pass


def _break(sock):
    """End a connection in a way that the other side takes for no end."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.shutdown(socket.SHUT_RDWR)


def _authorization(headers):
    return next((value for name, value in headers.items() if name.lower() == "authorization"), "")
