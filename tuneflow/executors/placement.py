"""Where the segments of a Dask executor go: what a worker has room for, and who has room now.

Pure bookkeeping. Dask would place tasks by itself, but it prefers workers that hold a task's
data already, knows nothing of trials that are kept warm, and waits for ever for a worker that
can meet a request.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from tuneflow.errors import SpecError, did_you_mean

# Half of 0.1 + 0.2 is not 0.15 in floats; a millionth of a GPU does not matter.
_EPSILON = 1e-6

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

    def changed(self, resources: Mapping[str, Any] | None) -> Request:
        """Return this request with the amounts that are named; see `parse`."""
        if not resources:
            return self
        given = Request.parse(resources)
        return replace(self, **{name: getattr(given, name) for name in resources})

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

    def room_for(self, request: Request, load: Mapping[Request, int] = MappingProxyType({})) -> int:
        """Return how many trials of a kind it can run at once, beside so many of each kind."""
        threads, gpu, memory = self._left(load)
        rooms = [threads // request.threads]
        if request.gpu:
            rooms.append(math.floor(gpu / request.gpu + _EPSILON))
        if request.memory and self.memory:
            rooms.append(memory // request.memory)
        return max(min(rooms), 0)

    def is_overdrawn(self, load: Mapping[Request, int]) -> bool:
        """Whether so many trials of each kind are more than it can run at once."""
        threads, gpu, memory = self._left(load)
        return threads < 0 or gpu < -_EPSILON or (self.memory > 0 and memory < 0)

    def _left(self, load: Mapping[Request, int]) -> tuple[int, float, int]:
        """Return the threads, GPUs and bytes beside trials, possibly less than nothing."""
        threads, gpu, memory = self.threads, self.gpu, self.memory
        for request, count in load.items():
            threads -= request.threads * count
            gpu -= request.gpu * count
            memory -= request.memory * count
        return threads, gpu, memory

    def __str__(self) -> str:
        memory = _gigabytes(self.memory) if self.memory else "memory without limit"
        return f"{self.address} has {self.threads} threads, {self.gpu:g} GPU, {memory}"


@dataclass(slots=True)
class Placement:
    """Which worker each running segment is at, and who has room for another one.

    Segments are named by any integer that the caller makes up.

    Attributes:
        request: what a segment takes unless it is said otherwise.
    """

    request: Request
    _places: dict[str, Place] = field(default_factory=dict)
    _rooms: dict[Request, Mapping[str, int]] = field(default_factory=dict)
    _loads: dict[str, int] = field(default_factory=dict)
    _special: dict[str, Counter[Request]] = field(default_factory=dict)
    _where: dict[int, tuple[str, Request]] = field(default_factory=dict)

    @property
    def capacity(self) -> int:
        """How many usual segments all workers together can run at once."""
        return sum(self._rooms_for(self.request).values())

    @property
    def room(self) -> int:
        """How many more usual segments they can run beside those that they have."""
        return sum(
            place.room_for(self.request, self._load(address))
            for address, place in self._places.items()
        )

    @property
    def addresses(self) -> set[str]:
        """The workers that there are."""
        return set(self._places)

    @property
    def places(self) -> list[Place]:
        """What they have."""
        return list(self._places.values())

    def update(self, places: Iterable[Place]) -> None:
        """Take note of the workers that there are now."""
        self._places = {place.address: place for place in places}
        self._rooms.clear()

    def fits(self, address: str | None, request: Request) -> bool:
        """Whether a worker has room for one more of this kind."""
        if self._is_plain(request):
            return self._loads.get(address or "", 0) < self._rooms_for(request).get(
                address or "", 0
            )
        place = self._places.get(address or "")
        return place is not None and place.room_for(request, self._load(place.address)) > 0

    def choose(
        self,
        preferred: str | None = None,
        request: Request | None = None,
        apart: Container[str | None] = (),
    ) -> str | None:
        """Return the preferred worker if it has room, else one that has, the least loaded.

        If none has, it is the least loaded of those that could have. None means that no worker
        could. Those that it is to be ``apart`` from are left out.
        """
        request = request or self.request
        if self.fits(preferred, request):
            return preferred
        rooms, loads = self._rooms_for(request), self._loads
        able = (address for address, room in rooms.items() if room and address not in apart)
        if self._is_plain(request):
            return min(able, key=lambda a: loads.get(a, 0) / rooms[a], default=None)
        return min(able, key=lambda a: self._crowding(a, request), default=None)

    def share(self, address: str | None, count: int) -> int:
        """Return how many of so many usual segments each slot of a worker should take."""
        room = self._rooms_for(self.request).get(address or "", 0)
        return -(-count // room) if room else 1

    def should_leave(self, address: str | None, request: Request | None = None) -> bool:
        """Return whether a worker has more than it can run while another has room."""
        request = request or self.request
        idlest = self.choose(None, request)
        if address not in self._places or idlest is None:
            return False
        is_crowded = self._places[address].is_overdrawn(self._load(address))
        return is_crowded and self.fits(idlest, request)

    def put(self, segment: int, address: str, request: Request | None = None) -> None:
        """Take note that a segment is at a worker, wherever it was believed to be before."""
        here = address, request or self.request
        if self._where.get(segment) == here:
            return
        self.free(segment)
        self._where[segment] = here
        if here[1] == self.request:
            self._loads[address] = self._loads.get(address, 0) + 1
        else:
            self._special.setdefault(address, Counter())[here[1]] += 1

    def free(self, segment: int) -> None:
        """Take note that a segment is nowhere any more."""
        where = self._where.pop(segment, None)
        if where is None:
            return
        address, request = where
        if request == self.request:
            self._loads[address] -= 1
            return
        self._special[address] -= Counter([request])
        if not self._special[address]:
            del self._special[address]

    def _rooms_for(self, request: Request) -> Mapping[str, int]:
        """Return how many of a kind each worker can run if it runs nothing else."""
        if request not in self._rooms:
            places = self._places.values()
            self._rooms[request] = {place.address: place.room_for(request) for place in places}
        return self._rooms[request]

    def _is_plain(self, request: Request) -> bool:
        """Whether counting is enough: this segment and all that there are take the usual."""
        return not self._special and request == self.request

    def _load(self, address: str) -> Mapping[Request, int]:
        """Return how many of each kind a worker has."""
        return {self.request: self._loads.get(address, 0), **self._special.get(address, {})}

    def _crowding(self, address: str, request: Request) -> tuple[bool, float]:
        """Return whether a worker is full for a kind, and which share of it is taken."""
        load, place = self._load(address), self._places[address]
        shares = (count / max(place.room_for(kind), 1) for kind, count in load.items())
        return not place.room_for(request, load), sum(shares)


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
