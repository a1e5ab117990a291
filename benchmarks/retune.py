"""Measure what a warm start saves, and how often a retune promotes what is no better.

    python -m benchmarks.retune [--seeds 10] [--nulls 100] [--write]

Everything runs in this process, on storage in memory; the resource is counted and not timed.
``--write`` puts the section into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

# Matrices this small are multiplied fastest by one thread, and NumPy reads this when it is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from benchmarks import page
from tests.drifting import EPOCHS, SPACE, training
from tests.null_retunes import most_allowed, promotions
from tuneflow.retune.line import Line
from tuneflow.retune.local import Retuned, retune
from tuneflow.schedulers import ASHA
from tuneflow.searchers import TPE

HEADING = "## Retuning"
WEEKS = 4
"""How many weeks a line was retuned before the one that is measured."""
TRIALS = 60
SHARE = 0.5
"""What the warm-started retune may use of the cold one's total resource."""
JUDGES = range(1000, 1030)
"""The seeds that tell what a configuration is worth; no retune has seen them."""
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Pair:
    """A cold and a warm-started retune on the same week's data.

    Attributes:
        first: the loss, on that week's data, of the champion of the very first week.
        before: that of the champion before the retune.
        cold: that of the champion that the cold retune found.
        warm: that of the champion after the warm-started one.
        cold_spent: the resource of the cold retune in all.
        warm_spent: that of the warm-started one, the measuring of champion and challenger too.
    """

    first: float
    before: float
    cold: float
    warm: float
    cold_spent: float
    warm_spent: float

    @property
    def share(self) -> float:
        """Which share of the cold retune's resource led to its quality; infinity if none did."""
        return self.warm_spent / self.cold_spent if self.warm <= self.cold else math.inf


def main() -> None:
    """Run both benchmarks and print the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--nulls", type=int, default=100)
    parser.add_argument("--write", action="store_true", help="update docs/benchmarks.md")
    options = parser.parse_args()
    pairs = [measured(seed) for seed in range(options.seeds)]
    nulls = {worse: wrong(options.nulls, worse) for worse in (0.0, 0.5)}
    section = render(pairs, nulls, options.nulls)
    print(section)
    if options.write:
        page.put(HEADING, section)


def measured(seed: int) -> Pair:
    """Retune a line for some weeks, and then once more beside a line without a past."""
    line = _storage()
    champions = [retuned(week, line, seed).champion for week in range(WEEKS)]
    cold = retuned(WEEKS, _storage(), seed + 100)
    total = spent(cold)
    warm = retuned(WEEKS, line, seed, limits={"total_resource": SHARE * total})
    found = [*(champions[0], champions[-1]), cold.champion, warm.champion]
    pair = Pair(*(worth(WEEKS, one.config) for one in found if one), total, spent(warm))
    print(f"seed {seed}: {pair} {pair.share:.2f}", file=sys.stderr, flush=True)
    return pair


def retuned(week: int, storage: str, seed: int, **options: Any) -> Retuned:
    """Retune on a week's data."""
    return retune(
        training(week),
        space=SPACE,
        metric="loss",
        mode="min",
        name="digits",
        storage=storage,
        scheduler=ASHA(min_resource=3, max_resource=EPOCHS, reduction_factor=3),
        searcher=TPE(),
        trials=TRIALS,
        seed=seed,
        run=f"week {week}",
        confidence=CONFIDENCE,
        progress=False,
        **options,
    )


def spent(done: Retuned) -> float:
    """Return the resource of all studies of a retune."""
    studies = Line.open(done.url).retune(done.number).studies()
    return sum(opened.history.spent for opened in studies)


def worth(week: int, config: Any) -> float:
    """Return the mean loss of a configuration after all epochs, over seeds of its own."""
    curves = (list(training(week)({**config, "seed": seed})) for seed in JUDGES)
    return statistics.fmean(curve[-1]["loss"] for curve in curves)


def wrong(count: int, worse: float) -> int:
    """Return how many of so many null retunes promote a challenger."""
    found = promotions(range(count), confidence=CONFIDENCE, worse=worse)
    print(f"{found} of {count} promoted, worse by {worse}", file=sys.stderr, flush=True)
    return found


def _storage() -> str:
    return f"memory://{uuid4().hex}"


def render(pairs: Sequence[Pair], nulls: dict[float, int], count: int) -> str:
    """Return the section of the page."""
    champions = {
        "of the first week, never retuned": ("first", None),
        "before the retune": ("before", None),
        "cold: retuned without a past": ("cold", "cold_spent"),
        "warm: retuned with its past": ("warm", "warm_spent"),
    }
    limit = most_allowed(count, CONFIDENCE)
    return _SECTION.format(
        heading=HEADING,
        pairs=len(pairs),
        weeks=WEEKS,
        judges=len(JUDGES),
        goal=SHARE,
        limit=limit,
        champions="\n".join(_champion(pairs, what, *of) for what, of in champions.items()),
        goals="\n".join([*_savings(pairs), *_errors(nulls, count, limit)]),
    )


def _champion(pairs: Sequence[Pair], what: str, loss: str, resource: str | None) -> str:
    cost = _spread([getattr(pair, resource) for pair in pairs], 0) if resource else ""
    return _row(what, _spread([getattr(pair, loss) for pair in pairs]), cost)


def _savings(pairs: Sequence[Pair]) -> Iterator[str]:
    share = statistics.median(pair.share for pair in pairs)
    what = "share of the cold retune's resource at which the warm one is as good, median"
    figure = f"{share:.2f}" if share < math.inf else "not reached"
    yield _row(what, figure, f"at most {SHARE}", _mark(share <= SHARE))
    reached = sum(pair.share <= SHARE for pair in pairs)
    yield _row("seeds in which it is", f"{reached} of {len(pairs)}", "", "")
    kept = sum(pair.warm == pair.before for pair in pairs)
    what = "seeds in which it kept the champion that earlier retunes had found"
    yield _row(what, f"{kept} of {len(pairs)}", "", "")


def _errors(nulls: dict[float, int], count: int, limit: int) -> Iterator[str]:
    for worse, found in nulls.items():
        how = f"worse by {worse:g} standard deviations" if worse else "exactly as good"
        what = f"promoted at {CONFIDENCE:.0%} confidence, every challenger {how}"
        yield _row(what, f"{found} of {count}", f"at most {limit}", _mark(found <= limit))


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _spread(values: Sequence[float], digits: int = 3) -> str:
    middle, least, most = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} [{least:.{digits}f} to {most:.{digits}f}]"


def _mark(met: bool) -> str:
    return "✓" if met else "✗"


_SECTION = """\
{heading}

A small network learns digits whose noise gets stronger every week (tests/drifting.py: learning
rate, momentum, weight decay and the strength of augmentation; up to 27 epochs under ASHA, with
TPE). A line was retuned for {weeks} weeks. In the next week it is retuned with at most {goal} of
what a retune without any past uses on the same data. Medians [least to most] of {pairs} seeds; a
loss is the mean over {judges} seeds that no retune has seen. The resource counts everything:
measuring the champion, the search, measuring the challenger. Written by
`python -m benchmarks.retune --write`.

| champion | loss on that week's data | epochs that the retune took |
| --- | --- | --- |
{champions}

| what | figure | goal | |
| --- | --- | --- | --- |
{goals}

The last rows are whole retunes on a metric that is nothing but noise, drawn anew for each seed and
configuration. Where each is promoted with a chance of 5 %, more than {limit} promotions have a
probability below 1 %.
"""

if __name__ == "__main__":
    main()
