"""Saving and restoring take a fixed amount of memory, however large a checkpoint is."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tuneflow.in_flight import IN_MEMORY

pytestmark = pytest.mark.integration

MIB = 1 << 20
SCRIPT = """
import json, sys, threading
from pathlib import Path
from tuneflow.checkpoints import Checkpoints
from tuneflow.store import Store

def anonymous():
    for line in open("/proc/self/status"):
        if line.startswith("RssAnon"):
            return int(line.split()[1]) << 10

def extra(work):
    base, peak, done = anonymous(), [0], threading.Event()
    def watch():
        while not done.is_set():
            peak[0] = max(peak[0], anonymous())
            done.wait(0.002)
    watcher = threading.Thread(target=watch)
    watcher.start()
    work()
    done.set()
    watcher.join()
    return peak[0] - base

url, source, target, small = sys.argv[1:]
checkpoints = Checkpoints(Store(url))
# Libraries are loaded and connections made.
checkpoints.save("first.json", Path(small), resource=1)
checkpoints.restore("first.json", Path(target, "small"))
save = extra(lambda: checkpoints.save("a.json", Path(source), resource=1))
restore = extra(lambda: Checkpoints(Store(url)).restore("a.json", Path(target, "all")))
print(json.dumps([save, restore]))
"""


@pytest.fixture(params=["file", "s3"])
def url(request, tmp_path):
    return request.getfixturevalue("s3_url") if request.param == "s3" else f"{tmp_path}/store"


@pytest.mark.parametrize(("files", "size"), [(1, 200 * MIB), (200, MIB)])
def test_a_checkpoint_of_200_mb_takes_less_than_32(url, tmp_path, files, size):
    source = tmp_path / "source"
    source.mkdir()
    for number in range(files):
        with (source / f"{number}").open("wb") as file:
            for _ in range(size // MIB):
                file.write(os.urandom(MIB))
    (tmp_path / "small").write_bytes(b"small")
    places = [str(tmp_path / name) for name in ("source", "target", "small")]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, url, *places], check=True, capture_output=True, text=True
    )
    save, restore = json.loads(done.stdout)
    assert 0 <= save < 2 * IN_MEMORY
    assert 0 <= restore < 2 * IN_MEMORY
    restored = tmp_path / "target" / "all"
    assert all(
        (restored / path.name).read_bytes() == path.read_bytes() for path in source.iterdir()
    )
