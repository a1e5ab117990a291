"""A cluster that exists only in simulated time: no process, no thread, no sleeping.

The same schedulers, searchers, journal and driver run on it as on a real cluster, so it shows
what they would do with 64 workers, stragglers, failures and preemption, in a moment.
"""

from __future__ import annotations

import heapq
import inspect
import math
import random
import statistics
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from tuneflow.errors import ObjectiveError, SpecError
from tuneflow.executors.base import Ended, Executor, Message, Progress
from tuneflow.rng import generator
from tuneflow.trial import Failure, Outcome, Params, Report, Resource, Segment, Status

if TYPE_CHECKING:
    from tuneflow.job import Job
    from tuneflow.objective import Objective

Curve: TypeAlias = Callable[[Params, Resource], float | Mapping[str, float]]
"""What a simulated trial is: the metrics of a configuration at a resource level."""

StepTime: TypeAlias = Callable[..., float]
"""How long a step takes, given a configuration, and perhaps what its segment occupies."""


@dataclass
class SimulatedExecutor(Executor):
    """Run trials in simulated time.

    The objective is a function of two arguments, ``curve(config, resource)``, that returns the
    metric, or a mapping of metrics, which this configuration has at that level. It is called
    once for each whole step of resource.

    Args:
        workers: how many trials run at once. Default 64.
        step_time: simulated seconds for one unit of resource; a number, a function of the
            configuration, or one of the configuration and what the segment occupies, such as
            ``{"gpu": 2}``; None there is what the study says. Default 1.
        start_time: simulated seconds before a segment's first step. Default 0.
        straggler_spread: standard deviation of the logarithm of a worker's slowness, drawn for
            each segment; 0 makes all alike. Default 0.
        failure_rate: chance that a step fails the trial. Default 0.
        preemption_rate: how often an hour of a worker ends in its loss. Default 0.
        checkpoints: whether a segment that was lost, or resumed, goes on from where the trial
            had come to; otherwise it begins anew. Default True.
        interruptible: whether a segment that is told to stop ends at once, as processes and
            commands do, and not at its next report, as threads do. Default False.
        seed: of the stragglers, failures and preemptions. Default 0.
    """

    stores_outcomes: ClassVar[bool] = False

    workers: int = 64
    step_time: float | StepTime = 1.0
    start_time: float = 0.0
    straggler_spread: float = 0.0
    failure_rate: float = 0.0
    preemption_rate: float = 0.0
    checkpoints: bool = True
    interruptible: bool = False
    seed: int = 0
    _clock: float = field(default=0.0, init=False, repr=False)
    _arrivals: int = field(default=0, init=False, repr=False)
    _events: list[tuple[float, int, _Run]] = field(default_factory=list, init=False, repr=False)
    _runs: dict[tuple[int, int], _Run] = field(default_factory=dict, init=False, repr=False)
    _waiting: deque[_Run] = field(default_factory=deque, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise SpecError("executor.workers", f"{self.workers!r} is not 1 or more")
        for name in ("failure_rate", "straggler_spread", "preemption_rate", "start_time"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise SpecError(f"executor.{name}", f"{getattr(self, name)!r} is below 0")

    def open(self, job: Job, objective: Objective) -> None:
        """Take the curve. Raises ObjectiveError when it is not one."""
        self._metric = job.metric
        self._curve = _curve_of(objective)

    @property
    def slots(self) -> int:
        """How many segments run at once."""
        return self.workers

    def now(self) -> float:
        """Return the simulated seconds since the beginning."""
        return self._clock

    def submit(self, segment: Segment) -> None:
        """Have a segment run, as soon as a worker is free."""
        if segment.key in self._runs:
            return
        run = _Run(self, segment)
        self._runs[segment.key] = run
        if len(self._runs) - len(self._waiting) > self.workers:
            self._waiting.append(run)
        else:
            self._begin(run)

    def wait(self, timeout: float | None) -> list[Message]:
        """Return all that happens at the next moment, at most ``timeout`` simulated seconds on."""
        while self._events and self._events[0][2].is_over:
            heapq.heappop(self._events)
        if not self._events or (timeout is not None and self._events[0][0] > self._clock + timeout):
            self._clock += timeout or 0.0
            return []
        self._clock = self._events[0][0]
        messages: list[Message] = []
        while self._events and self._events[0][0] <= self._clock:
            run = heapq.heappop(self._events)[2]
            messages += [] if run.is_over else self._step(run)
        return messages

    def cancel(self, trial: int, segment: int) -> None:
        """Let a segment end at its next report, or now if it can be interrupted."""
        run = self._runs.get((trial, segment))
        if run is None:
            return
        run.is_cancelled = True
        if self.interruptible and run not in self._waiting:
            run.next_time = self._clock
            self._plan(run)

    def close(self, *, abandon: bool) -> None:
        """Forget everything that runs."""
        self._events.clear()
        self._runs.clear()
        self._waiting.clear()

    def _step(self, run: _Run) -> list[Message]:
        messages = run.step(self._clock)
        if not isinstance(messages[-1], Ended):
            self._plan(run)
            return messages
        run.is_over = True
        del self._runs[run.segment.key]
        if self._waiting:
            self._begin(self._waiting.popleft())
        return messages

    def _begin(self, run: _Run) -> None:
        run.begin(self._clock)
        self._plan(run)

    def _plan(self, run: _Run) -> None:
        self._arrivals += 1
        heapq.heappush(self._events, (run.next_time, self._arrivals, run))

    def measure(self, params: Params, resource: Resource) -> dict[str, float]:
        """Return the metrics of a configuration at a level."""
        found = self._curve(params, resource)
        return dict(found) if isinstance(found, Mapping) else {self._metric: float(found)}

    def seconds_a_step(self, segment: Segment) -> float:
        """Return how long one unit of resource takes on a worker of ordinary speed."""
        if not callable(self.step_time):
            return self.step_time
        takes_both = len(inspect.signature(self.step_time).parameters) > 1
        given = (segment.params, segment.resources) if takes_both else (segment.params,)
        return self.step_time(*given)


class _Run:
    """One segment on its simulated worker."""

    def __init__(self, cluster: SimulatedExecutor, segment: Segment) -> None:
        self.segment = segment
        self.is_cancelled = False
        self.is_over = False
        self.next_time = 0.0
        self._cluster = cluster
        self._reports: list[Report] = []
        self._resource: Resource = segment.start if cluster.checkpoints else 0
        self._started = 0.0
        self._step: float | None = None

    def begin(self, time: float) -> None:
        """Put the segment on a worker, unless it is to stop before it has begun."""
        self._started = self.next_time = time
        if not self.is_cancelled:
            self._step = self._cluster.seconds_a_step(self.segment) * self._slowness()
            self.next_time += self._cluster.start_time + self._step

    def step(self, time: float) -> list[Message]:
        """Return what happens at the end of a step."""
        if self._step is None or (self.is_cancelled and self._cluster.interruptible):
            return [self._end("stopped", time)]
        if self._is_preempted(self._step):
            failure = Failure("lost", "the worker was preempted")
            return [self._end("lost", time, failure)]
        if self._cluster.failure_rate and self._rng.random() < self._cluster.failure_rate:
            return [self._end("failed", time, Failure("SimulatedFailure", "this step failed"))]
        until = self.segment.until
        self._resource = self._resource + 1 if until is None else min(self._resource + 1, until)
        metrics = self._cluster.measure(self.segment.params, self._resource)
        report = Report(self._resource, metrics, self._checkpoint(), time)
        self._reports.append(report)
        progress = Progress(self.segment.trial, self.segment.segment, report)
        if until is None or self._resource >= until:
            return [progress, self._end("completed" if until is None else "paused", time)]
        if self.is_cancelled:
            return [progress, self._end("stopped", time)]
        self.next_time = time + self._step
        return [progress]

    @cached_property
    def _rng(self) -> random.Random:
        return generator(self._cluster.seed, "simulated", *self.segment.key)

    def _slowness(self) -> float:
        spread = self._cluster.straggler_spread
        if not spread:
            return 1.0
        unit = max(self._rng.random(), 2.0**-53)
        return math.exp(spread * statistics.NormalDist().inv_cdf(unit))

    def _checkpoint(self) -> str | None:
        if not self._cluster.checkpoints:
            return None
        return f"simulated/{self.segment.trial}-{self.segment.segment}-{self._resource!r}"

    def _is_preempted(self, seconds: float) -> bool:
        rate = self._cluster.preemption_rate
        return rate > 0 and self._rng.random() < -math.expm1(-rate * seconds / 3600)

    def _end(self, status: Status, time: float, failure: Failure | None = None) -> Ended:
        trial, segment = self.segment.key
        return Ended(
            Outcome(trial, segment, status, tuple(self._reports), failure, self._started, time)
        )


def _curve_of(objective: Objective) -> Curve:
    curve: Any = getattr(objective, "function", None)
    if curve is None or len(inspect.signature(curve).parameters) != 2:
        raise ObjectiveError(
            "a simulated study needs a function of two arguments, curve(config, resource), that "
            "returns the metric at a resource level"
        )
    found: Curve = curve
    return found
