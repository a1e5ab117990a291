"""Processes whose wall clock is set while they run, as by a user or a time server.

Python programs see it by `time.time`, which is all that tuneflow and Dask ask. The library
libfaketime would change it for C too, and hangs where Rust is loaded.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_SITE = """
import os, time

def fast(true=time.time, file=os.environ["TESTED_CLOCK"]):
    with open(file) as offset:
        return true() + 3600 * float(offset.read())

time.time = fast
"""


@dataclass(frozen=True)
class Clock:
    """The wall clock of the processes that are started with `env`, and of all that they start.

    Attributes:
        folder: an empty folder of its own.
    """

    folder: Path

    def __post_init__(self):
        (self.folder / "sitecustomize.py").write_text(_SITE)
        self.jump(0)

    def jump(self, hours):
        """Set it so many hours off the true time."""
        fresh = self.folder / "offset.new"
        fresh.write_text(str(hours))
        fresh.replace(self.folder / "offset")

    @property
    def env(self):
        """Environment variables."""
        path = [str(self.folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {"PYTHONPATH": os.pathsep.join(path), "TESTED_CLOCK": str(self.folder / "offset")}
