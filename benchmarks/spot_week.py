"""Simulate a week on spot machines, and count what preemptions cost.

    python -m benchmarks.spot_week [--write]

The study, its journal and its driver are the real ones; the cluster is simulated, so a week takes
seconds and each run is the same. ``--write`` puts the table into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from textwrap import fill
from typing import Any, Final
from uuid import uuid4

from benchmarks import page
from tuneflow import space, stream
from tuneflow.executors.base import Ended, Message
from tuneflow.executors.simulated import SimulatedExecutor
from tuneflow.job import Job
from tuneflow.objective import PythonObjective
from tuneflow.opened import OpenStudy
from tuneflow.schedulers import FIFO
from tuneflow.searchers import Random
from tuneflow.study import Study
from tuneflow.trial import Params, Resource, TrialState

HEADING = "## A week on spot machines"
MINUTE: Final = 60.0
HOUR: Final = 60 * MINUTE
RATES: Final = (1, 3, 10, 30)
"""Preemptions of a machine, in percent an hour."""
NOTICE: Final = 2 * MINUTE
"""What clouds give at least a part of: AWS two minutes, others half a minute."""

_COLUMNS: Final = (
    "checkpoints",
    "notice",
    "preemptions of a machine",
    "of all",
    "wasted",
    "for each",
    "at most",
    "longer",
)
_WIDTH: Final = 100


@dataclass(frozen=True)
class Period:
    """When checkpoints are saved.

    Attributes:
        name: for people.
        every: at every so many reports, or None.
        seconds: at the first report after so many seconds, or None.
    """

    name: str
    every: int | None = None
    seconds: float | None = None

    def longest(self, step: float) -> float:
        """Return the most seconds between two checkpoints, at steps of so many seconds."""
        limits = [] if self.every is None else [self.every * step]
        if self.seconds is not None:
            limits.append(-(-self.seconds // step) * step)
        return min(limits)


PERIODS: Final = (
    Period("each step", every=1),
    Period("12 steps", every=12),
    Period("30 minutes", seconds=30 * MINUTE),
)


@dataclass(frozen=True)
class Week:
    """What is simulated: 16 machines that are busy for a week.

    Attributes:
        period: when checkpoints are saved.
        rate: preemptions of a machine, in percent an hour.
        notice: seconds between the notice of a preemption and the loss.
        machines: how many there are.
        trials: how many trials there are.
        levels: how many steps each has.
        step: seconds of a step.
        restart: seconds until a trial that lost its machine takes its next step on another one.
        seed: of the preemptions.
    """

    period: Period
    rate: float
    notice: float = 0.0
    machines: int = 16
    trials: int = 112
    levels: int = 288
    step: float = 5 * MINUTE
    restart: float = 3 * MINUTE
    seed: int = 0

    @property
    def bound(self) -> float:
        """The most seconds of a machine's time that one preemption may waste."""
        return self.period.longest(self.step) + self.restart

    @property
    def useful(self) -> float:
        """The seconds of machines' time that the trials take without preemptions."""
        return self.trials * (self.restart + self.levels * self.step)

    def study(self) -> Study:
        """Return the study; its trials need nothing of one another."""
        return Study(
            name="week",
            space=space.Space({"x": space.uniform(0.0, 1.0)}),
            metric="loss",
            mode="min",
            searcher=Random(),
            scheduler=FIFO(max_resource=self.levels),
            trials=self.trials,
            seed=1,
        )

    def cluster(self) -> Machines:
        """Return the simulated machines."""
        return Machines(
            workers=self.machines,
            step_time=self.step,
            start_time=self.restart,
            preemption_rate=self.rate / 100,
            relaunches=3,
            notice=self.notice,
            checkpoint_every=self.period.every,
            checkpoint_seconds=self.period.seconds,
            seed=self.seed,
        )


@dataclass
class Machines(SimulatedExecutor):
    """A simulated cluster that counts the time that its machines are busy.

    Attributes:
        busy: in seconds.
    """

    busy: float = field(default=0.0, init=False)

    def wait(self, timeout: float | None) -> list[Message]:
        """Let something happen."""
        messages = super().wait(timeout)
        ended = (message.outcome for message in messages if isinstance(message, Ended))
        self.busy += sum(outcome.ended - outcome.started for outcome in ended)
        return messages


