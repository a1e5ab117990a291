"""The searchers that need no library, and what holds for the package as a whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter

import pytest

from tuneflow import searchers
from tuneflow.errors import MissingDependencyError, SpecError
from tuneflow.events import Launched
from tuneflow.history import History
from tuneflow.searchers import Grid, Random, Sobol
from tuneflow.space import Float, Int, Space, branch, choice, grid_search


def proposals(searcher, space, count, seed=0):
    history = History("loss", "min", seed)
    for number in range(count):
        params = searcher.suggest(space, history)
        if params is None:
            break
        history.append(Launched(number, 0, None, params=params))
    return [trial.params for trial in history.trials]


def python(code, **env):
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


class TestPackage:
    def test_its_names_are_the_classes(self):
        assert searchers.Grid is Grid
        assert {"TPE", "Optuna", "Sobol"} <= set(dir(searchers))

    def test_an_unknown_name_is_an_attribute_error(self):
        with pytest.raises(AttributeError, match="Bohb"):
            searchers.Bohb  # noqa: B018

    def test_importing_and_checking_imports_no_library(self):
        code = """
import json, sys
from tuneflow.searchers import TPE, Grid, Optuna, Random, Sobol
from tuneflow.space import Int, Space
for searcher in (TPE(), Grid(), Optuna(), Random(), Sobol()):
    searcher.check(Space({"n": Int(1, 3)}))
print(json.dumps([name for name in ("optuna", "scipy", "numpy") if name in sys.modules]))
"""
        assert python(code) == []

    def test_proposals_do_not_depend_on_the_hash_seed(self):
        code = """
import json
from tuneflow.history import History
from tuneflow.searchers import TPE, Optuna, Random, Sobol
from tuneflow.space import Float, Int, Space, branch
from tuneflow.testing.searchers import play
options = {"u": {"c": Float(0, 1), "d": Int(1, 5)}, "v": {}, "w": {"e": Float(0, 1)}}
space = Space({"x": Float(0, 1), "lr": Float(1e-4, 1, log=True), "b": branch(options)})
ga = {"population_size": 4}
found = []
for searcher in (Random(), Sobol(), TPE(n_startup_trials=4), Optuna(sampler="cmaes"),
                 Optuna(sampler="nsgaii", options=ga), Optuna(sampler="qmc")):
    found.append(list(play(searcher, space, History("loss", "min"), ["completed", "paused"], 24)))
print(json.dumps(found))
"""
        assert python(code, PYTHONHASHSEED="1") == python(code, PYTHONHASHSEED="2")


class TestRandom:
    def test_values_follow_the_prior(self):
        drawn = proposals(Random(), Space({"lr": Float(1e-4, 1, log=True)}), 400)
        below = sum(params["lr"] < 1e-2 for params in drawn)
        assert 160 < below < 240

    def test_trials_cycle_through_the_product_of_the_grid_axes(self):
        space = Space(
            {
                "a": grid_search([1, 2]),
                "x": Float(0, 1),
                "deep": {"b": grid_search(["p", "q", "r"])},
            }
        )
        drawn = proposals(Random(), space, 12)
        points = [(params["a"], params["deep"]["b"]) for params in drawn]
        assert points == 2 * [(1, "p"), (1, "q"), (1, "r"), (2, "p"), (2, "q"), (2, "r")]
        assert len({params["x"] for params in drawn}) == 12

    def test_the_cycle_begins_after_the_given_points(self):
        space = Space({"a": grid_search([1, 2, 3])})
        drawn = proposals(Random(points_to_evaluate=({"a": 3},)), space, 4)
        assert [params["a"] for params in drawn] == [3, 1, 2, 3]

    def test_a_grid_axis_below_a_branch_is_drawn(self):
        space = Space({"m": branch({"u": {"a": grid_search([1, 2])}, "v": {}})})
        drawn = [params["m"].get("a") for params in proposals(Random(), space, 60)]
        assert set(Counter(drawn)) == {1, 2, None}


class TestGrid:
    space = Space(
        {
            "n": Int(1, 2),
            "m": branch({"u": {"a": choice(["x", "y"])}, "v": {"b": Float(0, 1, step=0.5)}}),
        }
    )

    def test_it_is_the_grid_of_the_space_and_then_ends(self):
        assert proposals(Grid(), self.space, 99) == list(self.space.grid())

    def test_given_points_come_on_top(self):
        point = {"n": 2, "m": {"type": "v", "b": 0.5}}
        searcher = Grid(points_to_evaluate=(point,))
        assert proposals(searcher, self.space, 99) == [point, *self.space.grid()]
        assert searcher.trials(self.space) == 11

    def test_a_point_of_a_huge_grid_is_made_without_those_before_it(self):
        space = Space({name: Int(0, 9999) for name in "abcdef"})
        assert Grid().trials(space) == 10**24
        assert proposals(Grid(), space, 2)[1] == {**dict.fromkeys("abcde", 0), "f": 1}

    def test_a_continuous_domain_is_refused_with_what_to_do(self):
        with pytest.raises(SpecError, match=r"space\.lr: .* give it a step"):
            Grid().check(Space({"n": Int(1, 2), "lr": Float(0, 1)}))


class TestSobol:
    square = Space({"x": Float(0, 1), "y": Float(0, 1)})

    @pytest.mark.parametrize(("columns", "rows"), [(16, 1), (8, 2), (4, 4), (2, 8), (1, 16)])
    def test_sixteen_points_fill_every_division_into_sixteen_cells(self, columns, rows):
        points = proposals(Sobol(), self.square, 16, seed=5)
        cells = {(int(point["x"] * columns), int(point["y"] * rows)) for point in points}
        assert len(cells) == 16

    def test_a_point_depends_on_seed_and_number_alone(self):
        in_turn = proposals(Sobol(), self.square, 40, seed=1)
        history = History("loss", "min", 1)
        for number in range(39):
            history.append(Launched(number, 0, None, params={"x": 0.0, "y": 0.0}))
        assert Sobol().suggest(self.square, history) == in_turn[39]

    def test_seeds_shift_the_sequence(self):
        first, second = (proposals(Sobol(), self.square, 8, seed=seed) for seed in (1, 2))
        assert not {point["x"] for point in first} & {point["x"] for point in second}

    def test_the_sequence_never_changes(self):
        points = proposals(Sobol(), self.square, 3, seed=0)
        assert points == [
            {"x": 0.3677133790915832, "y": 0.013845550711266696},
            {"x": 0.8677133790915832, "y": 0.5138455507112667},
            {"x": 0.6177133790915832, "y": 0.2638455507112667},
        ]

    def test_it_starts_over_for_nobody_when_points_are_given(self):
        searcher = Sobol(points_to_evaluate=({"x": 0.5, "y": 0.5},))
        shifted = proposals(searcher, self.square, 5)[1:]
        assert shifted == proposals(Sobol(), self.square, 4)

    def test_a_space_without_free_parameters_has_one_configuration(self):
        assert proposals(Sobol(), Space({"x": 3}), 2) == [{"x": 3}, {"x": 3}]

    def test_too_many_parameters_are_refused(self):
        space = Space({f"x{number}": Int(0, 1) for number in range(21_202)})
        with pytest.raises(SpecError, match="21202 parameters"):
            Sobol().check(space)

    def test_without_scipy_it_says_what_to_install(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "scipy.stats", None)
        with pytest.raises(MissingDependencyError, match=r"tuneflow\[optuna\]"):
            proposals(Sobol(), self.square, 1)
