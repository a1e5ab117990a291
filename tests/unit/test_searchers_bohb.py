"""BOHB's searcher: the numbers of HpBandSter, what counts as a result, and that it learns.

The numbers of the reference come from hpbandster 0.7.4 (statsmodels 0.15.0, SciPy 1.17.1,
ConfigSpace 1.2.2, NumPy 2.4.6). Its ``CG_BOHB`` of `space_of_the_reference` was told the results of
`trials` by ``new_result``, a failure as None; then ``kde_models`` gave bandwidths, data and
densities. Each of 4,000 calls of ``get_config`` with ``random_fraction=0`` said
``model_based_pick``, so that none of them was one of the random picks that it makes when a model
fails.
"""

from __future__ import annotations

import math
import statistics

import pytest

from tests.machine import Machine
from tuneflow import schedulers
from tuneflow.errors import SpecError
from tuneflow.events import Closed, Launched, Opened, Reported
from tuneflow.history import History
from tuneflow.rng import generator
from tuneflow.searchers import BOHB, Random
from tuneflow.searchers.bohb_results import Results, Split, imputed
from tuneflow.searchers.cube import Cube
from tuneflow.searchers.kde import Density, bandwidths
from tuneflow.space import Categorical, Float, Int, Space, branch
from tuneflow.trial import Report

# The reference.

GOOD_WIDTHS = (0.3868433575567858, 0.0740074919740794, 0.10953645738572396)
BAD_WIDTHS = (0.3152268930214609, 0.1954823287556516, 0.1843301381384635)
GOOD_POINTS = [
    (0, 0.49, 0.236),
    (0, 0.451, 0.18),
    (1, 0.412, 0.125),
    (1, 0.315, 0.485),
    (0, 0.373, 0.069),
    (0, 0.599, 0.159),
]
DENSITIES = [
    ((0, 0.4, 0.3), 2.4083838759934584, 0.3322027956345154),
    ((1, 0.4, 0.3), 2.002131961834418, 0.29551072395627026),
    ((0, 0.9, 0.8), 1.9563698923519557e-11, 0.40992595675524424),
    ((1, 0.05, 0.99), 7.993423067025034e-08, 0.1640521572442323),
]
"""A point, and the densities of the good and the bad configurations there."""

PICKS = [(0.012, 0.10888526), (0.43284092, 0.03172551), (0.1248111, 0.0447709)]
"""Mean and standard deviation of 4,000 proposals: the category, lr on its scale, and x."""

SIZES = [(8, 4, 4), (9, 4, 5), (10, 4, 6), (26, 4, 22), (28, 4, 23), (50, 7, 42), (100, 15, 85)]
"""How many results there are of three parameters, and how many of them are good and bad."""

QUANTILES = [
    ((0.3, 0.2), (0.05832883269438366, 0.3167071813214192, 0.6351764336938759)),
    ((0.98, 0.05), (0.8879229008557548, 0.9576878511452392, 0.9956224911483068)),
    ((0.0, 0.1), (0.006270677794321371, 0.06744897501960817, 0.1959963984540054)),
    ((0.5, 30.0), (0.050003958480124844, 0.5000000000000083, 0.9499960415198835)),
]
"""Mean and deviation, and where scipy.stats.truncnorm has 5, 50 and 95 % in [0, 1]."""


def space_of_the_reference():
    return Space({"c": Categorical(("a", "b")), "lr": Float(1e-4, 1, log=True), "x": Float(0, 1)})


def config(number):
    x, exponent = number * 0.6180339887498949 % 1, number * 0.7548776662466927 % 1
    return {"c": "ab"[number * 7 % 5 % 2], "lr": 10 ** (-4 * round(exponent, 3)), "x": round(x, 3)}


def loss(number, level):
    params = config(number)
    distance = (params["x"] - 0.3) ** 2 + (math.log10(params["lr"]) / 4 + 0.6) ** 2
    return round(distance + 0.005 * (params["c"] == "b") + 0.3 / level, 6)


