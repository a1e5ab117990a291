"""The Pareto front of a study of several metrics: kept at hand, and as a table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from tuneflow.convert import trial_values
from tuneflow.history import History
from tuneflow.pareto import dominates
from tuneflow.study import Study
from tuneflow.trial import Trial, TrialState
from tuneflow.views import text


class Front:
    """Keeps the Pareto front at hand while a history grows.

    `History.pareto_front` looks at every trial. This looks at those that changed, and agrees with
    it; only when a trial of the front got worse, it has to look at all of them again.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._losses: dict[int, tuple[float, ...]] = {}
        self._is_stale = True

    def update(self, trials: Iterable[int]) -> None:
        """Look again at trials that something has happened to."""
        for number in trials:
            if not self._is_stale:
                self._look_at(number)

    def get(self) -> list[Trial]:
        """Return what `History.pareto_front` returns."""
        if self._is_stale:
            front = self._history.pareto_front()
            self._losses = {trial.number: self._history.trial_losses(trial) for trial in front}
            self._is_stale = False
        return [self._history.trials[number] for number in sorted(self._losses)]

    def _look_at(self, number: int) -> None:
        before, now = self._losses.get(number), self._now(self._history.trials[number])
        if before == now:
            return
        if before is not None and (now is None or not dominates(now, before)):
            # What it kept out of the front may come back.
            self._is_stale = True
            return
        self._losses.pop(number, None)
        if now is not None and not any(dominates(one, now) for one in self._losses.values()):
            beaten = [other for other, one in self._losses.items() if dominates(now, one)]
            for other in beaten:
                del self._losses[other]
            self._losses[number] = now

    def _now(self, trial: Trial) -> tuple[float, ...] | None:
        """Return a trial's losses, or None for one that cannot be in the front."""
        if trial.state is TrialState.FAILED or self._history.trial_violation(trial) > 0:
            return None
        losses = self._history.trial_losses(trial)
        return losses if losses[0] < math.inf else None


def front_line(front: Sequence[Trial]) -> Text:
    """Return how many trials are in the front, and which."""
    if not front:
        return Text("empty", "dim")
    line = Text(text.plural(len(front), "trial"), "bold green")
    return line.append(f"  {', '.join(str(trial.number) for trial in front)}", "dim")


def front_table(study: Study, history: History, most: int | None = None) -> Table | None:
    """Return the front, the best by the first metric on top; None where there is none to show.

    Args:
        study: the study.
        history: its history.
        most: how many rows there are at most. Default: all.
    """
    front = sorted(history.pareto_front(), key=history.trial_losses)
    if not study.other_metrics or not front:
        return None
    shown = front[:most]
    title = Text(f"Pareto front: {text.plural(len(front), 'trial')}", "bold")
    if len(shown) < len(front):
        title.append(f", {len(shown)} of them here", "not bold dim")
    table = Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        header_style="dim",
    )
    table.add_column("trial", justify="right", no_wrap=True)
    for metric, mode in study.objectives:
        arrow = "↑" if mode == "max" else "↓"
        table.add_column(f"{text.clean(metric)} {arrow}", justify="right", no_wrap=True)
    table.add_column("at", justify="right", no_wrap=True)
    table.add_column("configuration", no_wrap=True, overflow="ellipsis")
    for trial in shown:
        values = (Text(text.number(value)) for value in trial_values(history, trial))
        level, config = Text(text.number(trial.resource)), Text(text.config(trial.params))
        table.add_row(Text(str(trial.number)), *values, level, config)
    return table
