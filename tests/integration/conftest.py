"""A real S3 server on this machine, and a proxy before it that misbehaves on demand."""

from __future__ import annotations

import http.client
import re
import subprocess
import sys
import threading
import urllib.request
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

BUCKET = "tuneflow-tests"


@pytest.fixture(scope="session")
def s3_endpoint():
    """The address of a moto server in a process of its own, with one empty bucket."""
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        endpoint = next(
            found.group(1)
            for line in server.stderr
            if (found := re.search(r"Running on (http://127\.0\.0\.1:\d+)", line))
        )
        # The server would block as soon as nobody reads what it logs.
        threading.Thread(target=server.stderr.read, daemon=True).start()
        create = urllib.request.Request(f"{endpoint}/{BUCKET}", method="PUT")
        urllib.request.urlopen(create, timeout=30).close()
        yield endpoint
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def s3_env(s3_endpoint, tmp_path, monkeypatch):
    """The environment variables for the S3 server, already set here and for child processes."""
    env = {
        "AWS_ACCESS_KEY_ID": "dummy-access-key",
        "AWS_SECRET_ACCESS_KEY": "dummy-secret-key",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": s3_endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "no-credentials"),
        "AWS_CONFIG_FILE": str(tmp_path / "no-config"),
    }
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    return env


@pytest.fixture
def s3_url(s3_env):
    """A URL of the S3 server below which nothing is stored; `s3_env` is in force."""
    return f"s3://{BUCKET}/{uuid.uuid4().hex}"


@dataclass
class Meddling:
    """What the proxy does to requests, and which it has seen."""

    endpoint: str = ""
    strip_condition: bool = False
    strip_offset: bool = False
    lose_answers_to_puts: int = 0
    puts_answered_by: tuple[int, str] | None = None
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def count(self, method: str) -> int:
        return sum(seen[0] == method for seen in self.seen)


@pytest.fixture
def meddling(s3_endpoint, s3_env, monkeypatch):
    """Settings of a proxy that now stands between this process and the S3 server."""
    settings = Meddling()
    upstream = s3_endpoint.removeprefix("http://")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self):
            settings.seen.append((self.command, self.path, dict(self.headers)))
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.command == "PUT" and settings.puts_answered_by:
                status, text = settings.puts_answered_by
                return self.answer(status, {}, text.encode())
            headers = dict(self.headers)
            if settings.strip_condition:
                headers.pop("if-none-match", None)
            path = self.path
            if settings.strip_offset:
                path = re.sub(r"start-after=[^&]*&?", "", path)
            connection = http.client.HTTPConnection(upstream, timeout=30)
            connection.request(self.command, path, body, headers)
            response = connection.getresponse()
            data = response.read()
            connection.close()
            if self.command == "PUT" and settings.lose_answers_to_puts:
                settings.lose_answers_to_puts -= 1
                self.close_connection = True
                return None
            return self.answer(response.status, dict(response.headers), data)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = forward  # noqa: N815

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

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    settings.endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", settings.endpoint)
    yield settings
    server.shutdown()
    thread.join()
    server.server_close()
