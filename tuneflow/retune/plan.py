"""What a retune is to do, before anything of it is done."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self

from tuneflow.budget import Budget
from tuneflow.errors import SpecError
from tuneflow.plugins import build
from tuneflow.retune.mapping import check_defaults
from tuneflow.retune.verdict import check_test
from tuneflow.spec import study_from_json
from tuneflow.study import Study

SEED_KEY = "seed"


@dataclass(frozen=True)
class Limits:
    """What a retune may use in all: measuring the champion, the search, measuring the challenger.

    The search gets what the measurements leave. All may be given; whichever is met first ends
    the search.

    Args:
        total_resource: resource units, such as epochs, over all trials.
        wall_clock: seconds of driving its studies.
        cost: what may be paid, in the unit of ``cost_per_hour``.
        cost_per_hour: what a trial costs in an hour; needed with ``cost``.
    """

    total_resource: float | None = None
    wall_clock: float | None = None
    cost: float | None = None
    cost_per_hour: float | None = None

    def __post_init__(self) -> None:
        for name in (one.name for one in fields(self)):
            value = getattr(self, name)
            if value is not None and not _is_positive(value):
                raise SpecError(name, f"{value!r} is not a positive number")
        if self.cost is not None and self.cost_per_hour is None:
            problem = "without it nobody knows what a trial costs"
            raise SpecError("cost_per_hour", problem, "give the price of a trial's hour")

    @property
    def trial_time(self) -> float | None:
        """The seconds of trials that the cost pays for, or None."""
        if self.cost is None or self.cost_per_hour is None:
            return None
        return self.cost / self.cost_per_hour * 3600


@dataclass(frozen=True)
class Plan:
    """What a retune is to do.

    Attributes:
        study: the search, as plain data: the keys of `tuneflow.study.Study` without ``name``.
        seeds: with how many seeds champion and challenger are measured. Default 5.
        seed_key: the key of the configuration that holds a run's seed. Default "seed".
        margin: by how much the challenger must be better, in the metric's unit. Default 0.
        confidence: how sure that must be, from 0.5 to below 1. Default 0.95.
        test: "t", or "permutation"; see `tuneflow.retune.verdict.compare`. Default "t".
        points: how many past configurations are tried first. Default 8.
        discount: what a past result counts for, compared with one of today, for each retune that
            has passed since; 0 forgets them, 1 never does. Default 0.5.
        defaults: what the training code used for a parameter before it became one, by its path.
        limits: what the whole retune may use.
        replace_unmeasured: whether a champion that has no usable value with any seed gives way to
            a challenger that has one with each. Default False: it stays, as nothing was compared.
    """

    study: Mapping[str, Any]
    seeds: int = 5
    seed_key: str = SEED_KEY
    margin: float = 0.0
    confidence: float = 0.95
    test: Literal["t", "permutation"] = "t"
    points: int = 8
    discount: float = 0.5
    defaults: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    replace_unmeasured: bool = False

    def __post_init__(self) -> None:
        for name, least in (("seeds", 1), ("points", 0)):
            if getattr(self, name) < least:
                raise SpecError(name, f"{getattr(self, name)!r} is not {least} or more")
        if not (math.isfinite(self.margin) and self.margin >= 0):
            raise SpecError("margin", f"{self.margin!r} is not a number of 0 or more")
        if not 0 <= self.discount <= 1:
            raise SpecError("discount", f"{self.discount!r} is not a number from 0 to 1")
        if not self.seed_key or "." in self.seed_key:
            raise SpecError("seed_key", f"{self.seed_key!r} is not the name of a parameter")

    def check(self) -> Study:
        """Return the study of the search, without a warm start.

        Raises:
            SpecError: the plan cannot work.
            MissingDependencyError: the test needs a package that is not installed.
        """
        study = study_from_json({**self.study, "name": "search"})
        require_one_goal(study)
        try:
            check_defaults(study.space, self.defaults)
            check_test(self.test, self.seeds, self.confidence)
            self.search_resource(study, self.measuring(study))
        except SpecError as error:
            raise error.under("retune") from None
        return study

    def measuring(self, study: Study) -> float:
        """Return the resource that measuring one configuration takes; infinity when unknown."""
        limit = study.scheduler.limit
        return math.inf if limit is None else self.seeds * float(limit)

    def search_resource(self, study: Study, spent: float) -> float | None:
        """Return what the search may use of the resource, or None when that is not limited.

        Args:
            study: the search.
            spent: what measuring the champion takes, or took.

        Raises:
            SpecError: there is nothing left for it.
        """
        total, one = self.limits.total_resource, self.measuring(study)
        if total is None:
            return None
        if math.isinf(one):
            problem = "nobody knows what a measurement takes, as trials have no highest level"
            raise SpecError("limits.total_resource", problem, "give the scheduler a max_resource")
        if total <= spent + one:
            raise SpecError(
                "limits.total_resource",
                f"{total:g} leaves nothing for a search, as measuring champion and challenger with "
                f"{self.seeds} seeds each takes {spent + one:g}",
                "give more, or fewer seeds",
            )
        return total - spent - one

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        return cls(**{**data, "limits": Limits(**data["limits"])})


def make_plan(study: Mapping[str, Any], options: Mapping[str, Any]) -> Plan:
    """Return a checked plan.

    Args:
        study: the search as plain data, without ``name``.
        options: the other fields of `Plan`; ``limits`` may be a mapping. None stands for the
            default.

    Raises:
        SpecError: names the field, the value and the fix.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if isinstance(given.get("limits"), Limits):
        given["limits"] = {k: v for k, v in asdict(given["limits"]).items() if v is not None}
    if isinstance(given.get("limits"), Mapping):
        build(Limits, given["limits"], "retune.limits")
    plan: Plan = build(Plan, {**given, "study": study}, "retune")
    plan.check()
    return plan


def require_one_goal(study: Study, url: str | None = None) -> None:
    """Raise SpecError for a study whose best trial is more than a number.

    Champion and challenger are compared in one metric, and nothing is measured beside it.

    Args:
        study: the study.
        url: where it lies, if it is one that was run before, which nobody can change.
    """
    what, fix = url or "this study", "begin anew under another name" if url else None
    if study.other_metrics:
        problem = f"a retune compares one metric, and {what} has {len(study.objectives)}"
        raise SpecError("metric", problem, fix or "name the one that decides")
    if study.constraints:
        problem = f"a retune does not measure what {what} sets bounds for"
        raise SpecError("constraints", problem, fix or "leave them out")


def limited(budget: Budget, **limits: float | None) -> Budget:
    """Return a budget in which some limits are no larger than these; None leaves one alone."""
    least = {
        name: min(value, getattr(budget, name) or math.inf)
        for name, value in limits.items()
        if value is not None
    }
    return Budget(**{**{one.name: getattr(budget, one.name) for one in fields(budget)}, **least})


def _is_positive(value: float) -> bool:
    return math.isfinite(value) and value > 0