def trials():
    """Yield level, configuration and loss of each trial; one has failed."""
    for level, count in ((1, 60), (3, 40), (9, 7)):
        for number in range(count):
            yield level, config(number), None if number == 5 else loss(number, level)


# Histories.


def played(results, mode="min", max_resource=None):
    """Return a history of trials, each ``(level, params, loss)`` and paused at its level."""
    history = History("loss", mode, 1, max_resource)
    for number, (level, params, value) in enumerate(results):
        history.append(Launched(number, 0, level, params=params))
        if value is None:
            history.append(Closed(number, "failed"))
        else:
            history.append(Reported(number, Report(level, {"loss": value})))
            history.append(Closed(number, "paused"))
    return history


def model(history, space, percent=15, known=()):
    results = Results(Cube(space), history, Split(percent, len(space) + 1), 1e-3, known)
    for fact in history.facts:
        results.apply(fact)
    return results.model


def line(count, level=1, first=0, of=20):
    """Return trials of a space of one parameter, the better the smaller it is."""
    return [(level, {"x": (first + n) / of}, (first + n) / of) for n in range(count)]


LINE = Space({"x": Float(0, 1)})


class Draws:
    """A generator that gives what it is told to."""

    def __init__(self, *draws):
        self.draws = list(draws)

    def random(self):
        return self.draws.pop(0)


class TestReference:
    def test_the_model_is_the_same(self):
        found = model(played(trials()), space_of_the_reference())
        assert found.level == 3  # of 1, 3 and 9
        assert found.good.widths == pytest.approx(GOOD_WIDTHS, rel=1e-9)
        assert found.bad.widths == pytest.approx(BAD_WIDTHS, rel=1e-9)
        assert [pytest.approx(point, abs=1e-9) for point in GOOD_POINTS] == found.good.points
        assert len(found.bad.points) == 34

    @pytest.mark.parametrize(("point", "good", "bad"), DENSITIES)
    def test_the_densities_are_the_same(self, point, good, bad):
        found = model(played(trials()), space_of_the_reference())
        assert found.good.at(point) == pytest.approx(good, rel=1e-8)
        assert found.bad.at(point) == pytest.approx(bad, rel=1e-8)
        assert found.badness(point) == pytest.approx(bad / good, rel=1e-8)

    @pytest.mark.parametrize(("count", "good", "bad"), SIZES)
    def test_the_sides_have_the_same_sizes(self, count, good, bad):
        results = [(1, config(number), loss(number, 1)) for number in range(6, 6 + count)]
        found = model(played(results), space_of_the_reference())
        assert (len(found.good.points), len(found.bad.points)) == (good, bad)

    @pytest.mark.parametrize(("normal", "quantiles"), QUANTILES)
    def test_candidates_come_from_the_same_truncated_normal(self, normal, quantiles):
        mean, deviation = normal
        density = Density([(mean,)], [0], (deviation / 3,))
        found = [density.draw(Draws(0.0, unit), 3)[0] for unit in (0.05, 0.5, 0.95)]
        assert found == pytest.approx(quantiles, abs=1e-9)

    def test_proposals_are_distributed_in_the_same_way(self):
        space, history = space_of_the_reference(), played(trials())
        searcher, count = BOHB(random_fraction=0), 500
        picks = [searcher.propose(space, history, generator(0, n)) for n in range(count)]
        coordinates = (
            [float(params["c"] == "b") for params in picks],
            [math.log10(params["lr"]) / 4 + 1 for params in picks],
            [params["x"] for params in picks],
        )
        for found, (mean, deviation) in zip(coordinates, PICKS, strict=True):
            assert abs(statistics.mean(found) - mean) < 4 * deviation / math.sqrt(count)
            assert statistics.pstdev(found) == pytest.approx(deviation, rel=0.25)


