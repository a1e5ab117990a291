"""A library that draws at random, from a state, and misbehaves in all the ways that others may.

Its options: ``mishap`` is what goes wrong at an ask with ``at`` trials known or more; where
``once`` names a file, only if that is not there yet.
"""

from __future__ import annotations

import math
import os
import random
import signal
import sys
import time
from pathlib import Path

from tuneflow.libraries.base import Stateful


class OddLibrary(Stateful):
    """Draws from one generator, which every ask and every result advances."""

    def make(self):
        return random.Random(self.seed), []

    def propose(self, optimizer, seed):
        rng, told = optimizer
        wrong = self._go_wrong(len(told))
        values = {own.path: self._draw(own, rng) for own in self.parameters}
        return None, values if wrong is None else dict.fromkeys(values, wrong)

    def adopt(self, optimizer, values):
        return None

    def learn(self, optimizer, token, loss):
        rng, told = optimizer
        told.append(loss)
        rng.random()

    def _draw(self, own, rng):
        if own.kind == "choice":
            return rng.randrange(own.size)
        value = rng.uniform(own.low, own.high)
        return round(value) if own.kind == "int" else value

    def _go_wrong(self, told):
        mishap, once = self.options.get("mishap"), self.options.get("once")
        if not mishap or told < self.options.get("at", 0) or (once and Path(once).exists()):
            return None
        if once:
            Path(once).touch()
        return MISHAPS[mishap]()


def say(text, stream=sys.stdout):
    stream.write(text)
    stream.flush()


def _killed():
    say("here it ends\n")
    os.kill(os.getpid(), signal.SIGKILL)


def _exits():
    say("no more\n", sys.stderr)
    os._exit(3)


def _hangs():
    time.sleep(1000)


def _prints():
    say("{}\n" * 100_000)
    os.write(1, b'{"id": 1}\n')


def _garbles():
    # The pipe of the answers, which a library would have to look for.
    for fd in range(3, 4096):
        try:
            os.write(fd, b"not JSON\n")
        except OSError:
            continue
    time.sleep(0.2)


def _raises():
    raise ValueError("the matrix is singular")


MISHAPS = {
    "killed": _killed,
    "exits": _exits,
    "hangs": _hangs,
    "prints": _prints,
    "garbles": _garbles,
    "raises": _raises,
    "nan": lambda: math.nan,
}

LIBRARY = OddLibrary
