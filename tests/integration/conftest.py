"""A real S3 server on this machine, and a proxy before it; see `tests.meddling`."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import urllib.request
import uuid

import pytest

from tests.meddling import Meddling
from tuneflow import patience

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


@pytest.fixture
def meddling(s3_endpoint, s3_env, monkeypatch):
    """Settings of a proxy that now stands between this process and the S3 server."""
    settings = Meddling(s3_endpoint.removeprefix("http://"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", settings.endpoint)
    yield settings
    settings.end()


@pytest.fixture
def impatient(monkeypatch):
    """Storages are asked again soon, and for a few seconds only."""
    monkeypatch.setattr(patience, "SHORTEST", 0.01)
    monkeypatch.setattr(patience, "LONGEST", 0.05)
    monkeypatch.setenv(patience.VARIABLE, "20")