class TestManyAxes:
    def test_a_density_is_a_finite_number_however_many_axes_there_are(self):
        points = [(0.5,) * 130] * 140
        density = Density(points, [0] * 130, bandwidths(points, [0] * 130, 1e-3))
        assert 1e299 < density.at(points[0]) < math.inf
        assert density.at((0.9,) * 130) == 0


class TestCategories:
    def test_the_kernel_counts_the_categories_that_nobody_has_tried(self):
        density = Density([(0.0,), (0.0,)], [3], (0.2,))
        assert [density.at((float(n),)) for n in range(3)] == pytest.approx([0.8, 0.1, 0.1])

    def test_the_bandwidth_ends_where_all_are_equally_likely(self):
        points = [(float(number),) for number in range(10)]
        (width,) = bandwidths(points, [10], 1e-3)
        assert width == 0.9
        density = Density(points, [10], (width,))
        assert density.at((3.0,)) == pytest.approx(0.1)

    def test_densities_of_numbers_and_categories_add_up_to_one(self):
        points = [(0.3, 0.0, 2.0), (0.6, 1.0, 2.0), (0.61, 1.0, 0.0)]
        density = Density(points, [0, 2, 3], (0.02, 0.3, 0.4))
        step = 0.002
        total = sum(
            density.at((number * step, float(one), float(two)))
            for number in range(int(1 / step))
            for one in range(2)
            for two in range(3)
        )
        assert total * step == pytest.approx(1, abs=1e-6)

    def test_a_category_stays_or_is_drawn_anew(self):
        density = Density([(2.0,)], [4], (0.25,))
        assert density.draw(Draws(0.0, 0.74), 3) == (2,)
        assert density.draw(Draws(0.0, 0.75, 0.3), 3) == (1,)


class TestResults:
    def test_there_is_no_model_until_either_side_has_more_results_than_parameters(self):
        assert model(played(line(3)), LINE) is None
        assert model(played(line(4)), LINE).level == 1

    def test_a_failure_is_a_bad_one_and_nan_too(self):
        results = [*line(2), (1, {"x": 0.9}, None), (1, {"x": 0.8}, math.nan)]
        found = model(played(results), LINE)
        assert sorted(point for (point,) in found.bad.points) == [0.8, 0.9]

    def test_failures_alone_make_no_model(self):
        results = [(1, {"x": number / 20}, None) for number in range(20)]
        assert model(played(results), LINE) is None

    def test_the_highest_level_with_enough_results_has_the_model(self):
        low, high = line(12), line(3, level=3, first=12)
        assert model(played([*low, *high]), LINE).level == 1
        more = line(1, level=3, first=15)
        found = model(played([*low, *high, *more]), LINE)
        assert found.level == 3
        assert sorted(found.good.points) == [(0.6,), (0.65,)]

    def test_a_larger_metric_is_better_in_mode_max(self):
        assert model(played(line(10), mode="max"), LINE).good.points[0] == (0.45,)

    def test_every_report_is_a_result_at_its_level(self):
        history = History("loss", "min")
        for number in range(6):
            history.append(Launched(number, 0, None, params={"x": number / 10}))
            for level in (1, 2):
                history.append(Reported(number, Report(level, {"loss": number / level})))
            if number < 4:
                history.append(Reported(number, Report(3, {"loss": -number})))
        found = model(history, LINE)
        assert found.level == 3
        assert found.good.points[0] == (0.3,)

    def test_a_trial_that_ends_by_itself_counts_at_the_level_that_it_was_to_reach(self):
        history = History("loss", "min")
        for number in range(4):
            history.append(Launched(number, 0, 9, params={"x": number / 10}))
            history.append(Reported(number, Report(1 + number, {"loss": number})))
            history.append(Closed(number, "completed"))
        assert model(history, LINE).level == 9

    def test_a_report_without_the_metric_is_no_result(self):
        history = played(line(4))
        history.append(Launched(4, 0, 2, params={"x": 0.5}))
        history.append(Reported(4, Report(1, {"other": 0.0})))
        assert len(model(history, LINE).bad.points) == 2

    def test_a_failure_that_is_tried_again_with_success_counts_once(self):
        history = played([*line(4), (1, {"x": 0.01}, None)])
        history.append(Opened(1, retry_failed=True))
        history.append(Launched(4, 1, 1, attempt=1))
        history.append(Reported(4, Report(1, {"loss": -1.0})))
        history.append(Closed(4, "paused"))
        found = model(history, LINE)
        assert found.good.points[0] == (0.01,)
        assert len(found.bad.points) == 3

    def test_known_results_count_at_the_maximum_resource(self):
        known = [{"params": {"x": n / 10}, "value": float(n)} for n in range(4)]
        history = played(line(12, level=3), max_resource=9)
        assert model(history, LINE, known=known).level == 9
        assert model(history, LINE, known=known[:3]).level == 3

    def test_a_clone_has_results_of_its_own(self):
        history = played(line(4))
        history.append(Launched(3, 1, 2, start=1, params={"x": 0.02}, source=0))
        history.append(Reported(3, Report(2, {"loss": 0.0})))
        results = Results(Cube(LINE), history, Split(15, 2), 1e-3)
        for fact in history.facts:
            results.apply(fact)
        assert results.is_running({"x": 0.02})
        assert not results.is_running({"x": 0.15})