@dataclass(frozen=True)
class Result:
    """What came of a week.

    Attributes:
        week: what was simulated.
        values: the last value of each trial.
        failed: trials that were given up.
        lost: segments that were lost.
        preemptions: how many there were.
        wasted: seconds of machines' time.
        hours: how long it took in all.
    """

    week: Week
    values: tuple[float | None, ...]
    failed: int
    lost: int
    preemptions: int
    wasted: float
    hours: float

    @property
    def each(self) -> float:
        """The seconds that one preemption wasted, on average."""
        return self.wasted / max(self.preemptions, 1)


def curve(params: Params, resource: Resource) -> float:
    """Return the loss of a configuration after so many steps."""
    return (params["x"] - 0.3) ** 2 + 1 / resource


def simulate(week: Week) -> Result:
    """Run a week."""
    opened = OpenStudy.create(week.study(), f"memory://{uuid4().hex}")
    machines = week.cluster()
    with machines:
        machines.open(Job(opened.url, "loss"), PythonObjective(curve))
        stream.drive(opened, machines)
    trials = opened.history.trials
    return Result(
        week=week,
        values=tuple(trial.latest("loss") for trial in trials),
        failed=sum(trial.state is TrialState.FAILED for trial in trials),
        lost=sum(trial.segment for trial in trials),
        preemptions=machines.preemptions,
        wasted=machines.busy - week.useful,
        hours=machines.now() / HOUR,
    )


def weeks() -> Iterator[Week]:
    """Yield what the table has."""
    for period in PERIODS:
        for notice in (0.0, NOTICE):
            for rate in RATES:
                yield Week(period, rate, notice)


def section(results: Sequence[Result], quiet: Result) -> str:
    """Return the section of docs/benchmarks.md."""
    return page_of((_row(result, quiet) for result in results), quiet)


def page_of(rows: Iterable[str], quiet: Result) -> str:
    """Return the section with these rows in its table."""
    week = quiet.week
    before = (
        f"{week.machines} simulated machines train {week.trials} trials of {week.levels} steps of "
        f"{week.step / MINUTE:g} minutes, which takes {quiet.hours:.0f} hours without preemptions. "
        f"A trial that loses its machine goes on on another one after {week.restart / MINUTE:g} "
        "minutes. Journal, driver and scheduler are the real ones: "
        "`python -m benchmarks.spot_week --write`."
    )
    head = f"| {' | '.join(_COLUMNS)} |"
    return "\n".join(
        [
            HEADING,
            "",
            fill(before, _WIDTH),
            "",
            head,
            "| --- " * len(_COLUMNS) + "|",
            *rows,
            "",
            _after(),
            "",
        ]
    )


def _after() -> str:
    text = (
        "*Wasted* is what machines did in vain, of all that they did: steps that are taken again, "
        "and starts. *At most* is the longest time between two checkpoints and one start; no run "
        "came above it, no trial was given up for its preemptions, and each ended with the same "
        "value as without them. With a notice of two minutes, a step of five is saved if it ends "
        "in them: a trial that reports more often loses its start alone."
    )
    return fill(text, _WIDTH)


def _row(result: Result, quiet: Result) -> str:
    week = result.week
    share = result.wasted / (week.useful + result.wasted)
    cells = (
        week.period.name,
        f"{week.notice / MINUTE:g} min" if week.notice else "none",
        f"{week.rate:g} %/h",
        f"{result.preemptions:,}",
        f"{share:.1%}",
        f"{result.each / MINUTE:.1f} min",
        f"{week.bound / MINUTE:g} min",
        f"{result.hours - quiet.hours:+.0f} h",
    )
    return f"| {' | '.join(cells)} |"


def problems(result: Result, quiet: Result) -> list[str]:
    """Return what is not as it should be."""
    week = result.week
    found = []
    if result.wasted > week.bound * result.preemptions:
        found.append(f"{week}: wasted {result.each:.0f} s for each preemption")
    if result.failed:
        found.append(f"{week}: {result.failed} trials were given up")
    if result.values != quiet.values:
        found.append(f"{week}: the trials ended with other values")
    return found


def main(arguments: Any = None) -> int:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    options = parser.parse_args(arguments)
    quiet = simulate(Week(PERIODS[0], rate=0))
    results = [simulate(week) for week in weeks()]
    text = section(results, quiet)
    print(text)
    found = [problem for result in results for problem in problems(result, quiet)]
    for problem in found:
        print(problem, file=sys.stderr)
    if options.write and not found:
        page.put(HEADING, text)
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
