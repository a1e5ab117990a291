"""The quality benchmark measures what it says: its problems, its cluster and its statistics."""

from __future__ import annotations

import json
import math
import random

import pytest

from benchmarks.quality_parts import ours, plot
from benchmarks.quality_parts.cluster import Cluster, Order, Peer
from benchmarks.quality_parts.compare import Measured, holm, p_greater
from benchmarks.quality_parts.problems import SYNTHETIC, Bowl6, Branin, Forrester, MFHartmann6
from benchmarks.quality_parts.record import Incumbents, first_time, regret_at
from benchmarks.quality_parts.runs import Runs, missing
from benchmarks.quality_parts.setting import Setting, plan_of
from benchmarks.quality_parts.tables import SGD
from tuneflow.rng import generator
from tuneflow.searchers.base import sampled

OPTIMA = {
    "bowl6": [(0.2, 0.8, 0.35, 0.65, 0.5, 0.9)],
    "mfhartmann3": [(0.114614, 0.555649, 0.852547)],
    "mfhartmann6": [(0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573)],
    "branin": [(-math.pi, 12.275), (math.pi, 2.275), (9.42478, 2.475)],
    "forrester": [(0.757249,)],
}
"""Where the literature finds the least value."""

CALM = Setting(straggler_spread=0.0, failures=0.0, preemptions=0.0, turns=1.5)


class RandomPeer(Peer):
    """What tuneflow does with FIFO and random search, as a peer."""

    def __init__(self, problem, seed):
        self._problem, self._seed, self._count = problem, seed, 0

    def ask(self):
        rng = generator(self._seed, "suggest", self._count)
        self._count += 1
        return Order(self._count - 1, self._problem.space.build(sampled(rng)))

    def report(self, trial, level, value):
        return True


def config(problem, point):
    return {axis.name: x for axis, x in zip(problem.axes, point, strict=True)}


@pytest.mark.parametrize("kind", SYNTHETIC, ids=lambda kind: kind.name)
def test_the_best_value_is_where_the_literature_finds_it(kind):
    problem = kind()
    for point in OPTIMA[problem.name]:
        assert problem.regret(config(problem, point)) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("kind", SYNTHETIC, ids=lambda kind: kind.name)
def test_no_random_configuration_is_better_than_the_best(kind):
    problem = kind()
    drawn = (problem.space.build(sampled(random.Random(n))) for n in range(500))
    assert min(problem.regret(found) for found in drawn) > -1e-6


def test_known_values_away_from_the_optimum():
    assert Branin().truth({"x0": 0.0, "x1": 0.0}) == pytest.approx(55.602113, abs=1e-6)
    assert Forrester().truth({"x0": 0.0}) == pytest.approx(4 * math.sin(-4))
    cheap = Forrester().at((0.5,), 0.0)
    assert cheap == pytest.approx(0.5 * math.sin(2) - 5)
    assert MFHartmann6().at((0.0,) * 6, 1.0) == pytest.approx(-0.00508911, abs=1e-6)


def test_little_resource_is_worse_and_noisier_on_bowl6():
    problem = Bowl6()
    centre = config(problem, problem.centre)
    assert problem.at(problem.centre, 1 / 81) == pytest.approx(0.3)
    assert problem.truth(centre) == pytest.approx(0.3 / 81)
    for level in (1, 81):
        values = [problem.value(centre, level, seed) for seed in range(400)]
        mean = sum(values) / 400
        spread = math.sqrt(sum((value - mean) ** 2 for value in values) / 400)
        assert mean == pytest.approx(0.3 / level, abs=0.004)
        assert spread == pytest.approx(0.02 / math.sqrt(level), rel=0.15)


def test_noise_is_a_function_of_configuration_level_and_seed():
    problem = MFHartmann6()
    here = config(problem, (0.5,) * 6)
    there = config(problem, (0.5,) * 5 + (0.6,))
    first = problem.value(here, 3, 7)
    assert problem.value(here, 3, 7) == first
    noises = {
        first - problem.at((0.5,) * 6, 3 / 27),
        problem.value(here, 3, 8) - problem.at((0.5,) * 6, 3 / 27),
        problem.value(here, 4, 7) - problem.at((0.5,) * 6, 4 / 27),
        problem.value(there, 3, 7) - problem.at((0.5,) * 5 + (0.6,), 3 / 27),
    }
    assert len(noises) == 4
    assert all(noise >= 0 for noise in noises)
    assert problem.value(here, 27, 7) == problem.truth(here)


def test_a_table_answers_with_the_nearest_curve(tmp_path):
    rows = [
        [[1e-4, 1e-2, 0.5, 0.5], [0.5 - level / 100 for level in range(1, 28)]],
        [[1e-4, 1e-1, 0.5, 0.5], [0.4 - level / 100 for level in range(1, 28)]],
    ]
    (tmp_path / "sgd.json").write_text(json.dumps(rows))
    problem = SGD(tmp_path)
    near_first = {"alpha": 1e-5, "eta0": 0.02, "power_t": 0.4, "l1_ratio": 0.5}
    near_second = {**near_first, "eta0": 0.05}
    assert problem.best == pytest.approx(0.13)
    assert problem.value(near_first, 1, 0) == problem.value(near_first, 1, 1) == 0.49
    assert problem.regret(near_first) == pytest.approx(0.1)
    assert problem.regret(near_second) == pytest.approx(0)


@pytest.mark.parametrize("setting", [CALM, Setting(turns=3.0, failures=0.3, preemptions=2.0)])
def test_a_peer_sees_the_cluster_that_ours_see(setting):
    problem = Branin()
    mine, trials = ours.run("random", problem, 3, setting)
    theirs = Incumbents(problem, setting.seconds(problem))
    cluster = Cluster(problem, 3, setting, RandomPeer(problem, 3), theirs)
    cluster.run()
    assert mine.curve == theirs.curve
    assert mine.units == theirs.units
    assert len(cluster.trials) == trials


