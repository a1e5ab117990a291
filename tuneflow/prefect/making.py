"""From the arguments of `tune_flow` to a flow, once it is clear that it can work."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from prefect import Flow
from prefect.utilities.hashing import file_hash

from tuneflow.errors import SpecError, did_you_mean
from tuneflow.executors.placement import Request
from tuneflow.goals import make_objectives
from tuneflow.pipeline.making import calling_frame, checked, study_spec
from tuneflow.pipeline.template import Existing, StudyTemplate
from tuneflow.prefect.body import make_body
from tuneflow.prefect.lending import Storage, storage_name
from tuneflow.prefect.plan import FlowPlan, RunPlan
from tuneflow.prefect.runner import make_runner
from tuneflow.prefect.study_flow import StudyFlow
from tuneflow.remote.by_value import module_of
from tuneflow.remote.code import Train
from tuneflow.store_urls import check_name


@dataclass(frozen=True)
class Origin:
    """The module that a flow is made in.

    Attributes:
        module: its name.
        file: where it is, or None, as in a console.
    """

    module: str
    file: Path | None

    @classmethod
    def of_caller(cls) -> Self:
        """Return the module of the code that has called ours."""
        frame = calling_frame("prefect")
        names: Mapping[str, Any] = {} if frame is None else frame.f_globals
        file = names.get("__file__")
        return cls(names.get("__name__", "__main__"), Path(file).absolute() if file else None)

    @property
    def folder(self) -> Path:
        """Where files that are named relative to the module are looked for."""
        return self.file.parent if self.file else Path.cwd()


def make_flow(
    train: Train,
    origin: Origin,
    *,
    study: Mapping[str, Any],
    storage: Storage,
    name: str | None,
    isolation: Literal["thread", "process"],
    timeout: float | None,
    existing: Existing,
    task_runner: Any,
    trial_retries: int,
    trial_retry_delay: float,
    flow_options: Mapping[str, Any],
) -> StudyFlow:
    """Return the flow of a study; see `tuneflow.prefect.tune_flow`.

    Args:
        train: the objective.
        origin: where the flow is made.
        study: arguments of `tuneflow.tune`, from ``space`` to ``stop``.
        storage: see `tuneflow.prefect.tune_flow`; so it is with the others.
        name: likewise.
        isolation: likewise.
        timeout: likewise.
        existing: likewise.
        task_runner: likewise.
        trial_retries: likewise.
        trial_retry_delay: likewise.
        flow_options: likewise.

    Raises:
        SpecError: an argument cannot work.
        MissingDependencyError: prefect-dask is needed and not installed.
    """
    from tuneflow.prefect.flow import tune_flow

    check_options(flow_options, tune_flow)
    plan = flow_plan(
        train,
        origin,
        study=study,
        storage=storage,
        name=name,
        isolation=isolation,
        timeout=timeout,
        existing=existing,
        trial_retries=trial_retries,
        trial_retry_delay=trial_retry_delay,
    )
    runner = runner_for(plan, task_runner)
    goals = make_objectives(plan.template.spec["metric"], plan.template.spec["mode"])
    goal = " and ".join(f"{mode}imises {metric}" for metric, mode in goals)
    said = inspect.getdoc(train) if callable(train) else f"Tunes {plan.name}: {goal}."
    body = named(make_body(plan), train, origin, plan.name)
    options = {"description": said, **flow_options}
    return flow_of(body, plan, name=plan.name, origin=origin, runner=runner, options=options)


def flow_plan(
    train: Train,
    origin: Origin,
    *,
    study: Mapping[str, Any],
    storage: Storage,
    name: str | None,
    isolation: Literal["thread", "process"],
    timeout: float | None,
    existing: Existing,
    trial_retries: int,
    trial_retry_delay: float,
) -> FlowPlan:
    """Return what a flow tunes. The arguments are those of `make_flow`.

    Raises SpecError: an argument cannot work.
    """
    spec = study_spec(train, isolation=isolation, timeout=timeout, **study)
    if callable(train) and module_of(train) == origin.module:
        # Here it is a script, there a module of Prefect's loader: its functions have no one name.
        spec["objective"] = {"callable": _name_of(train)}
    template = StudyTemplate(spec, train, origin.folder, existing, isolation, timeout)
    if not checked(template).in_rounds:
        raise SpecError("round_size", "a flow needs rounds", "give a number, or 'all'")
    name = name or _plain(_name_of(train))
    check_name(name)
    return FlowPlan(
        template,
        name,
        storage_name(storage),
        _at_least_0("trial_retries", trial_retries, whole=True),
        _at_least_0("trial_retry_delay", trial_retry_delay),
    )


def runner_for(plan: FlowPlan, given: Any) -> Any:
    """Return the task runner for a plan; see `make_runner`."""
    made = plan.template.check()
    return make_runner(given, made.max_concurrent, Request.parse(made.resources))


def named(
    body: Callable[..., dict[str, Any]], train: Train, origin: Origin, name: str
) -> Callable[..., dict[str, Any]]:
    """Return the function of a flow with the names by which Prefect finds the flow again.

    Those are the module, and the variable in it.

    Args:
        body: the function.
        train: the objective, which the flow takes the place of where it was decorated.
        origin: the module.
        name: what the variable is called where the objective has no name.
    """
    body.__module__ = origin.module
    body.__name__ = getattr(train, "__name__", None) or re.sub(r"\W", "_", name)
    body.__qualname__ = getattr(train, "__qualname__", None) or body.__name__
    return body


def flow_of(
    body: Callable[..., dict[str, Any]],
    plan: RunPlan,
    *,
    name: str,
    origin: Origin,
    runner: Any,
    options: Mapping[str, Any],
) -> StudyFlow:
    """Return a flow that ends its trials when it is cancelled.

    Args:
        body: the function that the flow runs.
        plan: says which study a run is at.
        name: the flow's.
        origin: where it is made.
        runner: its task runner.
        options: of the flow; see `prefect.flow`.
    """
    from tuneflow.prefect.cancellation import stop_trials

    given = {
        "version": file_hash(str(origin.file)) if origin.file and origin.file.exists() else None,
        **options,
        "on_cancellation": [stop_trials, *(options.get("on_cancellation") or [])],
        "on_crashed": [stop_trials, *(options.get("on_crashed") or [])],
    }
    name = re.sub(r"[/%&<>]", "-", name)
    return StudyFlow.of(Flow(body, name=name, task_runner=runner, **given), plan)


def check_options(given: Mapping[str, Any], maker: Callable[..., Any]) -> None:
    """Raise SpecError for what no flow takes, such as a misspelt argument.

    Args:
        given: the options.
        maker: the function that they were given to, which has arguments beside them.
    """
    known = set(inspect.signature(Flow.__init__).parameters) - {"self", "fn", "name"}
    for name in given:
        if name not in known:
            near = known | set(inspect.signature(maker).parameters) - {"flow_options"}
            raise SpecError(name, "no flow takes this argument", did_you_mean(name, near))


def _name_of(train: Train) -> str:
    """Return what an objective is called."""
    if callable(train):
        return getattr(train, "__name__", None) or type(train).__name__
    if isinstance(train, str):
        return train.rpartition(":")[2]
    if "command" in train:
        return Path(str(train["command"][-1])).stem
    return str(train["function"]).rpartition(":")[2]


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "study"


def _at_least_0(field: str, value: Any, *, whole: bool = False) -> Any:
    kinds = int if whole else int | float
    if not isinstance(value, kinds) or isinstance(value, bool) or not 0 <= value < float("inf"):
        kind = "a whole number" if whole else "a number of seconds"
        raise SpecError(field, f"{value!r} is not {kind} of 0 or more")
    return value
