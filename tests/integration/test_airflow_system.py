"""Studies in a whole Airflow, with a Dask cluster: watched, killed, cleared, mended."""

from __future__ import annotations

import functools
import json
import os
import re
import signal
from collections import Counter

import psutil
import pytest
from sqlalchemy import create_engine, text

import tuneflow
from tests.airflow_studies import PAUSE, learns, run_inline, trades
from tests.airflow_world import connect
from tests.clusters import until
from tests.end_to_end import (
    assert_whole,
    await_saved,
    computed,
    entries,
    hold,
    let_go,
    notes,
    outcomes,
    steps,
)

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]

SOON = 240.0
"""Seconds after which something that takes a few has not happened."""

TRIAL = "tune.stage_0.trial"


def inline_entries(name, folder):
    """Return the journal of a study as it is without Airflow and Dask."""
    (folder / "notes").mkdir()
    url = run_inline(name, learns(folder / "notes"), folder / "inline")
    return entries(url)


class TestPipeline:
    """A study of three rungs that nobody disturbs."""

    def test_a_rung_is_a_stage_and_the_stages_that_nobody_needs_are_skipped(
        self, airflow_system, rungs
    ):
        states = airflow_system.airflow.states("rungs", rungs)
        trials = [states.pop(f"tune.stage_{stage}.trial") for stage in range(3)]
        assert trials == [["success"] * 9, ["success"] * 3, ["success"]]
        assert states.pop("tune.best") == "success"
        for stage in range(3):
            assert states.pop(f"tune.stage_{stage}.search") == "success"
            assert states.pop(f"tune.stage_{stage}.schedule") == "success"
        assert {*states.values()} <= {"skipped"}

    def test_a_mapped_task_says_which_trial_it_is_and_what_came_of_it(self, airflow_system, rungs):
        for stage, ending in enumerate(("", " · promoted", " · promoted")):
            tasks = airflow_system.airflow.tasks("rungs", rungs, f"tune.stage_{stage}.trial")
            for task in tasks:
                pattern = rf"trial \d · rate 0\.\d+ · loss 0\.\d+{ending}"
                assert re.fullmatch(pattern, task["rendered_map_index"])

    def test_the_best_is_returned_and_told_to_who_waits_for_the_asset(self, airflow_system, rungs):
        best = airflow_system.airflow.xcom("rungs", rungs, "tune.best")
        result = tuneflow.load(airflow_system.url("rungs"))
        assert best["study"] == result.url
        assert best["trial"] == result.best_trial.number
        assert best["config"] == result.best_config
        assert best["metric"] == "loss"
        assert best["value"] == result.best_value
        assert best["checkpoint"].startswith(f"{result.url}/trials/")
        (event,) = airflow_system.airflow.asset_events("rungs")
        assert event["extra"] == best

    def test_nothing_is_computed_twice_and_the_journal_is_that_of_an_inline_run(
        self, airflow_system, rungs, tmp_path
    ):
        assert {*computed(airflow_system.notes("rungs")).values()} == {1}
        assert_whole(airflow_system.url("rungs"))
        assert entries(airflow_system.url("rungs")) == inline_entries("rungs", tmp_path)

    def test_the_table_and_the_output_of_trials_are_in_the_logs(self, airflow_system, rungs):
        table = airflow_system.airflow.task_log("rungs", rungs, "tune.stage_0.schedule")
        assert all(re.search(rf"\b{number}\b.*0\.\d+", table) for number in range(9))
        printed = airflow_system.airflow.task_log("rungs", rungs, TRIAL, map_index=4)
        assert "level 1" in printed

    def test_what_goes_through_xcom_is_small_with_100_trials(self, airflow_system):
        run_id = airflow_system.complete("hundred")
        assert airflow_system.airflow.states("hundred", run_id)[TRIAL] == ["success"] * 5
        assert len(tuneflow.load(airflow_system.url("hundred")).trials) == 100
        query = (
            "SELECT sum(octet_length(value::text)) FROM xcom "
            "WHERE dag_id = 'hundred' AND run_id = :run_id GROUP BY task_id, map_index"
        )
        with create_engine(airflow_system.airflow.database).connect() as database:
            sizes = database.execute(text(query), {"run_id": run_id}).scalars().all()
        assert len(sizes) == 5 + 2 + 1
        assert max(sizes) < 48_000


