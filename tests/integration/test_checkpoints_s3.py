"""Checkpoints on an S3 server whose answers break off."""

from __future__ import annotations

import pytest

from tuneflow import restoring
from tuneflow.checkpoints import Checkpoints
from tuneflow.store import Store

pytestmark = pytest.mark.integration

REF = "trials/000000/checkpoints/0000-1.json"
MIB = 1 << 20


def patterned(size):
    return (bytes(range(251)) * (size // 251 + 1))[:size]


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "large").write_bytes(patterned(13 * MIB))
    (folder / "small").write_bytes(patterned(MIB // 2))
    (folder / "empty").touch()
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.usefixtures("impatient")
def test_a_stream_that_breaks_is_taken_up_where_it_broke(meddling, s3_url, source, tmp_path):
    Checkpoints(Store(s3_url)).save(REF, source, resource=1)
    for _ in range(2):
        meddling.go_wrong(where="^GET .*blobs/", cut=5 * MIB)
    before = len(meddling.seen)
    Checkpoints(Store(s3_url)).restore(REF, tmp_path / "target")
    assert contents(tmp_path / "target") == contents(source)
    starts = [
        int(headers["range"].removeprefix("bytes=").split("-")[0])
        for method, path, headers in meddling.seen[before:]
        if method == "GET" and "blobs/" in path and "range" in headers
    ]
    # What had arrived was not fetched again.
    assert max(starts) > MIB


@pytest.mark.usefixtures("impatient")
def test_a_save_and_a_restore_survive_errors(meddling, s3_url, source, tmp_path, monkeypatch):
    monkeypatch.setattr(restoring, "_RANGE", 2 * MIB)
    for kind in ("^PUT", "^POST", "^HEAD"):
        meddling.go_wrong(where=f"{kind} .*blobs/", status=503, times=2)
    meddling.go_wrong(where="^PUT .*blobs/", reset="after")
    Checkpoints(Store(s3_url)).save(REF, source, resource=1)
    meddling.go_wrong(where="^GET .*blobs/", status=503, times=3)
    meddling.go_wrong(where="^GET .*blobs/", reset="after", times=2)
    Checkpoints(Store(s3_url)).restore(REF, tmp_path / "target")
    assert contents(tmp_path / "target") == contents(source)
    assert len(meddling.met) == 12
