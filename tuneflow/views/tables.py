"""The parts of the terminal views. Each is built from a study and its history alone."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tuneflow.convert import flatten, trial_value, trial_values
from tuneflow.history import History
from tuneflow.study import Study
from tuneflow.trial import Trial, TrialState
from tuneflow.views import text
from tuneflow.views.front import front_line, front_table
from tuneflow.views.progress import Rung, Rungs, rungs_of

STYLES = {
    TrialState.RUNNING: "cyan",
    TrialState.PAUSED: "yellow",
    TrialState.COMPLETED: "green",
    TrialState.STOPPED: "blue",
    TrialState.FAILED: "red",
}
_LISTED = 5


def status_table(
    study: Study, history: History, url: str = "", more: Mapping[str, str] | None = None
) -> Table:
    """Return what a study is and where it stands, one field a line; and ``more`` fields."""
    table = _grid()
    for name, value in _status(study, history, url):
        table.add_row(Text(name, "dim"), value)
    for name, said in (more or {}).items():
        table.add_row(Text(name, "dim"), Text(text.clean(said)))
    return table


def _status(study: Study, history: History, url: str) -> Iterable[tuple[str, Text]]:
    yield "study", Text(text.clean(study.name), "bold")
    if url:
        yield "url", Text(text.clean(url))
    yield "state", state_line(history)
    yield "goal", Text(text.goal(study))
    yield "searcher", Text(text.plugin(study.searcher.to_json()))
    yield "scheduler", Text(text.plugin(study.scheduler.to_json()))
    stop = text.stoppers(study)
    if stop is not None:
        yield "stop", Text(stop)
    yield "trials", counts_line(history)
    late = text.late(history)
    if late is not None:
        yield "late", Text(late)
    yield "resource", Text(f"{text.number(history.spent, 6)} units")
    best = history.best()
    yield "best", best_line(study, history, best)
    if study.other_metrics:
        yield "front", front_line(history.pareto_front())


def state_line(history: History) -> Text:
    """Return the state of a study, and the reason when it has one."""
    reason = history.finished or history.halted
    style = {"finished": "bold green", "halted": "bold yellow"}.get(history.state, "bold cyan")
    line = Text(history.state, style)
    return line.append(f": {text.clean(reason)}", "default") if reason else line


def late_line(history: History) -> Text | None:
    """Return that the searcher is too slow, where it is."""
    late = text.late(history)
    return Text(late, "yellow") if late is not None else None


def counts_line(history: History) -> Text:
    """Return how many trials are in each state, in the colours of the states."""
    line = Text()
    for state in text.STATES:
        count = history.counts[state]
        if count:
            line.append(", " if line else "").append(f"{count} {state.value}", STYLES[state])
    return line or Text("none yet", "dim")


def best_line(study: Study, history: History, best: Trial | None) -> Text:
    """Return the best trial, its value and its configuration on one line."""
    if best is None:
        return Text(text.no_best(history), "dim")
    is_one = not study.other_metrics
    value = text.number(trial_value(history, best)) if is_one else text.results(history, best)
    line = Text(value, "bold green")
    line.append(f"  trial {best.number} at {text.number(best.resource)}", "default")
    return line.append(f"  {text.config(best.params)}", "dim")


def best_panel(study: Study, history: History) -> RenderableType:
    """Return the best trial with its configuration, one parameter a line."""
    best = history.best()
    if best is None:
        return best_line(study, history, best)
    table = _grid()
    for name, value in flatten(best.params).items():
        table.add_row(Text(text.clean(name), "cyan"), Text(text.parameter(value)))
    title = Text(f"best: trial {best.number}")
    values = trial_values(history, best)
    for (metric, _), value in zip(study.objectives, values, strict=True):
        title.append(f", {text.clean(metric)} ").append(text.number(value), "bold green")
    title.append(f" at {text.number(best.resource)}")
    if best.checkpoint is not None:
        table.add_row(Text("checkpoint", "dim"), Text(best.checkpoint, "dim"))
    return Panel(table, title=title, title_align="left", box=box.ROUNDED, expand=False)


def rungs_table(study: Study, history: History) -> Table | None:
    """Return what each rung holds, the highest first; None for a scheduler without rungs."""
    return rungs_view(rungs_of(study, history), study, list(history.running))


def rungs_view(rungs: Rungs, study: Study, running: Iterable[int]) -> Table | None:
    """Return the table of an index of rungs."""
    if len(rungs.rungs) < 2:
        return None
    table = _table()
    for name in ("rung", "results", "went on", "running", f"best {text.clean(study.metric)}"):
        table.add_column(name, justify="right", no_wrap=True)
    on_the_way = [0] * (len(rungs.rungs) + 1)
    for trial in running:
        on_the_way[rungs.target(trial)] += 1
    last = len(rungs.rungs) - 1
    for position in range(last, -1, -1):
        rung = rungs.rungs[position]
        went_on = "" if position == last else str(rung.went_on)
        table.add_row(
            text.number(rung.level),
            str(rung.results),
            went_on,
            str(on_the_way[position]),
            text.number(_best_of(rung, study)),
        )
    return table


def _best_of(rung: Rung, study: Study) -> float | None:
    if rung.best == math.inf:
        return None
    return -rung.best if study.mode == "max" else rung.best


def trials_table(study: Study, history: History, trials: Sequence[Trial] | None = None) -> Table:
    """Return trials, a row each.

    Args:
        study: the study.
        history: its history.
        trials: which ones, in this order. Default: all, by number.
    """
    table = _table()
    table.add_column("trial", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("at", justify="right", no_wrap=True)
    for metric, _ in study.objectives:
        table.add_column(text.clean(metric), justify="right", no_wrap=True, max_width=14)
    if study.constraints:
        table.add_column("bounds", no_wrap=True)
    table.add_column("configuration")
    for trial in history.trials if trials is None else trials:
        table.add_row(*_cells(history, trial))
    return table


def _cells(history: History, trial: Trial) -> tuple[Text, ...]:
    detail = Text(text.config(trial.params))
    if trial.state is TrialState.FAILED and trial.failure is not None:
        detail = Text(text.clean(str(trial.failure)), "red")
    detail.no_wrap, detail.overflow = True, "ellipsis"
    return (
        Text(str(trial.number)),
        Text(trial.state.value, STYLES[trial.state]),
        Text(text.number(trial.resource)),
        *(Text(text.number(value)) for value in trial_values(history, trial)),
        *([Text(text.bounds(history, trial))] if history.constraints else []),
        detail,
    )


def failures_view(history: History, url: str) -> RenderableType | None:
    """Return the failures grouped by what they say, each with how to see a log; None if none."""
    groups = text.failure_groups(history.trials)
    if not groups:
        return None
    lines: list[RenderableType] = [Text("failures", "bold red")]
    for group in groups[:_LISTED]:
        count = text.plural(len(group.trials), "trial")
        lines.append(Text(f"  {count}: {text.clean(str(group.failure))}", overflow="fold"))
        lines.append(Text(f"    tuneflow logs {shlex.quote(url)} {group.trials[0]}", "dim"))
    if len(groups) > _LISTED:
        lines.append(Text(f"  and {len(groups) - _LISTED} other kinds of failure"))
    return Group(*lines)


def summary(
    study: Study,
    history: History,
    url: str,
    seconds: float | None = None,
    *,
    is_driven_here: bool = True,
) -> Group:
    """Return what a person wants to know when a study has ended or has been left.

    Args:
        study: the study.
        history: its history.
        url: the study's URL, for the commands to go on with.
        seconds: how long it was watched, or None.
        is_driven_here: whether it has to be gone on with, unless it has finished.
    """
    spent = f"{text.number(history.spent, 6)} units of resource"
    took = f", {text.duration(seconds)}" if seconds is not None else ""
    totals = f"{text.plural(len(history.trials), 'trial')}: {text.state_counts(history)}"
    parts = [
        Text(f"{text.clean(study.name)} ", "bold").append(state_line(history)),
        Text(f"{totals} ({spent}{took})") if history.trials else None,
        late_line(history),
        front_table(study, history, most=10),
        best_panel(study, history),
        failures_view(history, url),
        _how_to_go_on(history, url) if is_driven_here else None,
    ]
    return Group(*(part for part in parts if part is not None))


def _how_to_go_on(history: History, url: str) -> Text | None:
    if history.state == "finished":
        return None
    return Text(f"go on with: tuneflow resume {shlex.quote(url)}")


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="dim")


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    return grid