class TestSeveralMetrics:
    """Studies of two metrics and a bound."""

    def test_in_rounds_the_front_is_returned_and_the_journal_is_that_of_an_inline_run(
        self, airflow_system, tmp_path
    ):
        run_id = airflow_system.complete("trades")
        url = airflow_system.url("trades")
        expected = run_inline("trades", trades, tmp_path)
        assert entries(url) == entries(expected)
        best = airflow_system.airflow.xcom("trades", run_id, "tune.best")
        assert_has_the_front(best, tuneflow.load(url))
        table = airflow_system.airflow.task_log("trades", run_id, "tune.stage_0.schedule")
        assert re.search(r"trial +error +size +at +bounds", table)

    def test_streaming_the_front_is_returned_as_well(self, airflow_system):
        run_id = airflow_system.complete("trades_streaming")
        best = airflow_system.airflow.xcom("trades_streaming", run_id, "tune")
        assert_has_the_front(best, tuneflow.load(airflow_system.url("trades_streaming")))


def assert_has_the_front(best, result):
    """Compare what a task has returned with a study of which some trials break the bound."""
    feasible = [trial for trial in result.trials if trial.params["rate"] <= 0.4]
    assert 0 < len(feasible) < len(result.trials) == 8
    assert [one["trial"] for one in best["front"]] == [t.number for t in result.pareto_front]
    assert {one["trial"] for one in best["front"]} <= {trial.number for trial in feasible}
    assert best["trial"] == result.best_trial.number
    assert best["values"] == result.values(result.best_trial)


class TestWorkerSlots:
    def test_forty_trials_train_at_once_and_hold_none_of_four_worker_slots(self, airflow_system):
        airflow = airflow_system.airflow
        folder = airflow_system.notes("idle")
        run_id = airflow_system.trigger("idle")
        until(lambda: len(notes(folder, "begun")) == 40, SOON, 0.2)
        deferred = {"deferred": 40}
        until(lambda: Counter(airflow.states("idle", run_id).get(TRIAL, ())) == deferred, SOON, 1)
        (folder / "go").touch()
        assert (
            airflow.all("/dags/~/dagRuns/~/taskInstances", "task_instances", state="running") == []
        )
        assert Counter(airflow.states("idle", run_id)[TRIAL]) == deferred
        assert outcomes(airflow_system.url("idle")) == {}, "all of them are training now"
        airflow.await_run("idle", run_id)
        told = [json.loads(data) for data in outcomes(airflow_system.url("idle")).values()]
        assert max(one["started"] for one in told) < min(one["ended"] for one in told)
        assert all(one["ended"] - one["started"] >= PAUSE for one in told)


class TestKills:
    def test_whatever_is_killed_each_finished_segment_ran_once_and_the_journal_is_the_same(
        self, airflow_system, tmp_path
    ):
        airflow, dask = airflow_system.airflow, airflow_system.dask
        folder, url = airflow_system.notes("kills"), airflow_system.url("kills")
        airflow_system.ready("kills")
        hold(folder, 1)
        run_id = airflow.trigger("kills")

        def at_step(number):
            """Wait until so many levels have begun, and the newest waits to be let on."""
            until(lambda: len(steps(folder)) == number, SOON, 0.2)
            await_saved(folder, url)

        def finished(count):
            until(lambda: len(outcomes(url)) == count, SOON, 0.2)

        at_step(9)
        deferred = {"deferred": 9}
        until(lambda: Counter(airflow.states("kills", run_id)[TRIAL]) == deferred, SOON, 1)
        airflow.kill("triggerer")
        hold(folder, 10)
        finished(9)
        airflow.restart("triggerer")

        at_step(12)
        airflow.kill("scheduler")
        hold(folder, 18)
        finished(12)
        airflow.restart("scheduler")

        at_step(18)
        trial, level, pid = steps(folder)[-1]
        os.kill(pid, signal.SIGKILL)
        at_step(19)
        assert steps(folder)[-1][:2] == (trial, level)

        hold(folder, 21)
        at_step(21)
        dask.restart()
        at_step(22)

        let_go(folder)
        airflow.await_run("kills", run_id)
        again = {done: count for done, count in computed(folder).items() if count > 1}
        assert again == {(trial, 6): 2, (trial, 8): 2}, "what was under way when it was killed"
        assert_whole(url)
        assert entries(url) == inline_entries("kills", tmp_path)


