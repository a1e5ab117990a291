"""GPUs: which there are, how the workers of one machine share them, who holds one now.

A trial in a process of its own sees only the devices that it was lent, through
``CUDA_VISIBLE_DEVICES``. A trial in a thread sees all devices of its worker, for CUDA reads that
variable once per process: give such trials a worker per GPU.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from tuneflow.job import Job

VARIABLE = "CUDA_VISIBLE_DEVICES"

# Shares such as 0.1 do not add up to 1 in floats; a millionth of a GPU does not matter.
_EPSILON = 1e-6


def visible_devices() -> tuple[str, ...]:
    """Return the devices that this process may use: what the environment says, else all."""
    listed = os.environ.get(VARIABLE)
    if listed is not None:
        return tuple(name for name in (part.strip() for part in listed.split(",")) if name)
    return tuple(str(number) for number in range(_count()))


def share(devices: Sequence[str], workers: int) -> list[tuple[tuple[str, ...], float]]:
    """Return for each worker the devices it sees and the amount of GPU that it may hand out.

    More devices than workers: each worker gets several. More workers than devices: they share.
    """
    if len(devices) >= workers:
        parts = [tuple(devices[worker::workers]) for worker in range(workers)]
        return [(part, float(len(part))) for part in parts]
    owners = [worker % len(devices) for worker in range(workers)]
    return [((devices[owner],), 1 / owners.count(owner)) for owner in owners]


class Allocator:
    """Lends the devices of one process to its trials, whole or in fractions.

    Fractions are packed onto devices that are in use already, so that whole ones stay free.
    """

    def __init__(self, devices: Sequence[str]) -> None:
        self._free = dict.fromkeys(devices, 1.0)
        self._changed = threading.Condition()

    @property
    def count(self) -> int:
        """How many devices there are."""
        return len(self._free)

    @contextmanager
    def lend(self, amount: float) -> Iterator[tuple[str, ...]]:
        """Lend ``amount`` of GPU, waiting until so much is free; a fraction is of one device.

        Raises ValueError when there will never be so much.
        """
        if amount > self.count:
            raise ValueError(f"{amount:g} GPUs were asked for, and there are {self.count}")
        with self._changed:
            self._changed.wait_for(lambda: self._fit(amount))
            held = self._fit(amount)
            self._take(held, min(amount, 1.0))
        try:
            yield held
        finally:
            with self._changed:
                self._take(held, -min(amount, 1.0))
                self._changed.notify_all()

    def _fit(self, amount: float) -> tuple[str, ...]:
        if amount >= 1:
            whole = [name for name, free in self._free.items() if free >= 1 - _EPSILON]
            return tuple(whole[: int(amount)]) if len(whole) >= amount else ()
        able = [name for name, free in self._free.items() if free >= amount - _EPSILON]
        return (min(able, key=self._free.__getitem__),) if able else ()

    def _take(self, names: tuple[str, ...], share_of_each: float) -> None:
        for name in names:
            self._free[name] -= share_of_each


@contextmanager
def lent(job: Job, gpu: float, allocator: Callable[[], Allocator]) -> Iterator[Job]:
    """Let a trial in a process of its own see only the devices that are lent to it.

    Args:
        job: the trial's.
        gpu: how much it asks for.
        allocator: called when there is anything to choose from.
    """
    if not gpu or job.isolation != "process" or len(visible_devices()) < 2:
        yield job
        return
    with allocator().lend(gpu) as names:
        # A trial kept for later would keep memory of devices that are others' by then.
        yield replace(job, env={**job.env, VARIABLE: ",".join(names)}, warm=0)


def _count() -> int:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return 0
    listing = subprocess.run(  # noqa: S603
        [tool, "--list-gpus"], capture_output=True, text=True, check=False, timeout=30
    )
    return sum(line.startswith("GPU ") for line in listing.stdout.splitlines())
