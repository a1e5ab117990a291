"""A machine of its own for a worker, as far as the network goes: its link can be cut."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from tests.clusters import process

_EXEC = "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"


@dataclass(frozen=True)
class Link:
    """The only way between this machine and a network namespace.

    Attributes:
        namespace: its name.
        device: this end of the link.
        here: the address of this end.
        there: the address of the other end.
    """

    namespace: str
    device: str
    here: str
    there: str

    def cut(self):
        """Let nothing through; nobody is told."""
        _ip("link", "set", self.device, "down")

    def mend(self):
        """Let everything through again."""
        _ip("link", "set", self.device, "up")

    def worker(self, address, *options):
        """A `dask worker` with one thread behind the link."""
        command = [sys.executable, "-m", "distributed.cli.dask_worker", address]
        fixed = ["--nthreads", "1", "--no-dashboard", "--host", self.there]
        inside = ["ip", "netns", "exec", self.namespace, *command, *fixed, *options]
        return process("-c", _EXEC, *inside, stderr=subprocess.DEVNULL)


@contextmanager
def link():
    """A network namespace and the link to it; needs the rights of root."""
    number = os.getpid() % 10_000
    name = f"tunef{number}"
    net = f"10.{200 + number // 256}.{number % 256}"
    made = Link(name, f"{name}a", f"{net}.1", f"{net}.2")
    _ip("netns", "add", name)
    try:
        _ip("link", "add", made.device, "type", "veth", "peer", "name", "far", "netns", name)
        _ip("address", "add", f"{made.here}/24", "dev", made.device)
        made.mend()
        inside = ("-n", name)
        _ip(*inside, "address", "add", f"{made.there}/24", "dev", "far")
        _ip(*inside, "link", "set", "far", "up")
        _ip(*inside, "link", "set", "lo", "up")
        yield made
    finally:
        with suppress(subprocess.CalledProcessError):
            _ip("link", "delete", made.device)
        _ip("netns", "delete", name)


def _ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
