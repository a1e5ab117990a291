"""Write docs/quality.md and its plots from the runs that are stored."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.quality_parts import plot
from benchmarks.quality_parts.compare import LEVEL, Comparison, Measured, holm
from benchmarks.quality_parts.families import REFERENCES
from benchmarks.quality_parts.page_text import PAGE
from benchmarks.quality_parts.runs import Runs
from benchmarks.quality_parts.setting import PLANS, Setting, plan_of, problems
from benchmarks.quality_parts.worker import SYSTEMS

DOCS = Path(__file__).parents[2] / "docs"
SEARCHED = PLANS["searchers"]


def write(runs: Runs) -> None:
    """Write the page and the plots."""
    setting = Setting()
    seconds = {name: setting.seconds(problem) for name, problem in problems().items()}
    measured = Measured(runs, seconds)
    for problem, svg in plot.drawn(runs, seconds).items():
        (DOCS / "images" / f"quality-{problem}.svg").write_text(svg)
    compared = comparisons(measured)
    page = PAGE.format(
        date=time.strftime("%Y-%m-%d"),
        seeds=seeds_line(measured),
        verdict=verdict(measured, compared),
        compared=compared_table(compared),
        asha=asha_table(measured),
        models=models_table(measured),
        plots=plots(seconds),
        finals=regret_table(measured, 1.0),
        thirds=regret_table(measured, 1 / 3),
        searchers=searchers_table(measured),
        seconds=seconds_table(runs),
    )
    (DOCS / "quality.md").write_text(page)
    print(DOCS / "quality.md")


def comparisons(measured: Measured) -> list[Comparison]:
    """Return ours next to each reference, with p values corrected for all of them."""
    found = [
        comparison
        for ours, references in REFERENCES.items()
        for reference in references
        if (comparison := measured.compared(f"tuneflow/{ours}", reference)) is not None
    ]
    corrected = holm([comparison.p_worse for comparison in found])
    return [replace(c, holm=value) for c, value in zip(found, corrected, strict=True)]


def verdict(measured: Measured, compared: Sequence[Comparison]) -> str:
    """Return what was required and what was found."""
    found = [f"- {_worse(compared)}", f"- {_soon(measured)}"]
    for name, title in (("bohb", "BOHB"), ("tpe", "TPE")):
        p = measured.p_better(f"tuneflow/{name}", "tuneflow/random", "bowl6")
        if p is not None:
            words = "beats" if p < 0.01 else "does not beat"
            found.append(f"- {title} {words} random search on bowl6 with p < 0.01: p = {_p(p)}.")
    return "\n".join(found)


def _soon(measured: Measured) -> str:
    """Return one sentence on ASHA and random search."""
    places: dict[bool, list[str]] = {True: [], False: []}
    for problem in measured.seconds:
        times = measured.times_to_final("tuneflow/asha", "tuneflow/random", problem)
        if times:
            places[statistics.median(times) <= 1 / 3].append(problem)
    late = f"; not on {', '.join(places[False])}" if places[False] else ""
    where = ", ".join(places[True]) or "no problem"
    return f"ASHA is as good as random search's end in at most 1/3 of the time on {where}{late}."


def _worse(compared: Sequence[Comparison]) -> str:
    """Return one sentence on the comparisons."""
    worse = [c for c in compared if c.is_worse]
    if not worse:
        return f"None of the {len(compared)} comparisons finds ours worse beyond the noise."
    names = ", ".join(f"`{c.ours}` than `{c.reference}`" for c in worse)
    found = f"{len(worse)} find" if len(worse) > 1 else "one finds"
    return f"Of {len(compared)} comparisons {found} ours worse beyond the noise: {names}."


def seeds_line(measured: Measured) -> str:
    """Return with how many seeds everything was run that has no plan of its own."""
    names = [name for name in _schedulers(measured.runs) if plan_of(name) is None]
    counts = {}
    for problem in measured.seconds:
        found = [len(measured.regrets(name, problem)) for name in names]
        counts[problem] = min(filter(None, found), default=0)
    most = max(counts.values(), default=0)
    fewer = [f"{count} on {problem}" for problem, count in counts.items() if count < most]
    return f"{most} paired seeds" + (f" ({', '.join(fewer)})" if fewer else "")


def compared_table(compared: Iterable[Comparison]) -> str:
    """Return ours against the references."""
    rows = []
    for c in compared:
        words = "**worse**" if c.is_worse else "not worse"
        rows.append(
            [
                f"`{c.ours}`",
                f"`{c.reference}`",
                f"{c.better} / {c.pairs - c.better - c.worse} / {c.worse}",
                f"{c.factor:.2f}x",
                _p(c.p_worse),
                _p(c.holm),
                words,
            ]
        )
    head = [
        "ours",
        "reference",
        "better / equal / worse",
        "regret",
        "p (worse)",
        "p, Holm",
        f"at {LEVEL:g}",
    ]
    return _table(head, rows)


def asha_table(measured: Measured) -> str:
    """Return how soon ASHA is as good as random search in the end."""
    rows = []
    for problem in measured.seconds:
        cells = [problem]
        for ours in ("tuneflow/asha", "tuneflow/asha_stopping"):
            times = measured.times_to_final(ours, "tuneflow/random", problem)
            if not times:
                cells += ["", "", ""]
                continue
            median = statistics.median(times)
            third = sum(part <= 1 / 3 for part in times)
            words = f"{median:.2f}" if math.isfinite(median) else "never"
            cells += [words, f"{third} of {len(times)}", _mark(median <= 1 / 3)]
        rows.append(cells)
    head = ["problem", "promotion, median", "within 1/3", "", "stopping, median", "within 1/3", ""]
    return _table(head, rows)


def models_table(measured: Measured) -> str:
    """Return the p values of the algorithms with a model against random search."""
    names = ("bohb", "tpe", "asha+tpe", "dehb", "cmaes")
    rows = []
    for problem in measured.seconds:
        cells = [problem]
        for name in names:
            p = measured.p_better(f"tuneflow/{name}", "tuneflow/random", problem)
            cells.append("" if p is None else f"{_p(p)} {_mark(p < 0.01)}")
        rows.append(cells)
    return _table(["problem", *(f"`tuneflow/{name}`" for name in names)], rows)


def regret_table(measured: Measured, part: float) -> str:
    """Return the median regret of every algorithm on every problem; the best are bold."""
    names = sorted(_schedulers(measured.runs), key=_order)
    cells = {
        (name, problem): measured.median(name, problem, part)
        for name in names
        for problem in measured.seconds
    }
    best = {
        problem: min(
            (v for name in names if (v := cells[name, problem]) is not None), default=math.inf
        )
        for problem in measured.seconds
    }
    rows = [
        [f"`{name}`", *(_regret(cells[name, p], best[p]) for p in measured.seconds)]
        for name in names
    ]
    return _table(["algorithm", *measured.seconds], rows)


def searchers_table(measured: Measured) -> str:
    """Return the searchers side by side: 40 trials to the end, and under ASHA."""
    names = {name for name, _, _ in measured.runs.records if name.startswith("searchers/")}
    plain = sorted(name for name in names if "/asha+" not in name)
    places = SEARCHED.problems
    rows = []
    for name in plain:
        cells = [f"`{name.partition('/')[2]}`"]
        for key in (name, name.replace("/", "/asha+")):
            cells += [_searched(measured, key, place) for place in places]
        rows.append([*cells, _seconds(measured.runs, name, "bowl6")[1]])
    head = ["searcher", *places, *(f"{place}, ASHA" for place in places), "seconds, bowl6"]
    return _table(head, rows)


def _searched(measured: Measured, name: str, problem: str) -> str:
    """Return the median regret of a searcher; nothing while some of its seeds are missing."""
    seeds = sum((name, problem) == key[:2] for key in measured.runs.records)
    if seeds < SEARCHED.seeds:
        return ""
    return _regret(measured.median(name, problem), -math.inf)


def seconds_table(runs: Runs) -> str:
    """Return how much computing a run took in the median, on two problems."""
    names = sorted(_schedulers(runs), key=_order)
    rows = []
    for name in names:
        cells = [f"`{name}`"]
        for problem in ("bowl6", "mlp"):
            cells += _seconds(runs, name, problem)
        rows.append(cells)
    return _table(["algorithm", "bowl6, trials", "seconds", "mlp, trials", "seconds"], rows)


def _seconds(runs: Runs, name: str, problem: str) -> list[str]:
    """Return how many trials a run had and the seconds that it took, in the median."""
    found = [
        record
        for (who, where, _), record in runs.records.items()
        if who == name and where == problem and "seconds" in record
    ]
    if not found:
        return ["", ""]
    trials = statistics.median(record["trials"] for record in found)
    took = statistics.median(record["seconds"] for record in found)
    return [f"{trials:.0f}", f"{took:.2f}"]


def _schedulers(runs: Runs) -> set[str]:
    """Return the algorithms that have runs, but for the comparison of searchers."""
    return {name for name, _, _ in runs.records if not name.startswith("searchers/")}


def plots(problems: Iterable[str]) -> str:
    """Return the plots that there are."""
    return "\n\n".join(
        f"![Median regret on {problem}](images/quality-{problem}.svg)"
        for problem in problems
        if (DOCS / "images" / f"quality-{problem}.svg").exists()
    )


def _order(name: str) -> tuple[int, int, str]:
    system, _, algorithm = name.partition("/")
    known = list(REFERENCES)
    place = known.index(algorithm) if system == "tuneflow" and algorithm in known else len(known)
    return SYSTEMS.index(system), place, algorithm


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _p(value: float) -> str:
    if value < 0.001:
        return f"{value:.0e}".replace("e-0", "e-")
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def _mark(met: bool) -> str:
    return "✓" if met else "✗"


def _regret(value: float | None, best: float) -> str:
    if value is None or not math.isfinite(value):
        return ""
    text = "0" if abs(value) < 5e-7 else f"{value:.2g}"
    return f"**{text}**" if value <= best * 1.0001 + 1e-9 else text
