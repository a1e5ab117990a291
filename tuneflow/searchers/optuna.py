"""Searchers that ask Optuna.

Akiba et al., "Optuna: A Next-generation Hyperparameter Optimization Framework", KDD 2019. It keeps
its state in a study of its own; here that study is a view of our history, which lives in memory
and is rebuilt from the facts. The sampler is made anew for each trial, with a seed that follows
from the study's seed and the trial's number.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

from tuneflow.errors import MissingDependencyError, SpecError
from tuneflow.history import History
from tuneflow.searchers.base import SEVERAL, Searcher
from tuneflow.searchers.optuna_samplers import Recipe, SamplerClass, sampler_name
from tuneflow.space import Space
from tuneflow.trial import Params

if TYPE_CHECKING:
    from tuneflow.searchers.optuna_view import HistoryView

_NO_BRANCHES: Final = ("consider_pruned_trials", "with_margin")
"""Options of CmaEsSampler that fail on the first two trials that took different branches."""


@dataclass(frozen=True, kw_only=True)
class OptunaSearcher(Searcher):
    """The base of the searchers that ask one of Optuna's samplers."""

    @property
    @abstractmethod
    def recipe(self) -> Recipe:
        """How the sampler is made."""

    @property
    def ahead(self) -> bool:
        """Proposals are made ahead, unless the sampler has to note which of them were launched."""
        return not self.recipe.kind.keeps_notes

    def check_goals(self, metrics: int, bounds: int) -> None:
        """Raise SpecError when the sampler cannot work for a study; see `Searcher`."""
        super().check_goals(metrics, bounds)
        if metrics > 1 and not self.recipe.kind.several:
            problem = f"'{self.recipe.sampler}' optimises one metric, and this study has {metrics}"
            raise SpecError("searcher.sampler", problem, SEVERAL)

    def prepare(self) -> None:
        """Import Optuna, and make the sampler once."""
        self.recipe.make(0, 0)

    def propose(self, space: Space, history: History, rng: random.Random) -> Params:
        """Return what the sampler proposes.

        Raises:
            MissingDependencyError: Optuna is not installed, or a package that the sampler needs.
        """
        # An identity is good for a key because the view holds on to both objects.
        key = ("optuna", id(self), id(space))
        return history.index(key, lambda: self._view(space, history)).ask()

    def _view(self, space: Space, history: History) -> HistoryView:
        seed, bounded = history.seed, bool(history.constraints)
        recipe = replace(self.recipe, constrained=bounded)
        recipe.make(seed, 0)  # says what is missing, before anything of Optuna's is imported

        from tuneflow.searchers.optuna_axes import Axes
        from tuneflow.searchers.optuna_view import HistoryView

        return HistoryView(
            Axes(space),
            history,
            # By way of self, which the view so holds on to.
            lambda number: replace(self.recipe, constrained=bounded).make(seed, number),
            keeps_notes=recipe.kind.keeps_notes,
            given=len(self.points_to_evaluate),
            known=self.known_results,
        )


