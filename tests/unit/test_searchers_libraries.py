"""The searchers that ask libraries: that they search, and what is peculiar to one."""

from __future__ import annotations

import importlib
import math
import os
import subprocess
import sys
import warnings

import pytest

from tuneflow.errors import SearcherError, SpecError
from tuneflow.events import Closed, Launched, Reported
from tuneflow.history import History
from tuneflow.plugins import build
from tuneflow.searchers import (
    CFO,
    SMAC,
    Ax,
    BayesOpt,
    BlendSearch,
    HyperOpt,
    Nevergrad,
    Random,
    SkOpt,
)
from tuneflow.space import Float, Int, Space, branch
from tuneflow.trial import Report

SPACE = Space({"x": Float(0, 1), "lr": Float(1e-4, 1, log=True)})
HUGE = Space({"n": Int(-(2**50), 2**50), "m": Int(1, 2**50, log=True), "tiny": Float(1e-300, 1)})

SEARCHERS = {
    "hyperopt": HyperOpt(n_startup_jobs=10),
    "hyperopt anneal": HyperOpt(algorithm="anneal"),
    "skopt": SkOpt(n_initial_points=5),
    "skopt ET": SkOpt(base_estimator="ET", n_initial_points=5),
    "bayesopt": BayesOpt(),
    "nevergrad": Nevergrad(),
    "nevergrad DE": Nevergrad(optimizer="DE"),
    "cfo": CFO(),
    "blendsearch": BlendSearch(),
    "ax": Ax(n_initial=4),
    "smac": SMAC(n_initial=6, challengers=100, local_searches=1),
}
SLOW = ("ax", "smac")
TRIALS = {"skopt": 10, "skopt ET": 12, "bayesopt": 14, "ax": 8, "smac": 14, "nevergrad DE": 60}


def needed(name):
    """Skip a test of Ax where it is not installed: it brings PyTorch, and `dev` does not."""
    if name == "ax":
        pytest.importorskip("ax")


def value(params):
    """Return how far a configuration is from one near a corner."""
    return (params["x"] - 0.85) ** 2 + (math.log10(params["lr"]) / 4 + 0.8) ** 2


