"""Trials as an Optuna study: for its plots, its importances, its dashboard and its samplers."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tuneflow.convert.rows import flatten
from tuneflow.errors import MissingDependencyError, SpecError, StorageError, StudyExistsError
from tuneflow.history import History
from tuneflow.jsonio import encode_metrics
from tuneflow.space import Domain, Float, Int, Normal, Space
from tuneflow.space.domains import Listed
from tuneflow.study import Study
from tuneflow.trial import Outcome, Trial, TrialState

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial


def to_optuna(
    study: Study,
    history: History,
    storage: str | None = None,
    name: str | None = None,
    outcomes: Iterable[Outcome] = (),
) -> optuna.Study:
    """Return the trials as an Optuna study.

    Completed trials are COMPLETE, stopped and paused ones PRUNED with their newest value,
    failed ones (and completed ones without a usable value) FAIL. Parameters have the paths of
    the space, such as ``model.svm.C``. What Optuna has no distribution for, constants and
    derived values among it, is in the user attribute ``params``. Reports are intermediate
    values: the step is the resource where that is a whole number in all of the study, else the
    number of the report, and then the user attribute ``resources`` has the levels.

    Of a study with several metrics, Optuna knows neither intermediate values nor pruned trials:
    those that were stopped or paused are COMPLETE with their newest values. Constraints are those
    of Optuna; a trial that lacks a metric with a bound breaks it by infinity.

    Args:
        study: the study.
        history: its history.
        storage: URL of an Optuna storage, such as ``sqlite:///x.db``. Default: in memory.
        name: the name of the Optuna study. Default: the study's.
        outcomes: the segments' outcomes, for the times at which trials began and ended.
            Without them each trial has the time of this call.

    Raises:
        MissingDependencyError: optuna is not installed.
        StudyExistsError: the storage has a study of this name.
        StorageError: the storage cannot be used.
    """
    try:
        import optuna
    except ImportError:
        raise MissingDependencyError("optuna", "optuna") from None
    with quiet():
        found = _create(optuna, study, storage, name or study.name)
        found.add_trials(frozen_trials(study, history, outcomes))
    return found


def _create(module: Any, study: Study, storage: str | None, name: str) -> optuna.Study:
    from sqlalchemy.exc import SQLAlchemyError

    directions = [f"{mode}imize" for _, mode in study.objectives]
    try:
        made: optuna.Study = module.create_study(
            storage=storage, study_name=name, directions=directions
        )
    except module.exceptions.DuplicatedStudyError:
        problem = f"the Optuna storage has a study '{name}' already"
        raise StudyExistsError(f"{problem}; give another name or another storage") from None
    except (SQLAlchemyError, module.exceptions.StorageInternalError) as error:
        # The URL may hold a password, so it is not repeated.
        reason = str(error).partition("\n")[0]
        raise StorageError(f"the Optuna storage cannot be used: {reason}") from error
    made.set_user_attr("tuneflow", study.to_json())
    return made


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna from saying that it has made a study, and what it warns of in plots."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def frozen_trials(
    study: Study,
    history: History,
    outcomes: Iterable[Outcome] = (),
    trials: Iterable[Trial] | None = None,
) -> list[FrozenTrial]:
    """Return trials in Optuna's form, all of them by default; see `to_optuna`."""
    maker = _Maker(study, history, outcomes)
    return [maker.make(trial) for trial in (history.trials if trials is None else trials)]