@dataclass(frozen=True, kw_only=True)
class Optuna(OptunaSearcher):
    """Asks any sampler of Optuna.

    Args:
        sampler: ``tpe``, ``random``, ``gp``, ``cmaes``, ``qmc``, ``nsgaii``, ``nsgaiii``; or
            the import path ``package.module:Class`` of another one, or, in Python, its class.
            Default ``tpe``.
        options: arguments of the sampler's class, in JSON; see Optuna's documentation. Optuna's
            defaults hold, with these exceptions: ``tpe`` is multivariate with groups and a
            constant liar, ``qmc`` is scrambled, and nobody warns of independent sampling.

    A running trial counts as pending, a paused or stopped one as pruned at the level it reached.
    ``gp``, ``nsgaii`` and ``nsgaiii`` learn from completed trials only, and so does ``cmaes``
    unless ``consider_pruned_trials`` is set: beside a scheduler that stops many trials early,
    ``tpe`` learns most. ``nsgaii`` and ``nsgaiii`` may propose a configuration again.

    All but ``cmaes`` take a study of several metrics, in which a paused or stopped trial counts as
    completed. ``tpe``, ``gp``, ``nsgaii`` and ``nsgaiii`` heed constraints.

    ``cmaes``, ``qmc``, ``nsgaii``, ``nsgaiii`` and samplers given by path keep notes on the
    trials. When a study is loaded, these are made again by asking for all its trials in turn;
    that takes as long as asking did. A sampler given by path proposes the same after that only
    if it keeps all that it knows in Optuna's study and takes a ``seed``. Its ``after_trial`` is
    not called.

    ``gp`` needs PyTorch as well.
    """

    type: ClassVar[str] = "optuna"
    multi_objective: ClassVar[bool] = True
    constrained: ClassVar[bool] = True

    sampler: str | SamplerClass = "tpe"
    options: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "sampler", sampler_name(self.sampler))

    @property
    def recipe(self) -> Recipe:
        """How the sampler is made."""
        return Recipe(str(self.sampler), self.options or {})

    def check(self, space: Space) -> None:
        """Raise SpecError when there is no such sampler, or it does not take the options."""
        super().check(space)
        self.recipe.check()
        for name in _NO_BRANCHES:
            if space.is_conditional and self.recipe.options.get(name):
                problem = "works only in a space without branches"
                raise SpecError(f"searcher.options.{name}", problem, "leave it out")
        if self.options or ":" in self.recipe.sampler:
            # A study can be looked at where the library is missing that proposes its trials.
            with suppress(MissingDependencyError):
                self.prepare()


@dataclass(frozen=True, kw_only=True)
class TPE(OptunaSearcher):
    """The tree-structured Parzen estimator: a model of where good and bad trials lie.

    Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NIPS 2011; in several
    dimensions at once as in Falkner et al., "BOHB", ICML 2018. Optuna's implementation, see
    Watanabe, "Tree-Structured Parzen Estimator", 2023.

    Trials that are paused or stopped are learnt from too: after the completed ones, those that
    got further rank higher. Of several metrics, the better trials are those of the first fronts:
    Ozaki et al., "Multiobjective Tree-Structured Parzen Estimator", JAIR 73, 2022; paused and
    stopped trials count as completed then. With constraints, trials that break them rank last.

    Args:
        n_startup_trials: how many trials with a result the model needs; until then
            configurations are random. Default 10.
        n_ei_candidates: how many candidates the model's best is chosen from. Default 24.
        multivariate: whether parameters are modelled together. Default True.
        group: whether the parameters of a branch are modelled together as well; only with
            ``multivariate``. Default True.
        constant_liar: whether pending trials count as bad ones, so that no two workers are sent
            to the same place. Default True.
    """

    type: ClassVar[str] = "tpe"
    multi_objective: ClassVar[bool] = True
    constrained: ClassVar[bool] = True

    n_startup_trials: int = 10
    n_ei_candidates: int = 24
    multivariate: bool = True
    group: bool = True
    constant_liar: bool = True

    def __post_init__(self) -> None:
        for name, least in (("n_startup_trials", 0), ("n_ei_candidates", 1)):
            if getattr(self, name) < least:
                problem = f"{getattr(self, name)!r} is not {least} or more"
                raise SpecError(f"searcher.{name}", problem)
        if self.group and not self.multivariate:
            problem = "parameters are grouped only where they are modelled together"
            raise SpecError("searcher.group", problem, "set group to false, or multivariate")

    @property
    def recipe(self) -> Recipe:
        """How the sampler is made."""
        names = (
            "n_startup_trials",
            "n_ei_candidates",
            "multivariate",
            "group",
            "constant_liar",
        )
        return Recipe("tpe", {name: getattr(self, name) for name in names})
