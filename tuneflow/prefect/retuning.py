"""`retune_flow`: look for a better configuration, and promote it if it is one, as a flow."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Literal

from tuneflow.budget import Budget
from tuneflow.prefect.flow import RETRIES, RETRY_DELAY
from tuneflow.prefect.lending import Storage
from tuneflow.prefect.making import Origin
from tuneflow.prefect.retune_making import make_retune_flow
from tuneflow.remote.code import Train
from tuneflow.retune.plan import SEED_KEY, Limits
from tuneflow.schedulers.base import Scheduler
from tuneflow.searchers.base import Searcher
from tuneflow.space import Space
from tuneflow.trial import Mode


def retune_flow(
    train: Train | None = None,
    *,
    space: Space | Mapping[str, Any],
    metric: str,
    mode: Mode,
    storage: Storage,
    name: str | None = None,
    seeds: int = 5,
    seed_key: str = SEED_KEY,
    margin: float = 0.0,
    confidence: float = 0.95,
    test: Literal["t", "permutation"] = "t",
    points: int = 8,
    discount: float = 0.5,
    defaults: Mapping[str, Any] | None = None,
    limits: Limits | Mapping[str, Any] | None = None,
    replace_unmeasured: bool = False,
    searcher: Searcher | Mapping[str, Any] | str | None = None,
    scheduler: Scheduler | Mapping[str, Any] | str | None = None,
    trials: int | None = None,
    seed: int = 0,
    budget: Budget | Mapping[str, Any] | None = None,
    resources: Mapping[str, Any] | None = None,
    round_size: int | Literal["all"] = "all",
    max_concurrent: int | None = None,
    isolation: Literal["thread", "process"] = "thread",
    timeout: float | None = None,
    task_runner: Any = None,
    trial_retries: int = RETRIES,
    trial_retry_delay: float = RETRY_DELAY,
    **flow_options: Any,
) -> Any:
    """Return a Prefect flow that retunes a line; without ``train``, a decorator for an objective.

        @retune_flow(name="digits", space={"lr": Float(1e-4, 1e-1, log=True)}, metric="accuracy", …)
        def train(config): …

        train.serve(cron="0 3 * * 1")

    A run of the flow measures the champion on today's data, searches with what was found before,
    measures the best of that with the same seeds, and writes down who is the champion from now on.
    It returns ``{"line", "retune", "promoted", "reason", "champion"}``. A run that fails leaves the
    champion who it was; tried again, it goes on with the same retune, and a newer run overtakes it.
    A run's parameters are ``data_version``, ``trials``, ``space``, ``budget``, ``trigger`` and
    ``run``.

    Where there is a new champion, an event ``tuneflow.champion.promoted`` says so. Its resource is
    the line, and its payload what the flow returns.

    Args:
        train: the objective; see `tuneflow.prefect.tune_flow`, and so for all that is not explained
            here. Its configuration has the key ``seed`` as well.
        space: what is searched. In its constants ``{data_version}`` stands for the data of the run,
            as in ``"path": "s3://bucket/{data_version}.parquet"``.
        metric: it must be that of the line's history, and so must ``mode``.
        mode: "min" or "max".
        storage: where line and studies are kept; see `tuneflow.prefect.tune_flow`.
        name: the name of the line. Where the storage has a study of this name, its best trial is
            the first champion. The flow is called ``retune-`` and this. Default: that of the
            objective.
        seeds: with how many seeds champion and challenger are measured.
        seed_key: the key of the configuration that holds a run's seed.
        margin: by how much the challenger must be better, in the metric's unit.
        confidence: how sure that must be, from 0.5 to below 1.
        test: "t" or "permutation".
        points: how many past configurations are tried first.
        discount: what a past result counts for each retune that has passed since, from 0 to 1.
        defaults: what the training code used for a parameter before it became one, by its path.
        limits: what the whole retune may use; see `tuneflow.retune.plan.Limits`.
        replace_unmeasured: see `tuneflow.retune.plan.Plan`.
        searcher: it learns from past results, if it learns at all.
        scheduler: its highest level is what champion and challenger are measured at.
        trials: of the search.
        seed: every random choice follows from it.
        budget: of the search.
        resources: of a trial.
        round_size: of the search: the most trials of a round, or "all".
        max_concurrent: how many trials may run at once.
        isolation: see `tuneflow.prefect.tune_flow`.
        timeout: see `tuneflow.prefect.tune_flow`.
        task_runner: see `tuneflow.prefect.tune_flow`.
        trial_retries: how often a trial that left no outcome is tried again, or a step whose
            storage was away. Default 2.
        trial_retry_delay: seconds before that. Default 10.
        flow_options: what `prefect.flow` takes, such as ``retries`` or ``on_failure``.

    Raises:
        SpecError: an argument cannot work; nothing is made.
        MissingDependencyError: the test needs a package that is not installed.
    """
    study = {
        "space": space,
        "metric": metric,
        "mode": mode,
        "searcher": searcher,
        "scheduler": scheduler,
        "trials": trials,
        "seed": seed,
        "budget": budget,
        "resources": resources,
        "round_size": round_size,
        "max_concurrent": max_concurrent,
    }
    options = {
        "seeds": seeds,
        "seed_key": seed_key,
        "margin": margin,
        "confidence": confidence,
        "test": test,
        "points": points,
        "discount": discount,
        "defaults": defaults,
        "limits": limits,
        "replace_unmeasured": replace_unmeasured,
    }
    make = functools.partial(
        make_retune_flow,
        origin=Origin.of_caller(),
        study=study,
        options=options,
        storage=storage,
        name=name,
        isolation=isolation,
        timeout=timeout,
        task_runner=task_runner,
        trial_retries=trial_retries,
        trial_retry_delay=trial_retry_delay,
        flow_options=flow_options,
    )
    return make if train is None else make(train)
