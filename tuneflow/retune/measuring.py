"""Measuring one configuration: a study of its own, whose trials are seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuneflow.errors import SpecError
from tuneflow.history import History
from tuneflow.opened import OpenStudy
from tuneflow.retune.plan import Plan, limited
from tuneflow.rng import generator
from tuneflow.schedulers.fifo import FIFO
from tuneflow.searchers.random import Random
from tuneflow.space import Branch, Categorical, Constant, Group, Space
from tuneflow.space.tree import Node
from tuneflow.space.walk import is_free
from tuneflow.study import Study
from tuneflow.trial import Trial, TrialState

_SEEDS = 2**31 - 1
"""Seeds are below this: every library takes such a number."""


@dataclass(frozen=True)
class Measured:
    """What measuring a configuration came to.

    Attributes:
        config: the configuration, without the seed.
        seeds: the seeds, in order.
        values: the metric with each of them, at the highest level; NaN where there is none.
        resource: the level that the values were measured at.
        study: the URL of the study that measured it.
        trial: the trial whose value is the median one, and whose checkpoint stands for it.
        checkpoint: the URI of that trial's checkpoint, or None.
    """

    config: Mapping[str, Any]
    seeds: tuple[int, ...]
    values: tuple[float, ...]
    resource: float
    study: str
    trial: int
    checkpoint: str | None

    @property
    def value(self) -> float:
        """The mean of the usable values; NaN when there is none."""
        usable = [value for value in self.values if math.isfinite(value)]
        return statistics.fmean(usable) if usable else math.nan


def seeds_of(plan: Plan, retune: int) -> tuple[int, ...]:
    """Return the seeds of a retune: the same for champion and challenger, others next time."""
    rng = generator(plan.study.get("seed") or 0, "retune", retune)
    return tuple(int(rng.random() * _SEEDS) for _ in range(plan.seeds))


def search_seed(plan: Plan, retune: int) -> int:
    """Return the seed of the search, and of its trials: a retune must not repeat the last one."""
    return int(generator(plan.study.get("seed") or 0, "search", retune).random() * _SEEDS)


def measuring_study(
    study: Study,
    plan: Plan,
    retune: int,
    *,
    name: str,
    space: Space,
    values: Mapping[str, Any],
) -> Study:
    """Return the study that measures a configuration.

    Args:
        study: the search of the retune; objective, metric and the rest are as there.
        plan: says with how many seeds.
        retune: the retune's number.
        name: the name of the study.
        space: where the configuration lies.
        values: the configuration's choices by path; see `Space.values`.
    """
    seeds = seeds_of(plan, retune)
    config = space.build(lambda path, _: values[path])
    return replace(
        study,
        name=name,
        space=with_key(space, plan.seed_key, Categorical(seeds)),
        searcher=Random(points_to_evaluate=tuple({**config, plan.seed_key: s} for s in seeds)),
        scheduler=FIFO(max_resource=study.scheduler.limit),
        trials=len(seeds),
        round_size="all",
        stop=(),
        budget=replace(
            limited(study.budget, wall_clock=plan.limits.wall_clock),
            total_resource=None,
            trial_time=None,
            target=None,
            plateau=None,
            # What fails with a seed, or with all of them, is what was measured.
            max_failures=len(seeds),
            fail_fast=False,
        ),
    )


def measured(opened: OpenStudy, plan: Plan) -> Measured:
    """Return what a study that measures came to."""
    history = opened.history
    sign = -1.0 if history.mode == "max" else 1.0
    losses = [_final_loss(history, trial) for trial in history.trials]
    values = tuple(sign * loss if loss < math.inf else math.nan for loss in losses)
    middle = _middle(losses)
    trial = history.trials[middle]
    config = {key: value for key, value in trial.params.items() if key != plan.seed_key}
    return Measured(
        config,
        tuple(trial.params[plan.seed_key] for trial in history.trials),
        values,
        max(trial.resource for trial in history.trials),
        opened.url,
        middle,
        f"{opened.url}/{trial.checkpoint}" if trial.checkpoint else None,
    )


def _final_loss(history: History, trial: Trial) -> float:
    """Return the loss that a trial has ended with; infinity where it failed or that is unusable.

    What it had on the way there is at another level than the values of other seeds.
    """
    if trial.state is TrialState.FAILED:
        return math.inf
    reported = (r.metrics for r in reversed(trial.reports) if history.metric in r.metrics)
    final = next(reported, None)
    return math.inf if final is None else history.loss(final)


def _middle(losses: Sequence[float]) -> int:
    """Return the position of the usable loss that is the median, the lower one of two."""
    order = sorted(range(len(losses)), key=lambda position: (losses[position], position))
    usable = sum(loss < math.inf for loss in losses)
    return order[max(usable - 1, 0) // 2]


def candidate(opened: OpenStudy) -> Trial | None:
    """Return the trial that has the best value among those that got furthest, if any has one.

    One that has ended by itself, as early stopping does, has got as far as it goes.
    """
    history = opened.history
    usable = [
        t
        for t in history.trials
        if t.state is not TrialState.FAILED and history.trial_loss(t) < math.inf
    ]

    def rank(trial: Trial) -> tuple[float, float, int]:
        level = math.inf if trial.state is TrialState.COMPLETED else trial.resource
        return -level, history.trial_loss(trial), trial.number

    return min(usable, key=rank, default=None)


def with_key(space: Space, key: str, node: Any) -> Space:
    """Return a space in which a key of the configuration is this."""
    return Space({**{k: v for k, v in space.nodes.items() if k != key}, key: node})


def without_key(space: Space, key: str) -> Space:
    """Return a space without a key, which need not be there."""
    return Space({name: node for name, node in space.nodes.items() if name != key})


def as_today(then: Space, today: Space, defaults: Mapping[str, Any]) -> Space:
    """Return the space of a past configuration with what code of today needs beside it.

    Constants are those of today, in the options of a branch too: they may say which data is
    meant. A parameter that is new has its default, where one is given.
    """
    return Space(_overlaid(then, today, defaults, ""))


def _overlaid(
    then: Group, today: Group, defaults: Mapping[str, Any], prefix: str
) -> dict[str, Any]:
    nodes: dict[str, Any] = dict(then.nodes)
    for name, node in today.nodes.items():
        path, known = f"{prefix}{name}", then.nodes.get(name)
        if isinstance(node, Group):
            if known is None or isinstance(known, Group):
                inner = _overlaid(known or Group({}), node, defaults, f"{path}.")
                nodes[name] = Group(inner)
        elif isinstance(node, Branch):
            if known is None and path in defaults:
                nodes[name] = _branch({defaults[path]: Group({})}, node, defaults, path)
            elif isinstance(known, Branch):
                nodes[name] = _branch(known.groups, node, defaults, path, known.key)
        elif not is_free(node) and (known is None or _is_fixed(known)):
            nodes[name] = node
        elif known is None and path in defaults:
            nodes[name] = Constant(defaults[path])
    return nodes


def _branch(
    then: Mapping[Any, Group],
    today: Branch,
    defaults: Mapping[str, Any],
    path: str,
    key: str | None = None,
) -> Branch:
    """Return a branch with the options of the past, and in each what it has today."""
    options = {
        name: Group(
            _overlaid(group, today.groups.get(name, Group({})), defaults, f"{path}.{name}.")
        )
        for name, group in then.items()
    }
    return Branch(options, key or today.key)


def _is_fixed(node: Node) -> bool:
    return not isinstance(node, Group) and not is_free(node)


def require_same_goal(study: Study, metric: str, mode: str, url: str) -> None:
    """Raise SpecError when what was optimised at a URL is not what is optimised now."""
    for name, value in (("metric", metric), ("mode", mode)):
        now = getattr(study, name)
        if now != value:
            raise SpecError(
                name,
                f"{now!r} is not {value!r}, which {url} was tuned for, so nothing there can be "
                "compared with it",
                "give that one, or begin anew under another name",
            )
