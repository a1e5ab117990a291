"""Every searcher, and every sampler of Optuna, keeps the laws of `SearcherSuite`."""

from __future__ import annotations

import pytest

from tuneflow.searchers import TPE, Grid, Optuna, Random, Sobol
from tuneflow.testing import SearcherSuite


class TestRandom(SearcherSuite):
    def make(self, **given):
        return Random(**given)


class TestGrid(SearcherSuite):
    countable = True

    def make(self, **given):
        return Grid(**given)


class TestSobol(SearcherSuite):
    def make(self, **given):
        return Sobol(**given)


class TestTPE(SearcherSuite):
    def make(self, **given):
        return TPE(n_startup_trials=3, **given)


class TestTPEWithoutGroups(SearcherSuite):
    def make(self, **given):
        return TPE(n_startup_trials=3, multivariate=False, group=False, **given)


class TestOptunaRandom(SearcherSuite):
    def make(self, **given):
        return Optuna(sampler="random", **given)


class TestOptunaCmaEs(SearcherSuite):
    def make(self, **given):
        return Optuna(sampler="cmaes", options={"popsize": 4}, **given)


class TestOptunaCmaEsWithMarginAndPrunedTrials(SearcherSuite):
    conditional = False

    def make(self, **given):
        options = {"popsize": 4, "with_margin": True, "consider_pruned_trials": True}
        return Optuna(sampler="cmaes", options=options, **given)


class TestOptunaQuasiMonteCarlo(SearcherSuite):
    def make(self, **given):
        return Optuna(sampler="qmc", **given)


class TestOptunaNSGAII(SearcherSuite):
    repeats = True  # a child may be its parent's twin

    def make(self, **given):
        return Optuna(sampler="nsgaii", options={"population_size": 4}, **given)


class TestOptunaNSGAIII(SearcherSuite):
    repeats = True  # a child may be its parent's twin

    def make(self, **given):
        return Optuna(sampler="nsgaiii", options={"population_size": 4}, **given)


class TestOptunaGaussianProcess(SearcherSuite):
    trials = 8
    examples = 2

    def make(self, **given):
        pytest.importorskip("torch")
        return Optuna(sampler="gp", options={"n_startup_trials": 3}, **given)