def losses(searcher, count, seed, shift=0.0):
    """Return the losses of a study, one trial after the other."""
    history, found = History("loss", "min", seed), []
    for number in range(count):
        params = searcher.suggest(SPACE, history)
        found.append(value(params) + shift)
        history.append(Launched(number, 0, None, params=params))
        history.append(Reported(number, Report(1, {"loss": found[-1]})))
        history.append(Closed(number, "completed"))
    return found


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in SEARCHERS],
)
def test_its_later_proposals_are_much_better_than_random_ones(name):
    needed(name)
    count = TRIALS.get(name, 40)
    for seed in range(1 if name in SLOW else 2):
        later = losses(SEARCHERS[name], count, seed)[count // 2 :]
        random = losses(Random(), count, seed)
        assert sum(later) / len(later) < 0.7 * sum(random) / count


@pytest.mark.parametrize("name", ["hyperopt", "skopt", "bayesopt", "nevergrad", "cfo", "smac"])
def test_ranges_at_the_edge_of_what_doubles_hold_are_searched(name):
    needed(name)
    history = History("loss", "min", 0)
    for number in range(9):
        params = SEARCHERS[name].suggest(HUGE, history)
        assert HUGE.contains(params)
        history.append(Launched(number, 0, None, params=params))
        history.append(Reported(number, Report(1, {"loss": params["n"] * 1e300})))
        history.append(Closed(number, "completed"))


def global_generators():
    """Return the states of the generators that all of a process share."""
    import random

    import numpy

    return random.getstate(), numpy.random.get_state()[1].tolist()


def draw_from_no_global_generator(name):
    """Raise unless a searcher searches without these, and without a warning."""
    losses(SEARCHERS[name], 1, 0)  # Some draw while they are imported.
    before = global_generators()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        losses(SEARCHERS[name], 9, 0)
    assert before == global_generators()


@pytest.mark.parametrize("name", ["hyperopt", "skopt", "bayesopt", "nevergrad", "cfo", "smac"])
def test_it_draws_from_no_global_generator_and_warns_of_nothing(name):
    needed(name)
    # In a process of its own: threads that other tests have left here draw from them too.
    given = f"from {__name__} import *; draw_from_no_global_generator({name!r})"
    subprocess.run([sys.executable, "-c", given], check=True)


@pytest.mark.parametrize(
    ("cls", "field", "wrong"),
    [
        (HyperOpt, "n_startup_jobs", 0),
        (HyperOpt, "algorithm", "atpe"),
        (SkOpt, "base_estimator", "NN"),
        (SkOpt, "n_initial_points", 0),
        (BayesOpt, "kappa", -1),
        (BayesOpt, "acquisition", "mes"),
        (Nevergrad, "num_workers", 1),
        (Nevergrad, "budget", 0),
        (Ax, "n_initial", 0),
        (SMAC, "challengers", 0),
        (SMAC, "random_fraction", -0.1),
    ],
)
def test_a_wrong_field_is_named(cls, field, wrong):
    with pytest.raises(SpecError, match=f"searcher.{field}"):
        build(cls, {field: wrong}, "searcher")


def test_hyperopt_searches_the_options_of_a_branch():
    needed("hyperopt")
    space = Space({"o": branch({"far": {"x": Float(1, 2)}, "near": {"x": Float(-1, 1)}})})
    history = History("loss", "min", 0)
    for number in range(40):
        params = SEARCHERS["hyperopt"].suggest(space, history)
        history.append(Launched(number, 0, None, params=params))
        history.append(Reported(number, Report(1, {"loss": abs(params["o"]["x"])})))
        history.append(Closed(number, "completed"))
    later = [trial.params["o"] for trial in history.trials[20:]]
    assert sum(option["type"] == "near" for option in later) > 12


def test_a_failed_trial_is_the_worst_for_a_model():
    needed("skopt")
    library = importlib.import_module("tuneflow.libraries.skopt").SkOpt([], {}, 0)
    for number, loss in enumerate([3.0, None, 5.0]):
        library.began(number, {}, None)
        library.told(number, loss)
    library.began(3, {}, None)
    assert library.losses(min) == [3.0, 5.0, 5.0, 3.0]


def test_an_optimizer_that_nevergrad_does_not_have_is_named():
    needed("nevergrad")
    with pytest.raises(SearcherError, match="NoGoOpt"):
        Nevergrad(optimizer="NoGoOpt").suggest(SPACE, History("loss", "min"))


def test_an_optimizer_of_nevergrad_that_waits_for_each_result_is_refused():
    needed("nevergrad")
    with pytest.raises(SearcherError, match="parallel"):
        Nevergrad(optimizer="Cobyla").suggest(SPACE, History("loss", "min"))


class TestWhereFlamlBegins:
    def test_it_begins_where_trials_are_cheap(self):
        needed("cfo")
        first = CFO(low_cost={"x": 0.125}).suggest(SPACE, History("loss", "min", 3))
        assert first["x"] == pytest.approx(0.125)

    def test_a_cheap_value_outside_of_the_space_is_named(self):
        with pytest.raises(SpecError, match=r"searcher\.low_cost\.x"):
            CFO(low_cost={"x": 2}).check(SPACE)


PROGRAM = """
from tuneflow.history import History
from tuneflow.searchers import *
from tuneflow.space import Categorical, Float, Int, Space
from tuneflow.testing.searchers import play

space = Space({"x": Float(0, 1), "word": Categorical(("a", "b", "c")), "n": Int(1, 9)})
for searcher in (
    HyperOpt(n_startup_jobs=4),
    SkOpt(base_estimator="ET", n_initial_points=5),
    BayesOpt(),
    Nevergrad(),
    CFO(),
    BlendSearch(),
    SMAC(n_initial=5, challengers=20, local_searches=4, random_fraction=0),
):
    for params in play(searcher, space, History("loss", "min"), ["completed", "silent"], 9):
        print(searcher.type, params)
"""


@pytest.mark.slow
def test_a_study_is_the_same_in_every_process():
    found = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout.splitlines()
        for seed in ("1", "2")
    ]
    assert found[0] == found[1]
    assert len(found[0]) == 63
