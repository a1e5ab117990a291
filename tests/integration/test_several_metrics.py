"""Studies of several metrics where the edges are real: the command, and worker processes."""

from __future__ import annotations

import json
import shutil

import pytest

import tuneflow
from tests.command import error_of, run, url_of, write
from tests.command import tuneflow as command
from tuneflow.searchers import TPE, Optuna
from tuneflow.space import Float

pytestmark = pytest.mark.integration

TRAIN = """
def train(config):
    x = config["x"]
    return {"accuracy": x, "size": 4 * x * x, "ms": 20 * x}
"""
GOALS = {
    "metric": ["accuracy", "size"],
    "mode": ["max", "min"],
    "constraints": ["ms <= 15"],
    "scheduler": None,
    "searcher": "random",
    "trials": 12,
}
SEARCHERS = {
    "tpe": TPE(n_startup_trials=5),
    "nsgaii": Optuna(sampler="nsgaii", options={"population_size": 6}),
}


@pytest.fixture
def folder(tmp_path, storage):
    (tmp_path / "train.py").write_text(TRAIN)
    return tmp_path


class TestTheCommand:
    def test_a_study_file_of_two_metrics_is_run_and_looked_at(self, folder):
        write(folder, **GOALS)
        done = run(folder, "--json")
        assert done.returncode == 0, done.stderr
        status = json.loads(done.stdout)
        assert status["metric"] == ["accuracy", "size"]
        assert "Pareto front: " in done.stderr

        url = url_of(folder)
        best = json.loads(command("best", url, "--json", cwd=folder).stdout)
        rows = json.loads(command("trials", url, "--json", cwd=folder).stdout)
        feasible = [row for row in rows if row["metrics.ms"] <= 15]
        assert 0 < len(feasible) < 12
        assert [row["feasible"] for row in rows] == [row in feasible for row in rows]
        # Here every trial trades one metric for the other.
        assert [one["trial"] for one in best["front"]] == [row["trial"] for row in feasible]
        assert best["value"] == max(row["value"] for row in feasible)
        assert f"Pareto front: {len(feasible)} trials" in command("best", url, cwd=folder).stdout
        assert f"front      {len(feasible)} trials" in command("status", url, cwd=folder).stdout
        done = command("report", url, "-o", "report.html", cwd=folder)
        assert done.returncode == 0, done.stderr
        assert "Pareto front" in (folder / "report.html").read_text()

    def test_a_study_without_a_feasible_trial_fails_and_says_how_near_it_came(self, folder):
        write(folder, **{**GOALS, "constraints": ["ms <= -1"]})
        done = run(folder, "--no-progress")
        assert done.returncode == 3
        assert "keeps the bounds ms <= -1 (trial " in error_of(done)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"mode": ["max"]}, "mode: metric has 2 and mode has 1 entries"),
            ({"searcher": {"type": "optuna", "sampler": "cmaes"}}, "searcher.sampler: 'cmaes'"),
            ({"constraints": ["ms < 15"]}, "constraints[0]: 'ms < 15' is not a bound"),
        ],
    )
    def test_a_mistake_is_an_error_before_any_trial(self, folder, changes, message):
        write(folder, **{**GOALS, **changes})
        done = command("validate", "study.yaml", cwd=folder)
        assert done.returncode == 2
        assert message in error_of(done)


@pytest.mark.parametrize("name", SEARCHERS)
def test_rounds_on_a_cluster_are_those_of_one_process_and_a_reader_goes_on_as_they_would(
    name, storage
):
    def train(config):
        x, y = config["x"], config["y"]
        return {"a": x * x + y * y, "b": (x - 1) ** 2 + y * y, "c": 0.3 - x}

    def tuned(folder, executor):
        return tuneflow.tune(
            train,
            space={"x": Float(-1, 2), "y": Float(-1, 1)},
            metric=["a", "b"],
            mode=["min", "min"],
            constraints=["c <= 0"],
            searcher=SEARCHERS[name],
            trials=24,
            round_size=4,
            storage=f"{storage}/{folder}",
            executor=executor,
            name="two",
            progress=False,
        )

    there = tuned("dask", {"type": "dask", "workers": 2})
    here = tuned("inline", "inline")
    assert there.history.facts == here.history.facts
    assert [trial.number for trial in there.pareto_front] == [t.number for t in here.pareto_front]
    assert len(there.pareto_front) > 1
    read = tuneflow.load(f"{storage}/dask/two")
    again = read.study.searcher.suggest(read.study.space, read.history)
    assert again == here.study.searcher.suggest(here.study.space, here.history)


@pytest.mark.slow
@pytest.mark.local("is about the folder that the example leaves")
def test_the_example_finds_what_accuracy_costs(tmp_path):
    shutil.copytree("examples/sparse", tmp_path / "sparse")
    arguments = ("run", "sparse/study.yaml", "--storage", "results")
    done = command(*arguments, cwd=tmp_path, timeout=180)
    assert done.returncode == 0, done.stderr
    result = tuneflow.load(tmp_path / "results" / "sparse")
    assert len(result.trials) == 60
    found = sorted(tuple(result.values(trial).values()) for trial in result.pareto_front)
    assert len(found) >= 5
    assert [weights for _, weights in found] == sorted(weights for _, weights in found)
    smallest, best = found[0], found[-1]
    assert smallest[0] >= 0.8
    assert best[0] >= 0.94
    assert smallest[1] < best[1] / 2
