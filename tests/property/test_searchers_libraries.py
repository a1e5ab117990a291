"""Every searcher that asks a library keeps the laws of `SearcherSuite`."""

from __future__ import annotations

import pytest

from tuneflow.searchers import ax, bayesopt, flaml, hyperopt, nevergrad, skopt, smac
from tuneflow.testing import SearcherSuite


class TestHyperOpt(SearcherSuite):
    def make(self, **given):
        return hyperopt.HyperOpt(n_startup_jobs=3, **given)


class TestHyperOptAnneal(SearcherSuite):
    def make(self, **given):
        return hyperopt.HyperOpt(algorithm="anneal", **given)


class TestHyperOptRand(SearcherSuite):
    examples = 3

    def make(self, **given):
        return hyperopt.HyperOpt(algorithm="rand", **given)


class TestSkOpt(SearcherSuite):
    conditional = False
    trials = 4
    examples = 1

    def make(self, **given):
        return skopt.SkOpt(n_initial_points=2, acq_func="EI", **given)


class TestSkOptWithTrees(SearcherSuite):
    conditional = False
    trials = 4
    examples = 1

    def make(self, **given):
        return skopt.SkOpt(base_estimator="ET", n_initial_points=2, **given)


class TestBayesOpt(SearcherSuite):
    conditional = False
    trials = 4
    examples = 2

    def make(self, **given):
        return bayesopt.BayesOpt(init_points=2, **given)


class TestNevergrad(SearcherSuite):
    conditional = False
    repeats = True  # its first step is the middle of the space, again and again
    examples = 4

    def make(self, **given):
        return nevergrad.Nevergrad(**given)


class TestNevergradDifferentialEvolution(SearcherSuite):
    conditional = False
    examples = 4

    def make(self, **given):
        return nevergrad.Nevergrad(optimizer="DE", **given)


class TestCFO(SearcherSuite):
    conditional = False

    def make(self, **given):
        return flaml.CFO(**given)


class TestBlendSearch(SearcherSuite):
    conditional = False

    def make(self, **given):
        return flaml.BlendSearch(**given)


@pytest.mark.slow
class TestAx(SearcherSuite):
    conditional = False
    trials = 4
    examples = 1

    def make(self, **given):
        pytest.importorskip("ax")
        return ax.Ax(n_initial=2, **given)


@pytest.mark.slow
class TestSMAC(SearcherSuite):
    trials = 4
    examples = 1

    def make(self, **given):
        small = {"n_initial": 2, "n_trees": 2, "challengers": 20, "local_searches": 1}
        return smac.SMAC(**small, **given)
