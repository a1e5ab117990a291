"""Searchers whose libraries have environments of their own, made here as users have them made."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections import Counter

import pytest

import tuneflow
from tests.isolated import Odd, shared_cache
from tuneflow.cli import main
from tuneflow.environments import asking
from tuneflow.environments.cache import CACHE
from tuneflow.environments.making import ensure
from tuneflow.history import History
from tuneflow.searchers.dragonfly import Dragonfly
from tuneflow.searchers.environment import Environment
from tuneflow.searchers.hebo import HEBO
from tuneflow.space import Categorical, Float, Space
from tuneflow.testing import SearcherSuite
from tuneflow.testing.searchers import METRIC, play

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture(scope="module", autouse=True)
def cache():
    """One cache for all runs of the tests on this machine; each environment is made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE, shared_cache())
        yield


@pytest.fixture(scope="module", autouse=True)
def processes():
    """Ends the libraries' processes."""
    yield
    for host in asking._hosts.values():
        host._drop()
    asking._hosts.clear()


@pytest.fixture
def wheel(tmp_path):
    """A requirement that is installed without a network."""
    path = tmp_path / "alone-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("alone.py", "ANSWER = 42\n")
        for name, text in {
            "METADATA": "Metadata-Version: 2.1\nName: alone\nVersion: 1.0\n",
            "WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            "RECORD": "",
        }.items():
            file.writestr(f"alone-1.0.dist-info/{name}", text)
    return f"alone @ {path.as_uri()}"


class TestMaking:
    def test_what_is_installed_can_be_imported(self, wheel, tmp_path, monkeypatch):
        monkeypatch.setenv(CACHE, str(tmp_path))
        made = ensure("alone", Environment(requirements=(wheel,)))
        code = "import alone, sys; print(alone.ANSWER, sys.prefix)"
        said = subprocess.check_output([made.python, "-I", "-c", code], text=True)
        assert said.split() == ["42", str(made.python.parents[1])]
        made.release()

    def test_of_several_that_want_it_at_once_one_makes_it(self, wheel, tmp_path):
        code = (
            "import sys\n"
            "from tuneflow.environments.making import ensure\n"
            "from tuneflow.searchers.environment import Environment\n"
            "print(ensure('alone', Environment(requirements=(sys.argv[1],))).python)\n"
        )
        started = [
            subprocess.Popen(
                [sys.executable, "-c", code, wheel],
                env={**os.environ, CACHE: str(tmp_path)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(3)
        ]
        said = [process.communicate(timeout=100) for process in started]
        assert len({out for out, _ in said}) == 1
        told = Counter(line.split(" ")[0] for _, err in said for line in err.splitlines())
        assert told["making"] == told["made"] == 1
        assert set(told) <= {"making", "made", "waiting"}

    def test_it_is_made_ahead_of_time_by_the_command(self, tmp_path, monkeypatch, capsys, wheel):
        monkeypatch.setenv(CACHE, str(tmp_path))
        study = tmp_path / "study.yaml"
        study.write_text(
            "objective: train.py:train\nspace: {x: {type: float, low: 0, high: 1}}\n"
            "metric: loss\nmode: min\ntrials: 3\n"
            f"searcher: {{type: dragonfly, environment: {{requirements: ['{wheel}']}}}}\n"
        )
        assert main(["environments", "make", str(study)]) == 4
        said = capsys.readouterr()
        assert "made the environment of dragonfly" in said.err
        assert "dragonfly cannot be imported in its environment: ModuleNotFoundError" in said.err


class TestOdd(SearcherSuite):
    """Any library, as far as the process is concerned."""

    def make(self, **given):
        return Odd(**given)


def is_repeated(searcher, count):
    """Whether a second study goes the way of the first; failed and pending trials are in both."""
    space = Space({"rate": Float(1e-4, 1, log=True), "kind": Categorical(["a", "b", "c"])})
    endings = ["completed", "completed", "failed", "completed", "silent"]
    first, second = (
        list(play(searcher, space, History(METRIC, "min", 1), endings, count)) for _ in range(2)
    )
    return first == second and len(first) == count


QUICK = {"hp_tune_max_evals": 30, "acq_opt_max_evals": 30, "init_capital": 2}
"""Settings of Dragonfly with which a proposal takes a tenth of a second."""


@pytest.mark.timeout(600)
class TestDragonfly(SearcherSuite):
    conditional = False
    trials = 8
    examples = 3

    def make(self, **given):
        return Dragonfly(fit="ml", refit_every=3, bandit=QUICK, **given)

    def test_posterior_samples_repeat_too(self):
        settings = {**QUICK, "post_hp_tune_burn": 5, "post_hp_tune_offset": 1}
        assert is_repeated(Dragonfly(refit_every=2, bandit=settings), 8)


@pytest.mark.timeout(600)
class TestHEBO(SearcherSuite):
    conditional = False
    trials = 6
    examples = 2

    def make(self, **given):
        return HEBO(model="rf", rand_sample=2, generations=2, **given)

    def test_the_gaussian_process_repeats_too(self):
        assert is_repeated(HEBO(rand_sample=2, generations=2), 7)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "searcher",
    [
        Dragonfly(fit="ml"),
        HEBO(rand_sample=4, generations=30),
    ],
    ids=["dragonfly", "hebo"],
)
def test_a_study_finds_what_random_draws_would_not(searcher, tmp_path):
    def train(config):
        return (config["x"] - 0.3) ** 2 + (config["y"] - 0.8) ** 2

    result = tuneflow.tune(
        train,
        space={"x": Float(0, 1), "y": Float(0, 1)},
        metric="loss",
        mode="min",
        searcher=searcher,
        trials=16,
        storage=tmp_path,
        progress=False,
    )
    # Sixteen random draws come that near once in ten times.
    assert result.best_value < 0.002