@pytest.fixture(scope="class")
def tended(airflow_system):
    """A run in which one trial was cleared, and another one marked failed, while they trained."""
    airflow, folder = airflow_system.airflow, airflow_system.notes("again")
    airflow_system.ready("again")
    hold(folder, 1)
    run_id = airflow.trigger("again")
    until(lambda: len(steps(folder)) == 3, SOON, 0.2)
    # Airflow tells a trigger that its task was killed only once a triggerer has it.
    for trial in range(3):
        log = functools.partial(airflow.task_log, "again", run_id, TRIAL, map_index=trial)
        until(lambda: f"waiting for trial {trial} on Dask" in log(), SOON, 1)  # noqa: B023
    processes = {trial: pid for trial, _, pid in steps(folder)}
    airflow.clear("again", run_id, (TRIAL, 1))
    airflow.mark("failed", "again", run_id, TRIAL, 2)
    until(lambda: not any(psutil.pid_exists(processes[trial]) for trial in (1, 2)), SOON, 0.2)
    assert psutil.pid_exists(processes[0])
    until(lambda: len(steps(folder)) == 4, SOON, 0.2)
    let_go(folder)
    airflow.await_run("again", run_id)
    return run_id


class TestAgain:
    """One study, and what people do with its runs."""

    def test_clearing_a_trial_runs_it_again_and_only_that_one(self, airflow_system, tended):
        count = computed(airflow_system.notes("again"))
        assert [count[0, level] for level in (1, 2, 3)] == [1, 1, 1]
        assert [count[1, level] for level in (1, 2, 3)] == [2, 1, 1]
        tasks = airflow_system.airflow.tasks("again", tended, TRIAL)
        tries = {task["map_index"]: task["try_number"] for task in tasks}
        assert (tries[0], tries[1]) == (1, 2)

    def test_a_trial_that_is_marked_failed_ends_on_dask_and_counts_as_lost(
        self, airflow_system, tended
    ):
        count = computed(airflow_system.notes("again"))
        assert [count[2, level] for level in (1, 2, 3)] == [2, 1, 1]
        states = airflow_system.airflow.states("again", tended)
        assert states[TRIAL] == ["success", "success", "failed"]
        assert states["tune.stage_1.trial"] == ["success"], "tried again, as after any loss"

    def test_a_run_that_succeeded_computes_nothing_when_all_of_it_is_cleared(
        self, airflow_system, tended
    ):
        def all_there_is():
            states = airflow_system.airflow.states("again", tended)
            url = airflow_system.url("again")
            return states, entries(url), outcomes(url), steps(airflow_system.notes("again"))

        before = all_there_is()
        airflow_system.airflow.clear_run("again", tended)
        airflow_system.airflow.await_run("again", tended)
        assert all_there_is() == before

    def test_a_new_run_goes_on_with_the_study_and_finds_it_finished(self, airflow_system, tended):
        before = steps(airflow_system.notes("again"))
        run_id = airflow_system.complete("again")
        assert steps(airflow_system.notes("again")) == before
        best = [airflow_system.airflow.xcom("again", run, "tune.best") for run in (tended, run_id)]
        assert best[0] == best[1]

    def test_a_new_run_can_be_another_study_with_params_of_its_own(self, airflow_system, tended):
        space = {"rate": {"type": "float", "low": 0.5, "high": 0.6}}
        run_id = airflow_system.complete("again", existing="new", trials=2, space=space)
        best = airflow_system.airflow.xcom("again", run_id, "tune.best")
        result = tuneflow.load(best["study"])
        assert result.url != airflow_system.url("again")
        assert len(result.trials) == 2
        assert all(0.5 <= trial.params["rate"] <= 0.6 for trial in result.trials)


MENDED = ("no_connection", "no_cluster", "no_package", "no_objective")


@pytest.fixture(scope="class")
def mended(airflow_system):
    """The runs of four studies, each of which lacks something."""
    connect(airflow_system.airflow, "dask_down", 9)
    return {name: airflow_system.trigger(name) for name in MENDED}


