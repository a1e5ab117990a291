"""Where the segments of a Dask executor go: what a worker has room for, and who has room now.

Pure bookkeeping. Dask would place tasks by itself, but it prefers workers that hold a task's
data already, knows nothing of trials that are kept warm, and waits for ever for a worker that
can meet a request.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tuneflow.errors import SpecError, did_you_mean

_SIZE = re.compile(r"(\d+(?:\.\d*)?)\s*([kmgt]?i?b|)", re.IGNORECASE)
_UNITS = {
    "": 1,
    **{f"{prefix}b": 1000**power for power, prefix in enumerate(["", *"kmgt"])},
    **{f"{prefix}ib": 1024**power for power, prefix in enumerate(["", *"kmgt"])},
}


@dataclass(frozen=True, slots=True)
class Request:
    """What each trial takes of a worker.

    Attributes:
        cpu: threads; a fraction counts as one, for a thread runs one trial at a time.
        gpu: GPUs; a fraction below 1 shares one, from 1 on whole ones.
        memory: bytes; 0 asks for none in particular.
    """

    cpu: float = 1
    gpu: float = 0
    memory: int = 0

    @classmethod
    def parse(cls, resources: Mapping[str, Any] | None) -> Request:
        """Read the ``resources`` of a study, such as ``{"cpu": 2, "gpu": 0.5, "memory": "4GB"}``.

        Raises SpecError for an unknown name or an amount that makes no sense.
        """
        resources = resources or {}
        for name in resources:
            if name not in cls.__dataclass_fields__:
                fix = did_you_mean(name, cls.__dataclass_fields__)
                raise SpecError(f"resources.{name}", "no such resource", fix)
        request = cls(
            _number("cpu", resources.get("cpu", 1)),
            _number("gpu", resources.get("gpu", 0)),
            _bytes(resources.get("memory", 0)),
        )
        if request.gpu > 1 and request.gpu != int(request.gpu):
            problem = f"{request.gpu} GPUs cannot be set apart for a trial"
            raise SpecError("resources.gpu", problem, "give a fraction below 1 or a whole number")
        return request

    @property
    def threads(self) -> int:
        """How many threads of a worker a trial keeps from others."""
        return max(1, -int(-self.cpu // 1))

    def __str__(self) -> str:
        parts = [f"{self.threads} threads" if self.threads > 1 else "1 thread"]
        parts += [f"{self.gpu:g} GPU"] if self.gpu else []
        parts += [_gigabytes(self.memory)] if self.memory else []
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Place:
    """What a worker has.

    Attributes:
        address: the worker's address.
        threads: how many tasks it runs at once.
        gpu: the amount of the Dask resource ``GPU`` that it declares.
        memory: bytes, its Dask resource ``MEMORY`` or else its memory limit; 0 has no limit.
    """

    address: str
    threads: int
    gpu: float = 0
    memory: int = 0

    def room_for(self, request: Request) -> int:
        """Return how many trials of this kind it can run at once."""
        rooms = [self.threads // request.threads]
        if request.gpu:
            # Half of 0.1 + 0.2 is not 0.15 in floats; a millionth of a GPU does not matter.
            rooms.append(int(self.gpu / request.gpu + 1e-6))
        if request.memory and self.memory:
            rooms.append(self.memory // request.memory)
        return min(rooms)

    def __str__(self) -> str:
        memory = _gigabytes(self.memory) if self.memory else "memory without limit"
        return f"{self.address} has {self.threads} threads, {self.gpu:g} GPU, {memory}"


@dataclass(slots=True)
class Placement:
    """Which worker each running segment is at, and who has room for another one.

    Segments are named by any integer that the caller makes up.
    """

    request: Request
    _rooms: dict[str, int] = field(default_factory=dict)
    _loads: dict[str, int] = field(default_factory=dict)
    _where: dict[int, str] = field(default_factory=dict)

    @property
    def capacity(self) -> int:
        """How many segments all workers together can run at once."""
        return sum(self._rooms.values())

    @property
    def addresses(self) -> set[str]:
        """The workers that there are."""
        return set(self._rooms)

    def update(self, places: Iterable[Place]) -> None:
        """Take note of the workers that there are now."""
        self._rooms = {place.address: place.room_for(self.request) for place in places}

    def choose(self, preferred: str | None = None) -> str | None:
        """Return the preferred worker if it has a free slot, else the least loaded one.

        None means that there is no worker.
        """
        if preferred is not None and self._load(preferred) < self._rooms.get(preferred, 0):
            return preferred
        able = [address for address, room in self._rooms.items() if room]
        return min(able, key=self._crowding) if able else None

    def share(self, address: str | None, count: int) -> int:
        """Return how many of so many segments each slot of a worker should take."""
        room = self._rooms.get(address or "", 0)
        return -(-count // room) if room else 1

    def should_leave(self, address: str | None) -> bool:
        """Return whether a worker has more than it can run while another has a free slot."""
        idlest = self.choose()
        if address not in self._rooms or idlest is None:
            return False
        is_crowded = self._load(address) > self._rooms[address]
        return is_crowded and self._load(idlest) < self._rooms[idlest]

    def put(self, segment: int, address: str) -> None:
        """Take note that a segment is at a worker, wherever it was believed to be before."""
        if self._where.get(segment) == address:
            return
        self.free(segment)
        self._where[segment] = address
        self._loads[address] = self._load(address) + 1

    def free(self, segment: int) -> None:
        """Take note that a segment is nowhere any more."""
        address = self._where.pop(segment, None)
        if address is not None:
            self._loads[address] -= 1
            if not self._loads[address]:
                del self._loads[address]

    def _load(self, address: str) -> int:
        return self._loads.get(address, 0)

    def _crowding(self, address: str) -> float:
        return self._load(address) / self._rooms[address]


def _number(name: str, value: Any) -> float:
    if not _is_amount(value):
        raise SpecError(f"resources.{name}", f"{value!r} is not an amount", "give a number")
    if name == "cpu" and value == 0:
        raise SpecError("resources.cpu", "0 runs nothing", "give a number above 0")
    return value if isinstance(value, int) else float(value)


def _bytes(value: Any) -> int:
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        size: Any = float(match[1]) * _UNITS[match[2].lower()] if match else None
    else:
        size = value
    if not _is_amount(size):
        fix = "give bytes, or a text such as '2GB'"
        raise SpecError("resources.memory", f"{value!r} is not an amount of memory", fix)
    return int(size)


def _is_amount(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 <= value < math.inf


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.3g} GB"