class _Maker:
    """Makes Optuna's trials; knows what is common to all of them."""

    def __init__(self, study: Study, history: History, outcomes: Iterable[Outcome]) -> None:
        self._space = study.space
        self._history = history
        self._times = _times(outcomes)
        self._distributions = distributions(study.space, history.trials)
        self._is_whole = all(
            float(report.resource).is_integer()
            for trial in history.trials
            for report in trial.reports
        )

    def make(self, trial: Trial) -> FrozenTrial:
        from optuna.trial import FrozenTrial

        state, values = self._result(trial)
        params, others = self._params(trial)
        began, ended = self._times.get(trial.number, (None, None))
        now = datetime.now(UTC).timestamp()
        return FrozenTrial(
            number=trial.number,
            trial_id=-1,
            state=state,
            value=None,
            values=values,
            datetime_start=_local(began or now),
            datetime_complete=_local(ended or now) if state.is_finished() else None,
            params=params,
            distributions={path: self._distributions[path] for path in params},
            user_attrs=self._attributes(trial, others),
            system_attrs=self._notes(trial) if state.is_finished() else {},
            intermediate_values=self._steps(trial),
        )

    def _result(self, trial: Trial) -> tuple[Any, list[float] | None]:
        from optuna.trial import TrialState as State

        if trial.state is TrialState.RUNNING:
            return State.RUNNING, None
        if trial.state is TrialState.FAILED:
            return State.FAIL, None
        report = self._history.usable_report(trial)
        objectives = self._history.objectives
        values = [report.metrics[name] for name, _ in objectives] if report is not None else None
        if trial.state is not TrialState.COMPLETED and len(objectives) == 1:
            return State.PRUNED, values
        return (State.FAIL, None) if values is None else (State.COMPLETE, values)

    def _notes(self, trial: Trial) -> dict[str, Any]:
        """Return the constraints as Optuna notes them."""
        report = self._history.usable_report(trial)
        metrics = report.metrics if report is not None else {}
        margins = [constraint.margin(metrics) for constraint in self._history.constraints]
        return {"constraints": margins} if margins else {}

    def _params(self, trial: Trial) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the parameters that have a distribution, and the others."""
        others = flatten(trial.params)
        try:
            values = self._space.values(trial.params)
        except SpecError:
            return {}, others
        known = self._space.domains()
        params = {}
        for path, value in values.items():
            encoded = _encoded(known[path], value)
            if path in self._distributions and _is_in(self._distributions[path], encoded):
                params[path] = encoded
                others.pop(path, None)
        return params, others

    def _attributes(self, trial: Trial, others: Mapping[str, Any]) -> dict[str, Any]:
        metrics = trial.reports[-1].metrics if trial.reports else {}
        attributes = {
            "params": dict(others),
            "resource": trial.resource,
            "resources": [] if self._is_whole else [r.resource for r in trial.reports],
            "metrics": encode_metrics(metrics),
            "reason": trial.stopping,
            "failure": str(trial.failure) if trial.failure is not None else None,
            "checkpoint": trial.checkpoint,
        }
        return {key: value for key, value in attributes.items() if value not in (None, {}, [])}

    def _steps(self, trial: Trial) -> dict[int, float]:
        if len(self._history.objectives) > 1:
            return {}
        metric = self._history.metric
        return {
            int(report.resource) if self._is_whole else position: report.metrics[metric]
            for position, report in enumerate(trial.reports, start=1)
            if metric in report.metrics
        }


def distributions(space: Space, trials: Iterable[Trial]) -> dict[str, BaseDistribution]:
    """Return Optuna's distribution for each free parameter of a space, by path.

    A parameter without bounds gets those of the trials' values, and is left out without any.
    """
    found = {}
    unbounded = {p for p, domain in space.domains().items() if isinstance(domain, Normal)}
    seen = _seen(space, trials, unbounded) if unbounded else {}
    for path, domain in space.domains().items():
        made = _distribution(domain, seen.get(path, []))
        if made is not None:
            found[path] = made
    return found


def _seen(space: Space, trials: Iterable[Trial], paths: set[str]) -> dict[str, list[float]]:
    seen: dict[str, list[float]] = {}
    for trial in trials:
        if space.contains(trial.params):
            for path, value in space.values(trial.params).items():
                if path in paths and isinstance(value, int | float):
                    seen.setdefault(path, []).append(value)
    return seen


def _distribution(domain: Domain, seen: list[float]) -> BaseDistribution | None:
    from optuna import distributions as of

    if isinstance(domain, Float):
        step = None if domain.log else domain.spacing
        return of.FloatDistribution(*domain.bounds, log=domain.log, step=step)
    if isinstance(domain, Int):
        step = 1 if domain.log else domain.spacing
        return of.IntDistribution(*domain.bounds, log=domain.log, step=step)
    if isinstance(domain, Listed):
        return of.CategoricalDistribution([_encoded(domain, value) for value in domain.listed])
    return of.FloatDistribution(min(seen), max(seen)) if seen else None


def _encoded(domain: Domain, value: Any) -> Any:
    """Return a value as Optuna keeps it: of a list that it cannot keep, each value's JSON."""
    if not isinstance(domain, Listed) or _is_simple(domain):
        return value
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _is_simple(domain: Listed) -> bool:
    """Whether Optuna can keep the listed values: scalars, of which no two compare as equal."""
    scalar = all(v is None or isinstance(v, bool | int | float | str) for v in domain.listed)
    return scalar and len(set(domain.listed)) == len(domain.listed)


def _is_in(distribution: BaseDistribution, value: Any) -> bool:
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except ValueError:
        return False


def _times(outcomes: Iterable[Outcome]) -> dict[int, tuple[float, float]]:
    """Return when each trial began and ended, in seconds since the epoch."""
    times: dict[int, tuple[float, float]] = {}
    for outcome in outcomes:
        began, ended = times.get(outcome.trial, (outcome.started, outcome.ended))
        times[outcome.trial] = min(began, outcome.started), max(ended, outcome.ended)
    return times


def _local(seconds: float) -> datetime:
    """Return a moment as Optuna has it: local time, without a zone."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().replace(tzinfo=None)
