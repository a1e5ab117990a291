"""Every searcher, and every sampler of Optuna, keeps the laws of `SearcherSuite`."""

from __future__ import annotations

import pytest

from tuneflow.history import History
from tuneflow.searchers import (
    BOHB,
    DEHB,
    TPE,
    ConcurrencyLimit,
    Grid,
    HpBandSter,
    Optuna,
    Random,
    Repeat,
    Sobol,
)
from tuneflow.space import Float, Int, Space
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


class TestBOHB(SearcherSuite):
    def make(self, **given):
        return BOHB(random_fraction=0.2, num_samples=16, **given)


class TestDEHB(SearcherSuite):
    def make(self, **given):
        return DEHB(**given)


class TestHpBandSter(SearcherSuite):
    examples = 2

    def make(self, **given):
        pytest.importorskip("hpbandster")
        return HpBandSter(random_fraction=0.1, num_samples=4, **given)


class TestConcurrencyLimit(SearcherSuite):
    def make(self, **given):
        return ConcurrencyLimit(searcher=TPE(n_startup_trials=3), most=2, **given)


class TestConcurrencyLimitInBatches(SearcherSuite):
    countable = True

    def make(self, **given):
        return ConcurrencyLimit(searcher=Grid(), most=3, batch=True, **given)


class Seeded(SearcherSuite):
    """Spaces that have a seed; a configuration comes with each."""

    repeats = True

    def _spaces(self):
        return super()._spaces().map(lambda space: Space({**space.nodes, "seed": Int(5, 9)}))

    def test_given_points_come_first(self):
        """They are proposed in their order, each with all the seeds."""
        space = Space({"x": Float(0, 1, step=0.1), "seed": Int(5, 9)})
        searcher = self.make(points_to_evaluate=({"x": 0.1}, {"x": 0.2, "seed": 9}))
        searcher.check(space)
        proposed = self._play(searcher, space, History("loss", "min"), ["completed"])
        expected = [{"x": x, "seed": 5 + seed} for x in (0.1, 0.2) for seed in range(3)]
        assert proposed[:6] == expected


class TestRepeat(Seeded):
    def make(self, **given):
        return Repeat(searcher=TPE(n_startup_trials=2), repeats=3, **given)


class TestRepeatTheGrid(Seeded):
    countable = True

    def make(self, **given):
        return Repeat(searcher=Grid(), repeats=3, aggregate="median", **given)


class TestRepeatWithinALimit(Seeded):
    def make(self, **given):
        inner = ConcurrencyLimit(searcher=TPE(n_startup_trials=2), most=1)
        repeat = Repeat(searcher=inner, repeats=3)
        return ConcurrencyLimit(searcher=repeat, most=2, **given)


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
        # The models are small; threads would only get into each other's way.
        pytest.importorskip("torch").set_num_threads(1)
        return Optuna(sampler="gp", options={"n_startup_trials": 3}, **given)
