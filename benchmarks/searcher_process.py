"""What it costs to have a search library in a process of its own.

    python -m benchmarks.searcher_process [--write]

A library that costs nothing is asked for the next trial in this process and in one of its own, by
turns, after so many trials; each ask also tells it one new result.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final

from benchmarks import page
from tuneflow.events import Closed, Launched, Reported
from tuneflow.history import History
from tuneflow.searchers.environment import Environment
from tuneflow.searchers.library import LibrarySearcher
from tuneflow.space import Float, Space
from tuneflow.trial import Params, Report

HEADING: Final = "## Search libraries in processes of their own"
GOAL: Final = 5000.0
"""Microseconds that the process may add to an ask and a tell."""

KNOWN: Final = (0, 100, 1_000)
SPACE: Final = Space({f"p{number}": Float(0, 1) for number in range(8)})


@dataclass(frozen=True, kw_only=True)
class Drawing(LibrarySearcher):
    """Asks `benchmarks.drawing_library`."""

    type: ClassVar[str] = "drawing"
    library: ClassVar[str] = "benchmarks.drawing_library"
    package: ClassVar[str] = "tuneflow"


@dataclass(frozen=True)
class Figures:
    """Microseconds of each ask.

    Attributes:
        here: in this process.
        apart: in a process of the library's own.
        again: the first ask of a process that has to be told of all trials.
    """

    here: list[float]
    apart: list[float]
    again: float

    @property
    def added(self) -> float:
        """What the process adds to an ask."""
        return statistics.median(self.apart) - statistics.median(self.here)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--asks", type=int, default=500)
    parser.add_argument("--write", action="store_true", help="update docs/benchmarks.md")
    options = parser.parse_args()
    section = render({known: measure(known, options.asks) for known in KNOWN}, options.asks)
    print(section)
    if options.write:
        page.put(HEADING, section)


def measure(known: int, asks: int) -> Figures:
    """Return what asks cost in a study with so many trials at first."""
    here, apart = Drawing(), Drawing(environment=Environment(python=sys.executable))
    apart.prepare()
    one, other, anew = (begun(known) for _ in range(3))
    again = timed(lambda: apart.suggest(SPACE, anew))
    found = Figures([], [], again)
    for searcher, history in ((here, one), (apart, other)):
        searcher.suggest(SPACE, history)
    for _ in range(asks):
        found.here.append(step(here, one))
        found.apart.append(step(apart, other))
    return found


def begun(known: int) -> History:
    """Return a study with so many trials."""
    history = History("loss", "min", 0)
    for number in range(known):
        end(history, dict.fromkeys(SPACE.domains(), number % 97 / 97))
    return history


def end(history: History, params: Params) -> None:
    """Add a trial that has a result."""
    number = len(history.trials)
    history.append(Launched(number, 0, None, params=params))
    history.append(Reported(number, Report(1, {"loss": float(number)})))
    history.append(Closed(number, "completed"))


def step(searcher: Drawing, history: History) -> float:
    """Ask for a trial and end it; return the microseconds that the asking took."""
    asked: list[Params] = []
    taken = timed(lambda: asked.append(searcher.suggest(SPACE, history)))
    end(history, asked[0])
    return taken


def timed(action: Callable[[], object]) -> float:
    """Return the microseconds of an action."""
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * 1e6


def render(figures: dict[int, Figures], asks: int) -> str:
    """Return the section of the page."""
    rows = "\n".join(row(known, found) for known, found in figures.items())
    return f"""{HEADING}

Microseconds of `suggest` for a library that costs next to nothing, over eight parameters: in the
driver's process, and in an environment of its own. Medians of {asks} asks by turns, each of which
also tells a result. Written by `python -m benchmarks.searcher_process --write`.

| known trials | in the driver, µs | of its own, µs | ratio | added, µs | goal | | told anew, ms |
| --- | --- | --- | --- | --- | --- | --- | --- |
{rows}

*Told anew* is the first ask of a process that has to be told of all trials: when a study is
resumed, or after the process has died. A process takes some seconds to start, most of which is
the import of its library.
"""


def row(known: int, found: Figures) -> str:
    """Return a row of the table."""
    here, apart = statistics.median(found.here), statistics.median(found.apart)
    verdict = "✓" if found.added <= GOAL else "✗"
    return (
        f"| {known:,} | {here:.0f} | {apart:.0f} | {apart / here:.1f}x | {found.added:.0f} | "
        f"at most {GOAL:,.0f} | {verdict} | {found.again / 1000:.1f} |"
    )


if __name__ == "__main__":
    main()