class TestCube:
    SPACE = Space(
        {
            "x": Float(0, 2),
            "n": Int(3, 3),
            "b": branch({"u": {"c": Categorical(("p", "q", "r"))}, "v": {}}),
        }
    )

    def test_a_configuration_is_a_point_and_back(self):
        cube = Cube(self.SPACE)
        assert list(cube.domains) == ["x", "b", "b.u.c"]
        params = {"x": 0.5, "n": 3, "b": {"type": "u", "c": "q"}}
        assert cube.point(params) == (0.25, 0.25, 0.5)
        assert cube.params((0.25, 0.25, 0.5)) == params

    def test_what_a_branch_leaves_out_has_no_coordinate(self):
        cube = Cube(self.SPACE)
        params = {"x": 2.0, "n": 3, "b": {"type": "v"}}
        assert cube.point(params)[1:] == (0.75, None)
        assert cube.params((1.0, 0.75, 0.3)) == {"x": pytest.approx(2), "n": 3, "b": params["b"]}

    def test_what_lies_outside_is_moved_to_the_border(self):
        assert Cube(LINE).params((-0.1,)) == {"x": 0.0}
        assert Cube(LINE).params((1.1,))["x"] == pytest.approx(1)


class TestImputation:
    def test_what_is_missing_comes_from_another_point_that_has_it(self):
        points = [(0.1, None, None), (0.2, 0.3, 0.4), (0.5, None, 0.6)]
        found = imputed(points, generator(0))
        assert found[0] == [0.1, 0.3, 0.4]
        assert found[1] == [0.2, 0.3, 0.4]
        assert found[2] == [0.5, 0.3, 0.6]

    def test_what_nobody_has_is_drawn(self):
        found = imputed([(None, 0.5), (None, 0.6)], Draws(0.25, 0.75))
        assert found == [[0.25, 0.5], [0.75, 0.6]]

    def test_it_learns_which_option_is_good_and_where_in_it(self):
        options = {"u": {"x": Float(0, 1)}, "v": {"y": Float(0, 1), "z": Float(0, 1)}}
        space = Space({"b": branch(options)})
        drawn = Random()
        history = History("loss", "min")
        for number in range(100):
            params = drawn.suggest(space, history)
            value = abs(params["b"].get("y", 2) - 0.25)
            history.append(Launched(number, 0, 1, params=params))
            history.append(Reported(number, Report(1, {"loss": value})))
            history.append(Closed(number, "paused"))
        searcher = BOHB(random_fraction=0)
        found = [searcher.propose(space, history, generator(n))["b"] for n in range(50)]
        assert {option["type"] for option in found} == {"v"}
        assert statistics.mean(option["y"] < 0.5 for option in found) > 0.9


