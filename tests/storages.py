"""Which storage the integration tests run on: ``pytest --storage=s3``, and what they see of it.

A test whose studies may be anywhere asks for the fixture `storage`, an empty URL, or looks where
`storage_of` says. With another storage than local files only these tests are collected.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from unittest import mock
from uuid import uuid4

import pytest

from tests import servers
from tests.servers import Server
from tuneflow.store import Store

BASE = "TESTED_BASE"
"""The environment variable that says where the studies of a test are, unless in local files."""

_STARTERS = {
    "file": nullcontext,
    "memory": nullcontext,
    "s3": servers.moto,
    "azure": servers.azurite,
    "ceph": servers.ceph,
}
_MARKERS = (
    "local(why): needs a folder of this machine, so it runs on no other storage",
    "one_process: only pytest's own process comes to the storage, so it may be in memory",
    "elsewhere: says nothing that is not also said without it of local files",
)


def pytest_addoption(parser):
    """Add the option ``--storage``."""
    said = "where the studies of integration tests are (default: file)"
    parser.addoption("--storage", choices=sorted(_STARTERS), default="file", help=said)


def pytest_configure(config):
    """Make the markers known."""
    for line in _MARKERS:
        config.addinivalue_line("markers", line)


def pytest_collection_modifyitems(config, items):
    """Leave out what has nothing to do with the storage that was chosen."""
    kind = config.getoption("--storage")
    left_out = [item for item in items if not _runs_on(kind, item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if _runs_on(kind, item)]


def _runs_on(kind, item):
    if kind == "file":
        return item.get_closest_marker("elsewhere") is None
    if "storages" not in getattr(item, "fixturenames", ()) or item.get_closest_marker("local"):
        return False
    if kind != "memory":
        return True
    alone = item.get_closest_marker("one_process") is not None
    return alone and "airflow_system" not in item.fixturenames


@dataclass(frozen=True)
class Storages:
    """The storage that was chosen.

    Attributes:
        kind: its name on pytest's command line.
        server: what serves it; None for local files and memory.
    """

    kind: str
    server: Server | None

    def new_url(self, folder):
        """Return a URL below which nothing is stored; a folder is only for local files."""
        if self.kind == "file":
            return Path(folder, "tuneflow-results").as_uri()
        return f"memory://{uuid4().hex}" if self.server is None else self.server.new_url()


@pytest.fixture(scope="session")
def storages(request):
    """The storage that was chosen; its credentials are set here and for child processes."""
    kind = request.config.getoption("--storage")
    with _STARTERS[kind]() as server, mock.patch.dict(os.environ, server.env if server else {}):
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION") if server else ():
            os.environ.pop(name, None)
        yield Storages(kind, server)


@pytest.fixture
def storage(storages, tmp_path, monkeypatch):
    """A URL below which nothing is stored, which is where the studies of this test are."""
    url = storages.new_url(tmp_path)
    if storages.kind == "file":
        yield url
        return
    monkeypatch.setenv(BASE, url)
    yield url
    place = Store(url)
    left = place.list()
    place.delete(left)
    strays = [*tmp_path.rglob("study.json"), *tmp_path.rglob("segments")]
    assert left or not strays, f"this test did not use its storage, but {strays[0].parent}"


def storage_of(folder):
    """Return where the studies of a folder are: beside what is in it, unless tests run elsewhere.

    Folders of one test have to have different names.
    """
    base = os.environ.get(BASE)
    return f"{base}/{Path(folder).name}" if base else str(Path(folder, "tuneflow-results"))


def keys(url, pattern):
    """Return the keys of what is stored below a URL, like ``trials/*/segments/*.json``, sorted."""
    folder = pattern.partition("*")[0].rpartition("/")[0]
    found = Store(str(url)).list(folder)
    return [key for key in found if PurePosixPath(f"/{key}").match(f"/{pattern}")]


def objects(url, pattern):
    """Return what is stored below a URL, like ``trials/*/segments/*.json``: bytes by key."""
    found = keys(url, pattern)
    stored = zip(found, Store(str(url)).get_many(found), strict=True)
    return {key: data for key, data in stored if data is not None}
