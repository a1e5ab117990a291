"""What a study has found."""

from __future__ import annotations

import tempfile
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneflow.checkpoints import Checkpoints
from tuneflow.errors import TrialsFailedError
from tuneflow.nearest import why_no_best
from tuneflow.opened import OpenStudy
from tuneflow.searchers.repeat import repeat_of
from tuneflow.trial import Params, Trial, TrialState

if TYPE_CHECKING:
    import optuna
    import pandas as pd

    from tuneflow.history import History


class Result:
    """The trials of a study, finished or not; returned by `tuneflow.tune` and `tuneflow.load`.

    Attributes:
        url: the study's URL.
        study: its spec.
        history: every fact of it.
        trials: its trials, by number.
    """

    def __init__(self, opened: OpenStudy) -> None:
        self.opened = opened
        self.url = opened.url
        self.study = opened.study
        self.history = opened.history
        self.trials: list[Trial] = opened.history.trials

    @property
    def state(self) -> str:
        """One word: "new", "running", "halted", "finishing" or "finished"."""
        return self.history.state

    @cached_property
    def best_trial(self) -> Trial:
        """The trial whose newest usable value is best, the earlier one among equals.

        Of several metrics it is the first one that counts; see `pareto_front` for all of them.

        Raises:
            TrialsFailedError: no trial has a usable value, or none keeps the study's constraints.
        """
        best = self.history.best()
        if best is None:
            why = why_no_best(self.history)
            raise TrialsFailedError(f"no trial of {self.url} {why}, so there is no best")
        return best

    @cached_property
    def pareto_front(self) -> list[Trial]:
        """The trials that no other one betters in a metric without losing in another.

        They are in the order of their numbers; equal ones are all among them. Trials that failed,
        or break a bound, are not. With one metric these are the best trials. Empty when there is
        none.
        """
        return self.history.pareto_front()

    @property
    def groups(self) -> History | None:
        """The trials of a study that repeats configurations, one for each configuration.

        Each has the mean or the median of its repeats, and ``groups.best()`` is the one that is
        best. None when the searcher repeats nothing.
        """
        repeat = repeat_of(self.study.searcher)
        return None if repeat is None else repeat.groups(self.study.space, self.history).history

    @property
    def best_value(self) -> float:
        """The best trial's newest usable value of the metric."""
        return self.value(self.best_trial)

    @property
    def best_config(self) -> Params:
        """The best trial's configuration."""
        return self.best_trial.params

    @property
    def failed(self) -> list[Trial]:
        """The trials that failed for good."""
        return [trial for trial in self.trials if trial.state is TrialState.FAILED]

    def value(self, trial: Trial) -> float:
        """Return a trial's newest usable value of the metric, in the metric's own sign."""
        loss = self.history.trial_loss(trial)
        return -loss if self.study.mode == "max" else loss

    def values(self, trial: Trial) -> dict[str, float]:
        """Return the metrics that are optimised, from a trial's newest report that has them all.

        Empty when there is no such report.
        """
        report = self.history.usable_report(trial)
        metrics = report.metrics if report is not None else {}
        return {name: metrics[name] for name, _ in self.study.objectives if name in metrics}

    def is_feasible(self, trial: Trial) -> bool:
        """Whether a trial's newest usable report keeps every bound; False when it has none."""
        return self.history.trial_violation(trial) == 0

    def checkpoint(self, trial: Trial | None = None, target: Path | str | None = None) -> Path:
        """Download the newest checkpoint of a trial.

        Args:
            trial: which one. Default: the best.
            target: a directory that is new or empty. Default: a new temporary one.

        Raises:
            FileNotFoundError: the trial has no checkpoint.
            CheckpointCorruptError: it is not what was stored.
        """
        trial = trial or self.best_trial
        if trial.checkpoint is None:
            raise FileNotFoundError(f"trial {trial.number} of {self.url} saved no checkpoint")
        directory = Path(target) if target else Path(tempfile.mkdtemp(prefix="tuneflow-"))
        Checkpoints(self.opened.store).restore(trial.checkpoint, directory)
        return directory

    def rows(self) -> list[dict[str, Any]]:
        """Return a flat dict for each trial, as the table and the CSV file have it."""
        from tuneflow.convert import rows

        return rows(self.study, self.history)

    def dataframe(self) -> pd.DataFrame:
        """Return all trials as a table, a row each. Needs pandas."""
        from tuneflow.convert import to_dataframe

        return to_dataframe(self.study, self.history)

    def to_optuna(self, storage: str | None = None) -> optuna.Study:
        """Return the trials as an Optuna study, for its plots and its importances.

        Args:
            storage: URL of an Optuna storage to write it to. Default: in memory.
        """
        from tuneflow.convert import to_optuna

        return to_optuna(self.study, self.history, storage=storage)

    def __repr__(self) -> str:
        best = self.history.best()
        found = f"best trial {best.number}: {self.value(best):g}" if best else "no best trial yet"
        return f"<Result of {self.url}: {self.state}, {len(self.trials)} trials, {found}>"