class TestProposals:
    def test_the_first_ones_are_random(self):
        space, history = LINE, History("loss", "min", 7)
        assert BOHB().suggest(space, history) == Random().suggest(space, history)

    def test_a_fraction_is_random(self):
        history = played(line(20))
        searcher = BOHB(random_fraction=0.5)
        found = [searcher.propose(LINE, history, generator(n))["x"] for n in range(400)]
        # The model is sure that small ones are good.
        assert 0.1 < statistics.mean(x > 0.5 for x in found) < 0.4

    def test_what_runs_is_not_proposed_again(self):
        space = Space({"n": Int(0, 3), "c": Categorical(("a", "b"))})
        results = [
            (1, {"n": n, "c": c}, float(n)) for n in range(4) for c in "ab" for _ in range(3)
        ]
        history = played(results)
        seen = []
        for number in range(len(results), len(results) + 8):
            params = BOHB().suggest(space, history)
            history.append(Launched(number, 0, 1, params=params))
            seen.append(params)
        assert len({tuple(params.values()) for params in seen}) == 8

    def test_results_at_other_levels_change_nothing_when_the_history_is_rebuilt(self):
        options = {"u": {"x": Float(0, 1)}, "v": {"y": Float(0, 1), "z": Float(0, 1)}}
        space = Space({"b": branch(options)})
        searcher = BOHB(random_fraction=0)
        scheduler = schedulers.ASHA(max_resource=9, reduction_factor=3)
        machine = Machine(scheduler, slots=3, space=space, searcher=searcher, trials=60)

        def curve(trial, level):
            rebuilt = machine.rebuilt()
            fresh = BOHB(random_fraction=0).suggest(space, rebuilt)
            assert searcher.suggest(space, machine.history) == fresh
            return trial * 7919 % 1009 / level

        machine.run(curve)

    def test_a_space_without_a_choice_has_one_proposal(self):
        space = Space({"n": Int(3, 3), "c": Categorical(("a",))})
        history = played([(1, {"n": 3, "c": "a"}, 0.0)] * 6)
        assert BOHB().suggest(space, history) == {"n": 3, "c": "a"}

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("top_n_percent", 0),
            ("top_n_percent", 100),
            ("num_samples", 0),
            ("num_samples", 2.5),
            ("random_fraction", 1.1),
            ("random_fraction", math.nan),
            ("bandwidth_factor", 0),
            ("min_bandwidth", math.inf),
            ("min_points_in_model", 0),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, field, value):
        with pytest.raises(SpecError, match=f"searcher.{field}"):
            BOHB(**{field: value})


# Does it learn? The problem is called bowl6 in docs/quality.md.

CENTRE = (0.2, 0.8, 0.35, 0.65, 0.5, 0.9)
BOWL = Space({f"x{axis}": Float(0, 1) for axis in range(len(CENTRE))})


def height(params):
    return sum((params[f"x{axis}"] - middle) ** 2 for axis, middle in enumerate(CENTRE))


def regret(searcher, seed):
    """Return how far above the minimum the best trial is after one cycle of brackets."""
    scheduler = schedulers.BOHB(max_resource=81)
    machine = Machine(scheduler, slots=8, space=BOWL, searcher=searcher, seed=seed)

    def curve(trial, level):
        unit = min(max(generator(seed, "noise", trial, level).random(), 1e-9), 1 - 1e-9)
        noise = statistics.NormalDist(0, 0.02).inv_cdf(unit) / math.sqrt(level)
        return height(machine.history.trials[trial].params) + 0.3 / level + noise

    return height(machine.run(curve).best().params)


def test_on_bowl6_it_beats_random_search_with_each_of_eight_seeds():
    found = [(regret(BOHB(), seed), regret(Random(), seed)) for seed in range(8)]
    # By chance that would be so once in 256 times.
    assert all(ours < random for ours, random in found)
    ours, random = (statistics.median(side) for side in zip(*found, strict=True))
    assert ours < random / 3