class TestBadInput:
    def test_a_wrong_spec_is_an_import_error_that_names_the_field(self, airflow_system):
        errors = until(airflow_system.airflow.import_errors, SOON, 0.5)
        ((file, trace),) = errors.items()
        assert file.endswith("wrong_spec.py")
        assert "scheduler.reduction_factor" in trace.splitlines()[-1]

    def test_a_connection_that_is_missing_is_named_and_can_be_added(self, airflow_system, mended):
        assert sentence(airflow_system, mended, "no_connection", "search") == (
            "there is no Airflow connection 'dask_late'; add it: airflow connections add dask_late "
            "--conn-type dask --conn-host HOST --conn-port 8786"
        )
        connect(airflow_system.airflow, "dask_late", airflow_system.dask.port)
        airflow_system.airflow.await_run("no_connection", mended["no_connection"])

    def test_a_cluster_that_is_down_is_named_and_can_come_up(self, airflow_system, mended):
        said = sentence(airflow_system, mended, "no_cluster", "search")
        assert said.startswith("no Dask scheduler answers at tcp://127.0.0.1:9 within 10 s")
        airflow_system.airflow.change_connection(
            "dask_down", conn_type="dask", host="127.0.0.1", port=airflow_system.dask.port
        )
        airflow_system.airflow.await_run("no_cluster", mended["no_cluster"])

    def test_a_package_that_is_missing_on_the_workers_can_be_installed(
        self, airflow_system, mended
    ):
        said = sentence(airflow_system, mended, "no_package", "trial", 0)
        assert said == "trial 0 failed: ModuleNotFoundError: No module named 'late_package'"
        airflow_system.install("late_package", "def loss(config):\n    return config['rate']\n")
        airflow_system.airflow.await_run("no_package", mended["no_package"])

    def test_an_objective_that_cannot_be_imported_there_can_be_put_there(
        self, airflow_system, mended
    ):
        said = sentence(airflow_system, mended, "no_objective", "trial", 0)
        assert re.fullmatch(
            r"trial 0: the worker tcp://\S+ has no module 'late_objective'; install it there, or "
            r"give the objective as file\.py:function, which travels",
            said,
        )
        airflow_system.install("late_objective", "def train(config):\n    return config['rate']\n")
        airflow_system.airflow.await_run("no_objective", mended["no_objective"])


def sentence(system, runs, name, task, map_index=-1):
    """Return why the first try of a task of stage 0 failed, as its log has it."""
    task_id = f"tune.stage_0.{task}"

    def was_tried():
        tasks = system.airflow.tasks(name, runs[name], task_id)
        return [one for one in tasks if one["map_index"] == map_index and one["try_number"] > 1]

    until(was_tried, SOON, 0.5)
    log = system.airflow.task_log(name, runs[name], task_id, 1, map_index)
    (said,) = re.findall(r"^AirflowException: (.*)$", log, re.MULTILINE)
    return said


class TestOperator:
    def test_a_whole_study_survives_the_worker_that_drives_it(self, airflow_system):
        airflow, folder = airflow_system.airflow, airflow_system.notes("whole")
        airflow_system.ready("whole")
        hold(folder, 12)
        run_id = airflow.trigger("whole")
        until(lambda: len(steps(folder)) >= 12, SOON, 0.2)
        until(lambda: airflow.states("whole", run_id) == {"tune": "deferred"}, SOON, 0.5)
        hold(folder, 16)
        progress = r"\d of 9 trials done, \d running"
        until(lambda: re.search(progress, airflow.task_log("whole", run_id, "tune")), SOON, 1)
        (worker,) = [
            worker
            for worker, keys in airflow_system.dask.tasks().items()
            if any("-driver-" in str(key) for key in keys)
        ]
        os.kill(airflow_system.dask.pid_of(worker), signal.SIGKILL)
        let_go(folder)
        airflow.await_run("whole", run_id)
        result = assert_whole(airflow_system.url("whole"))
        best = airflow.xcom("whole", run_id, "tune")
        assert best["config"] == result.best_config
        (event,) = airflow.asset_events("whole")
        assert event["extra"] == best