def test_a_paused_trial_goes_on_where_it_stood():
    class Pausing(RandomPeer):
        def __init__(self, problem, seed):
            super().__init__(problem, seed)
            self.said, self.paused = [], []

        def ask(self):
            return Order(self.paused.pop()) if self.paused else super().ask()

        def report(self, trial, level, value):
            self.said.append((trial, level))
            if level == 3:
                self.paused.append(trial)
            return level != 3

    problem = Branin()
    peer = Pausing(problem, 1)
    Cluster(problem, 1, CALM, peer, Incumbents(problem, CALM.seconds(problem))).run()
    assert [level for trial, level in peer.said if trial == 0] == list(range(1, 28))


def test_the_incumbent_is_the_best_at_the_highest_rung():
    problem = Forrester()
    found = Incumbents(problem, until=10)
    found.note(1, {"x0": 0.2}, 1, 5.0)
    found.note(2, {"x0": 0.3}, 1, 4.0)
    found.note(3, {"x0": 0.4}, 2, 0.0)
    found.note(4, {"x0": 0.5}, 3, 9.0)
    found.note(5, {"x0": 0.6}, 1, -9.0)
    found.note(6, {"x0": 0.7}, 3, math.nan)
    found.note(11, {"x0": 0.8}, 27, -9.0)
    assert [time for time, _ in found.curve] == [1, 2, 4]
    assert found.curve[-1][1] == problem.regret({"x0": 0.5})
    assert found.units == 6


def test_regret_is_read_from_the_curve():
    curve = [(1.0, 5.0), (2.0, 3.0), (4.0, 4.0)]
    assert [regret_at(curve, time) for time in (0.5, 1.0, 3.9, 9.0)] == [math.inf, 5.0, 3.0, 4.0]
    assert first_time(curve, 3.5) == 2.0
    assert first_time(curve, 1.0) == math.inf


def test_the_signed_rank_test_is_scipys_and_bears_nothing_but_zeros():
    scipy = pytest.importorskip("scipy.stats")
    values = [0.3, -0.1, 0.8, 0.0, 0.5, 0.9, -0.2, 0.4]
    expected = scipy.wilcoxon(
        [value for value in values if value], alternative="greater", method="asymptotic"
    )
    assert p_greater(values) == pytest.approx(expected.pvalue)
    assert p_greater([-value for value in values]) > 0.9
    assert p_greater([0.0, 0.0]) == 1.0


def test_holm_corrects_as_its_author_says():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def record(name, seed, regret, *, problem="bowl6"):
    curve = [[1.0, 10.0], [10.0 + seed, regret]]
    return {"system": name, "problem": problem, "seed": seed, "curve": curve, "trials": 1}


def test_a_small_run_is_stored_compared_and_drawn(tmp_path):
    pytest.importorskip("scipy")
    runs = Runs(tmp_path)
    for seed in range(12):
        runs.add(record("tuneflow/random", seed, 1.0 + seed / 100))
        runs.add(record("ray/asha (best)", seed, 0.5))
        runs.add(record("tuneflow/asha", seed, 0.1 + seed / 1000))
    again = Measured(Runs(tmp_path), {"bowl6": 100.0})
    assert again.median("tuneflow/random", "bowl6") == pytest.approx(1.055)
    assert again.median("tuneflow/random", "bowl6", 0.05) == 10.0
    better = again.compared("tuneflow/asha", "ray/asha (best)")
    worse = again.compared("tuneflow/random", "ray/asha (best)")
    assert (better.better, better.worse, better.pairs) == (12, 0, 12)
    assert better.p_worse > 0.99
    assert better.factor == pytest.approx(0.21, abs=0.01)
    assert worse.p_worse < 0.01
    assert again.compared("tuneflow/asha", "hb/bohb") is None
    assert again.p_better("tuneflow/asha", "tuneflow/random", "bowl6") < 0.01
    times = again.times_to_final("tuneflow/asha", "tuneflow/random", "bowl6")
    assert times == [pytest.approx((10 + seed) / 100) for seed in range(12)]
    drawing = plot.draw(again.runs, "bowl6", 100.0)
    assert drawing.startswith("<svg")
    assert drawing.rstrip().endswith("</svg>")
    assert "ray/asha (best)" in drawing


def test_only_what_is_missing_is_run(tmp_path):
    class Known:
        algorithms = ("bohb", "hyperband")

    runs = Runs(tmp_path)
    runs.add(record("hb/hyperband", 0, 1.0))
    left = list(missing({"hb": Known()}, runs, ["bowl6", "branin"], 2, frozenset()))
    assert ("hb", "hyperband", "bowl6", 0) not in left
    assert left[0] == ("hb", "hyperband", "bowl6", 1)
    assert left[-1] == ("hb", "bohb", "bowl6", 1)
    assert "branin" not in plan_of("hb/bohb").problems
    assert len(left) == 3 + 2
    only = missing({"hb": Known()}, runs, ["bowl6", "branin"], 2, frozenset({"hb/bohb"}))
    assert [algorithm for _, algorithm, _, _ in only] == ["bohb", "bohb"]


@pytest.mark.parametrize("name", ["asha", "hyperband", "bohb", "dehb", "baseline"])
def test_each_kind_of_study_runs_and_repeats(name):
    setting = Setting(turns=0.5 if name == "baseline" else 2.0)
    first, trials = ours.run(name, Branin(), 5, setting)
    again, _ = ours.run(name, Branin(), 5, setting)
    assert first.curve == again.curve
    assert trials >= 8
    assert first.curve[-1][1] < first.curve[0][1]
