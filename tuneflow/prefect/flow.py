"""`tune_flow`: a study in rounds as a Prefect flow."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tuneflow.budget import Budget
from tuneflow.checkpointing import Checkpointing
from tuneflow.goals import Modes, Names
from tuneflow.pipeline.template import Existing
from tuneflow.prefect.lending import Storage
from tuneflow.prefect.making import Origin, make_flow
from tuneflow.remote.code import Train
from tuneflow.schedulers.base import Scheduler
from tuneflow.searchers.base import Searcher
from tuneflow.space import Space
from tuneflow.spec import StopLike

RETRIES = 2
"""A worker that is lost, or a storage that is away for a moment, must not cost a trial."""

RETRY_DELAY = 10.0
"""Seconds; what is tried again goes on from its newest checkpoint."""


def tune_flow(
    train: Train | None = None,
    *,
    space: Space | Mapping[str, Any],
    metric: Names,
    mode: Modes,
    storage: Storage,
    name: str | None = None,
    searcher: Searcher | Mapping[str, Any] | str | None = None,
    scheduler: Scheduler | Mapping[str, Any] | str | None = None,
    trials: int | None = None,
    seed: int = 0,
    budget: Budget | Mapping[str, Any] | None = None,
    resources: Mapping[str, Any] | None = None,
    round_size: int | Literal["all"] = "all",
    max_concurrent: int | None = None,
    constraints: Sequence[str] = (),
    stop: StopLike | Sequence[StopLike] | None = None,
    checkpoints: Checkpointing | Mapping[str, Any] | None = None,
    isolation: Literal["thread", "process"] = "thread",
    timeout: float | None = None,
    existing: Existing = "resume",
    task_runner: Any = None,
    trial_retries: int = RETRIES,
    trial_retry_delay: float = RETRY_DELAY,
    **flow_options: Any,
) -> Any:
    """Return a Prefect flow that tunes an objective; without ``train``, a decorator for one.

        @tune_flow(space={"lr": Float(1e-4, 1e-1, log=True)}, metric="accuracy", mode="max", …)
        def train(config): …

        best = train()                      # or train.serve(cron="0 3 * * 1"), train.deploy(…)

    Each round of the study is a task ``search``, a ``trial`` for each of its trials, and a task
    ``schedule``. The flow returns ``{"study", "trial", "value", "metric", "config",
    "checkpoint"}``. A flow run that fails, is cancelled or killed leaves a study that the next run
    goes on with: no trial that was finished is run again. A run's parameters are ``trials``,
    ``space``, ``budget``, ``existing``, ``retry_failed``, ``name`` and ``storage``.

    Args:
        train: the objective: a function, ``file.py:function`` relative to the calling file,
            ``module:function``, or ``{"command": […]}``.
        space: what is searched: names to domains, constants or nested mappings.
        metric: the metric that is optimised, or a list; see `tuneflow.tune`.
        mode: "min" or "max"; for several metrics a list.
        storage: where the study is kept: a folder, an object storage URL, or the name of a block,
            ``block:NAME``.
        name: the study's name, and the flow's. Default: that of the objective. A flow that is
            served or deployed has to be a module's variable; where ``train`` is given, one of this
            name, with underscores for what a variable cannot have.
        searcher: see `tuneflow.tune`.
        scheduler: see `tuneflow.tune`.
        trials: see `tuneflow.tune`.
        seed: see `tuneflow.tune`.
        budget: see `tuneflow.tune`.
        resources: see `tuneflow.tune`; on Dask, ``gpu`` and ``memory`` are Dask's resources.
        round_size: the most trials of a round, or "all" (the default).
        max_concurrent: how many trials may run at once.
        constraints: see `tuneflow.tune`.
        stop: see `tuneflow.tune`.
        checkpoints: see `tuneflow.tune`.
        isolation: "thread" runs a trial in the process of its task, "process" in one of its own.
        timeout: seconds after which a segment fails, or None.
        existing: what a new run of the flow does with a study of this name: "resume" goes on with
            it, "new" makes one for each run.
        task_runner: where trials run: the address of a Dask scheduler (``tcp://…``), or a Prefect
            task runner. Default: threads of the flow's process, ``max_concurrent`` of them or as
            many as this machine has room for.
        trial_retries: how often a trial that left no outcome, such as one whose storage was away,
            is tried again. Default 2. One that fails by its own code is not: see ``budget``.
        trial_retry_delay: seconds before that. Default 10.
        flow_options: what `prefect.flow` takes, such as ``retries`` or ``on_failure``.

    Raises:
        SpecError: an argument cannot work; nothing is made.
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
        "constraints": constraints,
        "stop": stop,
        "checkpoints": checkpoints,
    }
    make = functools.partial(
        make_flow,
        origin=Origin.of_caller(),
        study=study,
        storage=storage,
        name=name,
        isolation=isolation,
        timeout=timeout,
        existing=existing,
        task_runner=task_runner,
        trial_retries=trial_retries,
        trial_retry_delay=trial_retry_delay,
        flow_options=flow_options,
    )
    return make if train is None else make(train)
