"""HpBandSter's generator: it is asked as its own loop would, and what it hides is said."""

from __future__ import annotations

import pytest

pytest.importorskip("hpbandster")

import ConfigSpace
import numpy
from hpbandster.optimizers.config_generators.bohb import BOHB as GENERATOR

from tuneflow.errors import SearcherError, SpecError
from tuneflow.events import Closed, Launched, Reported
from tuneflow.history import History
from tuneflow.libraries.base import Parameter
from tuneflow.libraries.hpbandster import LIBRARY
from tuneflow.rng import generator
from tuneflow.searchers import Random
from tuneflow.searchers.hpbandster import HpBandSter
from tuneflow.space import Float, Space, branch
from tuneflow.trial import Report

pytestmark = pytest.mark.filterwarnings("ignore")
"""It uses what its own libraries have given up."""

OPTIONS = {
    "top_n_percent": 15,
    "num_samples": 64,
    "random_fraction": 0.0,
    "bandwidth_factor": 3,
    "min_bandwidth": 1e-3,
    "min_points_in_model": None,
}
PARAMETERS = [Parameter("c", "choice", size=3), Parameter("x", "float"), Parameter("y", "float")]


class Job:
    """A result in the terms of its own loop."""

    def __init__(self, config, loss):
        self.kwargs = {"config": config, "budget": 1.0}
        self.result = None if loss is None else {"loss": loss}
        self.exception = None


def results(count):
    """Yield the values of a trial, and its loss; some have failed."""
    rng = generator(0)
    for number in range(count):
        values = {"c": number % 3, "x": rng.random(), "y": rng.random()}
        loss = (values["x"] - 0.3) ** 2 + (values["y"] - 0.6) ** 2 + values["c"]
        yield values, None if number % 7 == 3 else loss


def told(count, **options):
    library = LIBRARY(PARAMETERS, {**OPTIONS, **options}, 0)
    for number, (values, loss) in enumerate(results(count)):
        library.began(number, values, None)
        library.told(number, loss)
    return library


def test_it_proposes_what_it_proposes_in_its_own_loop():
    space = ConfigSpace.ConfigurationSpace()
    space.add(ConfigSpace.CategoricalHyperparameter("c", [0, 1, 2]))
    space.add(ConfigSpace.UniformFloatHyperparameter("x", 0.0, 1.0))
    space.add(ConfigSpace.UniformFloatHyperparameter("y", 0.0, 1.0))
    own = GENERATOR(configspace=space, random_fraction=0)
    for values, loss in results(30):
        own.new_result(Job(values, loss))
    found = told(30)
    for seed in range(5):
        numpy.random.seed(seed)
        numpy.random.rand()  # what decides between the model and a random pick is drawn once more
        expected, information = own.get_config(1.0)
        assert information["model_based_pick"]
        assert found.ask(seed) == pytest.approx({k: float(v) for k, v in expected.items()})


def test_without_enough_results_it_is_random_and_repeats_itself():
    assert told(4).ask(7) == told(4).ask(7)
    assert told(4).ask(7) != told(4).ask(8)


def test_the_global_generator_is_left_as_it_was():
    numpy.random.seed(1)
    before = numpy.random.get_state()[1].tolist()
    told(30).ask(5)
    assert numpy.random.get_state()[1].tolist() == before


def test_a_model_that_fails_is_an_error_and_no_random_pick(monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("the density is gone")

    monkeypatch.setattr("statsmodels.api.nonparametric.KDEMultivariate.pdf", fail)
    with pytest.raises(RuntimeError, match="the model failed: ZeroDivisionError: the density"):
        told(30).ask(0)


def test_a_study_says_so_too(monkeypatch):
    space, history = Space({"x": Float(0, 1)}), History("loss", "min")
    searcher = HpBandSter(random_fraction=0)
    for number in range(10):
        params = searcher.suggest(space, history)
        history.append(Launched(number, 0, None, params=params))
        history.append(Reported(number, Report(1, {"loss": params["x"]})))
        history.append(Closed(number, "completed"))

    def fail(*_):
        raise ZeroDivisionError("the density is gone")

    monkeypatch.setattr("statsmodels.api.nonparametric.KDEMultivariate.pdf", fail)
    with pytest.raises(SearcherError, match=r"searcher 'hpbandster': .*the model failed"):
        searcher.suggest(space, history)


def test_it_learns_in_a_space_with_branches():
    options = {"u": {"x": Float(0, 1)}, "v": {"y": Float(0, 1)}}
    space, history = Space({"b": branch(options)}), History("loss", "min")
    for number in range(30):
        params = Random().suggest(space, history)
        history.append(Launched(number, 0, None, params=params))
        value = abs(params["b"].get("y", 2) - 0.25)
        history.append(Reported(number, Report(1, {"loss": value})))
        history.append(Closed(number, "completed"))
    searcher = HpBandSter(random_fraction=0)
    history.append(Launched(30, 0, None, params=searcher.suggest(space, history)))
    assert history.trials[30].params["b"]["type"] == "v"


@pytest.mark.parametrize("field", ["num_samples", "top_n_percent", "min_points_in_model"])
def test_what_makes_no_sense_is_refused(field):
    with pytest.raises(SpecError, match=f"searcher.{field}"):
        HpBandSter(**{field: 0})
