"""Population-based bandits: the kernel, the data, the bound, and what is explored."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from tests.machine import Machine
from tuneflow.errors import MissingDependencyError, SpecError
from tuneflow.events import Launched
from tuneflow.rng import generator
from tuneflow.schedulers import PB2, Clone
from tuneflow.schedulers.bandit import Bandit, Points, kernel, maximise, standardised
from tuneflow.schedulers.gains import Gains
from tuneflow.space import Categorical, Float, Int, Normal, Space, branch

X = Space({"x": Float(0, 1)})


def points(*rows):
    """Return points, each ``(time, *places)``."""
    table = np.array(rows, dtype=float)
    return Points(table[:, 0], table[:, 1:])


def none(width):
    return Points(np.zeros(0), np.zeros((0, width)))


class TestKernel:
    @pytest.mark.parametrize(
        ("some", "other", "length", "expected"),
        [
            ((0, 0.0), (0, 0.0), 1.0, 1.0),
            ((0, 0.0), (0, 0.5), 1.0, math.exp(-0.25)),
            ((0, 0.0), (0, 0.5), 0.5, math.exp(-0.5)),
            ((0, 0.0), (2, 0.0), 1.0, 0.9),
            ((3, 0.0), (2, 0.0), 1.0, math.sqrt(0.9)),
            ((0, 0.0), (4, 0.5), 0.5, math.exp(-0.5) * 0.81),
            ((1, 0.1, 0.2), (1, 0.4, 0.6), 1.0, math.exp(-0.25)),
        ],
    )
    def test_it_is_that_of_the_paper(self, some, other, length, expected):
        assert kernel(points(some), points(other), length)[0, 0] == pytest.approx(expected)

    def test_the_observations_are_standardised_and_clipped(self):
        values = standardised(np.array([0.0] * 20 + [100.0]))
        assert values.max() == 2.0
        assert standardised(np.array([1.0, 2.0, 3.0])).std() == pytest.approx(1)
        assert list(standardised(np.array([5.0, 5.0]))) == [0, 0]

    @pytest.mark.filterwarnings("error")
    def test_very_large_observations_are_standardised_too(self):
        values = np.array([0.3, 1.7, -2.5, 0.9])
        assert list(standardised(values * 2.0**1020)) == list(standardised(values))


class TestBandit:
    def sampled(self, seed=0, count=60, noise=0.05):
        rng = np.random.default_rng(seed)
        places = rng.random((count, 1))
        values = np.sin(6 * places[:, 0]) + noise * rng.standard_normal(count)
        return Points(np.zeros(count), places), values

    def test_it_finds_the_length_scale_and_the_noise(self):
        smooth = Bandit(*self.sampled())
        noisy = Bandit(*self.sampled(noise=2.0))
        assert smooth.noise <= 0.03
        assert noisy.noise >= 0.4
        assert 0.03 < smooth.length < 1.0

    def test_it_predicts_what_it_has_seen(self):
        tried, values = self.sampled()
        bandit = Bandit(tried, values)
        at = Points(np.zeros(3), np.array([[0.1], [0.5], [0.9]]))
        expected = (np.sin(6 * at.places[:, 0]) - values.mean()) / values.std()
        assert bandit.mean(at) == pytest.approx(expected, abs=0.1)

    def test_the_bound_uses_the_standard_deviation(self):
        tried, values = self.sampled(count=20)
        bandit, here = Bandit(tried, values), Points(np.array([9.0]), np.array([[0.3]]))
        covariance = (1 - bandit.noise) * kernel(tried, tried, bandit.length)
        covariance += bandit.noise * np.eye(20)
        signal = (1 - bandit.noise) * kernel(here, tried, bandit.length)[0]
        variance = 1 - bandit.noise - signal @ np.linalg.inv(covariance) @ signal
        beta = 0.2 * math.log(0.4 * 20)
        mean = signal @ np.linalg.inv(covariance) @ standardised(values)
        expected = mean + math.sqrt(beta) * math.sqrt(variance)
        assert bandit.upper_bound(here, none(1))[0] == pytest.approx(expected)

    def test_what_is_pending_makes_its_place_less_attractive_and_leaves_the_mean(self):
        tried, values = self.sampled(count=10)
        bandit, here = Bandit(tried, values), Points(np.array([1.0]), np.array([[0.45]]))
        assert bandit.deviation(here, here) < bandit.deviation(here, none(1))
        assert bandit.upper_bound(here, here) < bandit.upper_bound(here, none(1))

    def test_old_observations_count_less(self):
        rows = [[0.2], [0.2], [0.8]]
        tried = Points(np.array([0.0, 40.0, 40.0]), np.array(rows))
        bandit = Bandit(tried, np.array([1.0, -1.0, 0.0]))
        now = Points(np.array([40.0]), np.array([[0.2]]))
        assert bandit.mean(now)[0] < 0

    def test_without_observations_all_places_are_alike(self):
        bandit = Bandit(none(1), np.zeros(0))
        at = Points(np.zeros(2), np.array([[0.1], [0.9]]))
        assert list(bandit.upper_bound(at, none(1))) == [0, 0]
        assert len(set(bandit.deviation(at, none(1)))) == 1

    def test_the_maximum_is_found(self):
        best = maximise(
            lambda rows: -np.sum((rows - [0.31, 0.77]) ** 2, axis=1),
            2,
            generator(0).random,
            lambda rows: rows,
        )
        assert best == pytest.approx([0.31, 0.77], abs=0.02)


def population(values, rule=None, **changes) -> Machine:
    """Return a machine whose members have all paused at level 2 with these values."""
    rule = rule or PB2(max_resource=8, interval=2, synchronous=True)
    machine = Machine(rule, trials=len(values), **changes)
    machine.decide()
    for trial, value in enumerate(values):
        machine.pause(trial, value)
    return machine


def copies(machine) -> list[Launched]:
    return [f for f in machine.history.facts if isinstance(f, Launched) and f.source is not None]


class TestGains:
    def test_a_gain_is_the_change_for_each_unit(self):
        machine = population([5.0, 6.0])
        machine.decide()
        machine.pause(0, 2.0)
        machine.pause(1, 2.5)
        over = machine.history.index("gains", lambda: Gains(machine.history)).over
        # Member 1 has copied member 0 at level 2, where the loss was 5.
        assert [(one.start, one.before, one.gain) for one in over] == [(2, 5, 1.5), (2, 5, 1.25)]
        assert over[1].params == machine.history.trials[1].params != over[0].params

    def test_a_metric_to_be_made_large_gains_by_growing(self):
        machine = population([5.0, 6.0], mode="max")
        machine.decide()
        machine.pause(1, 8.0)
        over = machine.history.index("gains", lambda: Gains(machine.history)).over
        assert [one.gain for one in over] == [1.0]

    @pytest.mark.parametrize("value", [math.nan, None])
    def test_a_useless_value_is_the_worst_gain(self, value):
        machine = population([5.0, 6.0])
        machine.decide()
        machine.pause(0, value)
        over = machine.history.index("gains", lambda: Gains(machine.history)).over
        assert [one.gain for one in over] == [-math.inf]

    def test_a_lost_segment_is_one_interval_with_its_retry(self):
        machine = population([5.0, 6.0])
        machine.decide()
        machine.report(0, 3, 4.0)
        machine.close(0, "lost")
        machine.decide()
        machine.pause(0, 1.0)
        over = machine.history.index("gains", lambda: Gains(machine.history)).over
        assert [(one.start, one.before, one.gain) for one in over] == [(2, 5, 2.0)]


class TestExploring:
    def test_copies_of_one_round_are_spread_out(self):
        """With the same generator, a copy under way keeps the next one from its place."""
        machine = population([8.0] * 12)
        for level in (4, 6):
            machine.decide()
            for trial in list(machine.history.running):
                machine.pause(trial, 10.0 - level)
        rule, clone = machine.study.scheduler, Clone(0, 11, 8)
        params = machine.history.trials[0].params
        first = rule.explore(params, X, generator(0), machine.history, clone)
        launched = Launched(1, 3, 8, start=6, checkpoint="0-6", params=first, source=0)
        machine.history.append(launched)
        second = rule.explore(params, X, generator(0), machine.history, clone)
        assert abs(first["x"] - second["x"]) > 0.02

    def test_it_learns_which_parameter_gains_most(self):
        def curve(config, resource):
            return 10 - resource * (1 - (config["x"] - 0.7) ** 2)

        machine = Machine(PB2(max_resource=24, interval=2), trials=8, slots=8)
        while machine.decide() or machine.history.running:
            for number in list(machine.history.running):
                trial = machine.history.trials[number]
                machine.pause(number, curve(trial.params, trial.until))
        chosen = [fact.params["x"] for fact in copies(machine)]
        assert len(chosen) > 12
        assert abs(np.median(chosen[-8:]) - 0.7) < 0.12

    def test_what_is_explored_lies_in_the_space_and_the_rest_is_the_donors(self):
        space = Space(
            {
                "rate": Float(1e-5, 1e-1, log=True),
                "layers": Int(1, 3),
                "kind": Categorical(("a", "b", "c")),
                "fixed": Float(0, 1),
            }
        )
        rule = PB2(
            max_resource=8, interval=2, synchronous=True, mutations=("rate", "layers", "kind")
        )
        machine = population([float(n) for n in range(12)], rule, space=space)
        for _ in range(2):
            machine.decide()
            for trial in list(machine.history.running):
                machine.pause(trial, 0.1 * trial)
        copied = copies(machine)
        assert len(copied) >= 6
        first = {t.params["fixed"] for t in machine.history.trials}
        for fact in copied:
            assert space.explain(fact.params) is None
            assert fact.params["fixed"] in first
        assert len({f.params["layers"] for f in copied}) > 1

    def test_branches_and_normal_priors_can_be_explored(self):
        options = {"svm": {"C": Float(0.01, 10, log=True)}, "tree": {"depth": Int(1, 9)}}
        space = Space({"model": branch(options), "shift": Normal(0, 1)})
        machine = population([float(n) for n in range(8)], space=space)
        while machine.decide() or machine.history.running:
            for trial in list(machine.history.running):
                machine.pause(trial, 0.1 * trial)
        copied = copies(machine)
        assert len(copied) == 6
        for fact in copied:
            assert space.explain(fact.params) is None
            assert abs(fact.params["shift"]) < 3.1

    def test_the_same_history_explores_the_same(self):
        machine = population([float(n) for n in range(8)])
        rebuilt = machine.rebuilt()
        clone = Clone(0, 7, 4)
        rule, params = machine.study.scheduler, machine.history.trials[0].params
        explored = [
            rule.explore(params, X, generator(0, "explore"), history, clone)
            for history in (machine.history, rebuilt)
        ]
        assert explored[0] == explored[1]

    def test_a_space_without_numbers_is_refused(self):
        with pytest.raises(SpecError, match="no parameter that is explored is a number; use the"):
            PB2(max_resource=8).check(Space({"kind": Categorical(("a", "b"))}))

    def test_reversed_bounds_are_refused(self):
        with pytest.raises(SpecError, match="is above high"):
            Space({"x": Float(1, 0)})

    def test_without_numpy_it_says_so_before_any_trial(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "numpy", None)
        with pytest.raises(MissingDependencyError, match=r"tuneflow\[pb2\]', or use the scheduler"):
            PB2(max_resource=8).prepare()

    def test_loading_it_does_not_import_numpy(self):
        script = (
            "import sys, tuneflow.schedulers as s; s.PB2(max_resource=8); "
            "print('numpy' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
        assert done.stdout.split() == [b"False"]
