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
        relaunches: how often a segment that was preempted is begun on another worker without
            having come to a new level in between, before it is lost; Dask's is 3. Default 0.
        notice: simulated seconds between the notice of a preemption and the loss: a step that
            ends in them is saved. Default 0.
        checkpoints: whether a segment that was lost, or resumed, goes on from where the trial
            had been saved; otherwise it begins anew. Default True.
        checkpoint_every: a checkpoint is saved at every so many reports, and where the segment
            ends; None for the latter alone. Default 1.
        checkpoint_seconds: and at the first report after so many simulated seconds without one,
            or None. Default None.
        interruptible: whether a segment that is told to stop ends at once, as processes and
            commands do, and not at its next report, as threads do. Default False.
        seed: of the stragglers, failures and preemptions. Default 0.

    Attributes:
        preemptions: how many there were.
    """

    stores_outcomes: ClassVar[bool] = False

    workers: int = 64
    step_time: float | StepTime = 1.0
    start_time: float = 0.0
    straggler_spread: float = 0.0
    failure_rate: float = 0.0
    preemption_rate: float = 0.0
    relaunches: int = 0
    notice: float = 0.0
    checkpoints: bool = True
    checkpoint_every: int | None = 1
    checkpoint_seconds: float | None = None
    interruptible: bool = False
    seed: int = 0
    preemptions: int = field(default=0, init=False, repr=False)
    _clock: float = field(default=0.0, init=False, repr=False)
    _arrivals: int = field(default=0, init=False, repr=False)
    _events: list[tuple[float, int, _Run]] = field(default_factory=list, init=False, repr=False)
    _runs: dict[tuple[int, int], _Run] = field(default_factory=dict, init=False, repr=False)
    _waiting: deque[_Run] = field(default_factory=deque, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise SpecError("executor.workers", f"{self.workers!r} is not 1 or more")
        if self.checkpoint_every is not None and self.checkpoint_every < 1:
            problem = f"{self.checkpoint_every!r} is not 1 or more"
            raise SpecError("executor.checkpoint_every", problem)
        rates = ("failure_rate", "straggler_spread", "preemption_rate")
        for name in (*rates, "start_time", "relaunches", "notice"):
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
        if not messages or not isinstance(messages[-1], Ended):
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
        self._saved = self._resource = segment.start if cluster.checkpoints else 0
        self._highest: Resource = self._resource
        self._deaths = 0
        self._unsaved = 0
        self._saved_at = 0.0
        self._started = 0.0
        self._step: float | None = None

    def begin(self, time: float) -> None:
        """Put the segment on a worker, unless it is to stop before it has begun."""
        self._started = self._saved_at = self.next_time = time
        if not self.is_cancelled:
            self._step = self._cluster.seconds_a_step(self.segment) * self._slowness()
            self.next_time += self._cluster.start_time + self._step

    def step(self, time: float) -> list[Message]:
        """Return what happens at the end of a step."""
        if self._step is None or (self.is_cancelled and self._cluster.interruptible):
            return [self._end("stopped", time)]
        preempted = self._until_preemption()
        if preempted + self._cluster.notice < self._step:
            return self._preempt(time)
        if self._cluster.failure_rate and self._rng.random() < self._cluster.failure_rate:
            return [self._end("failed", time, Failure("SimulatedFailure", "this step failed"))]
        is_preempted = preempted < self._step
        self.next_time = time + self._step
        return [self._report(time, is_wanted=is_preempted), *self._after(time, is_preempted)]

    def _report(self, time: float, *, is_wanted: bool) -> Progress:
        """Make a step, and report it."""
        until = self.segment.until
        self._resource = self._resource + 1 if until is None else min(self._resource + 1, until)
        metrics = self._cluster.measure(self.segment.params, self._resource)
        checkpoint = self._checkpoint(time, is_wanted=is_wanted)
        report = Report(self._resource, metrics, checkpoint, time)
        self._note(report)
        return Progress(self.segment.trial, self.segment.segment, report)

    def _after(self, time: float, is_preempted: bool) -> list[Message]:
        """Return what happens after a report."""
        until = self.segment.until
        if until is None or self._resource >= until:
            return [self._end("completed" if until is None else "paused", time)]
        if self.is_cancelled:
            return [self._end("stopped", time)]
        return self._preempt(time) if is_preempted else []

    def _note(self, report: Report) -> None:
        """Take note of a report, which may repeat a level."""
        if report.resource > self._highest or not self._reports:
            self._highest, self._deaths = report.resource, 0
            self._reports.append(report)

    def _preempt(self, time: float) -> list[Message]:
        """Lose the worker: go on on another one from the last checkpoint, or be lost."""
        self._cluster.preemptions += 1
        self._deaths += 1
        if self._step is None or self._deaths > self._cluster.relaunches:
            return [self._end("lost", time, Failure("lost", "the worker was preempted"))]
        if self.is_cancelled:
            return [self._end("stopped", time)]
        self._resource, self._saved_at, self._unsaved = self._saved, time, 0
        self.next_time = time + self._cluster.start_time + self._step
        return []

    @cached_property
    def _rng(self) -> random.Random:
        return generator(self._cluster.seed, "simulated", *self.segment.key)

    def _slowness(self) -> float:
        spread = self._cluster.straggler_spread
        if not spread:
            return 1.0
        unit = max(self._rng.random(), 2.0**-53)
        return math.exp(spread * statistics.NormalDist().inv_cdf(unit))

    def _checkpoint(self, time: float, *, is_wanted: bool) -> str | None:
        """Return the reference of the checkpoint that a report has, or None."""
        cluster, until = self._cluster, self.segment.until
        self._unsaved += 1
        every, seconds = cluster.checkpoint_every, cluster.checkpoint_seconds
        is_wanted |= until is None or self._resource >= until
        is_wanted |= every is not None and self._unsaved >= every
        is_wanted |= seconds is not None and time - self._saved_at >= seconds
        if not cluster.checkpoints or not is_wanted:
            return None
        self._saved, self._saved_at, self._unsaved = self._resource, time, 0
        return f"simulated/{self.segment.trial}-{self.segment.segment}-{self._resource!r}"

    def _until_preemption(self) -> float:
        """Draw in how many seconds, from the beginning of a step on, the worker is preempted."""
        rate = self._cluster.preemption_rate
        return -math.log1p(-self._rng.random()) * 3600 / rate if rate > 0 else math.inf

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
