"""Flows that run: in threads on the server that Prefect starts by itself, and on Dask."""

from __future__ import annotations

import os
import signal
from collections import Counter
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

import tuneflow
from tests import trainer
from tests.airflow_studies import TRADES, trades
from tests.airflow_system import ROOT
from tests.clusters import await_workers, cluster, family, process, until, worker
from tests.end_to_end import (
    assert_whole,
    computed,
    entries,
    hold,
    let_go,
    notes,
    saved,
    steps,
)
from tests.prefect_server import flow_runs, logs, task_runs
from tests.storages import storage_of
from tuneflow.errors import ClusterError, StudyExistsError, TrialsFailedError
from tuneflow.prefect import tune_flow
from tuneflow.prefect.failures import RoundFailedError
from tuneflow.schedulers import ASHA, FIFO, PBT, SuccessiveHalving
from tuneflow.space import Float
from tuneflow.store import Store

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("storage"),
]

HALVING = SuccessiveHalving(max_resource=9, reduction_factor=3, n_trials=9)
STUDY = {
    "space": {"rate": Float(0.1, 0.9)},
    "metric": "loss",
    "mode": "min",
    "searcher": "random",
    "trials": 9,
}
STUDIES = {
    "halving": {"scheduler": HALVING, "trials": 9},
    "asha": {"scheduler": ASHA(max_resource=9, reduction_factor=3), "round_size": 4, "trials": 12},
    "pbt": {"scheduler": PBT(max_resource=6, interval=2, synchronous=True), "trials": 4},
}


def learns(folder):
    """Return an objective that takes its notes in a folder; see `tests.trainer.learn`."""
    folder.mkdir(exist_ok=True)

    def train(config):
        yield from trainer.learn(config, folder)

    return train


def breaks_at(folder, number):
    """Return an objective of which one trial fails while a file is there."""
    (folder / "broken").touch()

    def train(config):
        trial = tuneflow.current_trial().number
        trainer.note(folder / "begun", trial)
        print("trains", trial)  # noqa: T201 - this is what its log is made of
        if trial == number and (folder / "broken").exists():
            raise RuntimeError("the data is not there")
        return config["rate"]

    return train


def flow(train, folder, **changes):
    options = {"name": "tested", "storage": storage_of(folder), "trial_retry_delay": 0}
    return tune_flow(train, **{**STUDY, **options, **changes})


def inline(train, folder, **changes):
    """Run a study in rounds in this process; return its URL as a path."""
    options = {"round_size": "all", "executor": "inline", "progress": False, "name": "tested"}
    tuneflow.tune(train, storage=folder, **{**STUDY, **options, **changes})
    return folder / "tested"


@pytest.fixture
def study(tmp_path, storage):
    """The URL of the study of `flow`."""
    return Store(f"{storage_of(tmp_path)}/tested").url


def last_run():
    return flow_runs("tested")[-1]


@pytest.mark.usefixtures("no_prefect_api")
class TestThreads:
    @pytest.mark.parametrize("kind", STUDIES)
    def test_the_journal_is_that_of_the_same_study_inline(self, kind, tmp_path, study):
        changes = STUDIES[kind]
        expected = inline(learns(tmp_path / "inline"), tmp_path / "expected", **changes)
        best = flow(learns(tmp_path / "flow"), tmp_path, **changes)()
        assert entries(study) == entries(expected)
        found = tuneflow.load(study)
        assert best == {
            "study": study,
            "trial": found.best_trial.number,
            "value": found.best_value,
            "metric": "loss",
            "config": found.best_trial.params,
            "checkpoint": f"{study}/{found.best_trial.checkpoint}",
        }

    def test_of_two_metrics_and_a_bound_the_front_is_returned(self, tmp_path, study):
        changes = {**TRADES, "round_size": 4}
        expected = inline(trades, tmp_path / "expected", **changes)
        best = flow(trades, tmp_path, **changes)()
        assert entries(study) == entries(expected)
        found = tuneflow.load(study)
        feasible = {trial.number for trial in found.trials if trial.params["rate"] <= 0.4}
        front = {one["trial"]: one["values"] for one in best["front"]}
        assert front == {trial.number: found.values(trial) for trial in found.pareto_front}
        assert {best["trial"]} <= {*front} <= feasible < {trial.number for trial in found.trials}
        assert "broken" in logs(last_run().id, "bounds")

    def test_names_say_trial_and_rung_and_how_it_came_in(self, tmp_path, study):
        flow(learns(tmp_path / "flow"), tmp_path, **STUDIES["halving"])()
        states = task_runs(last_run().id, 9 + 3 + 1 + 2 * 3)
        assert set(states.values()) == {"Completed"}
        trials = tuneflow.load(study).trials
        best = max(trials, key=lambda trial: trial.resource)
        assert f"trial 0 · to 1 · rate {trials[0].params['rate']:.3g}" in states
        assert f"trial {best.number} · to 9 · rate {best.params['rate']:.3g} · promoted" in states
        rounds = {name for name in states if not name.startswith("trial")}
        assert rounds == {f"{task} round {n}" for task in ("search", "schedule") for n in range(3)}

    def test_the_log_of_a_round_is_a_table(self, tmp_path):
        flow(learns(tmp_path / "flow"), tmp_path, trials=3, scheduler=FIFO(max_resource=2))()
        said = logs(last_run().id, "verdict")
        assert "round 0:\ntrial  loss" in said
        assert "what trial 2 printed:\nlevel 1\nlevel 2" in said

    def test_a_trial_that_fails_is_a_failed_task_and_the_flow_goes_on(self, tmp_path, study):
        best = flow(breaks_at(tmp_path, 1), tmp_path, trials=4)()
        assert best["trial"] != 1
        states = task_runs(last_run().id, 6)
        assert Counter(states.values()) == {"Completed": 5, "Failed": 1}
        assert next(name for name in states if states[name] == "Failed").startswith("trial 1 ·")
        # The study has its own rules for that; Prefect does not try it again.
        assert notes(tmp_path, "begun").count(["1"]) == 1
        said = logs(last_run().id, "Traceback")
        assert "RuntimeError: the data is not there" in said
        assert "what trial 1 printed:\ntrains 1" in said

    def test_failures_are_tried_again_where_the_study_says_so(self, tmp_path, study):
        budget = {"max_failures_per_trial": 1}
        train = breaks_at(tmp_path, 1)
        flow(train, tmp_path, trials=4, budget=budget)()
        assert notes(tmp_path, "begun").count(["1"]) == 2
        names = task_runs(last_run().id, 9)
        assert any(name.endswith("· try 2") for name in names)

    def test_what_left_no_outcome_is_tried_again(self, tmp_path, study):
        """The first time that it is loaded the objective's module is not there."""
        (tmp_path / "train.py").write_text(
            "from pathlib import Path\n"
            f"seen = Path({str(tmp_path)!r}, 'seen')\n"
            "if not seen.exists():\n"
            "    seen.touch()\n"
            "    import nowhere\n"
            "def train(config):\n"
            "    return config['rate']\n"
        )
        flow(f"{tmp_path}/train.py:train", tmp_path, trials=1)()
        assert "No module named 'nowhere'" in logs(last_run().id, "nowhere")
        assert tuneflow.load(study).failed == []

    def test_nothing_but_failures_fails_the_flow_and_the_next_run_goes_on(self, tmp_path, study):
        train = breaks_at(tmp_path, 0)
        tested = flow(train, tmp_path, trials=1)
        with pytest.raises(RoundFailedError, match="all 1 trials of this round failed, trial 0"):
            tested()
        assert len(entries(study)) == 1
        (tmp_path / "broken").unlink()
        assert tested()["trial"] == 0
        assert entries(study) == entries(inline(train, tmp_path / "expected", trials=1))

    def test_a_retry_of_the_flow_goes_on_as_well(self, tmp_path, study):
        def train(config):
            trainer.note(tmp_path / "begun", tuneflow.current_trial().number)
            if len(notes(tmp_path, "begun")) <= 2:
                raise RuntimeError("the data is not there")
            return config["rate"]

        best = flow(train, tmp_path, trials=2, retries=1, retry_delay_seconds=0)()
        assert best["study"] == study
        assert last_run().run_count == 2
        assert tuneflow.load(study).failed == []

    def test_a_halted_study_fails_the_flow_and_the_next_run_goes_on(self, tmp_path, study):
        tested = flow(breaks_at(tmp_path, 1), tmp_path, trials=3, budget={"max_failures": 0})
        with pytest.raises(TrialsFailedError, match="was halted"):
            tested()
        (tmp_path / "broken").unlink()
        assert tested()["study"] == study
        assert tuneflow.load(study).failed == []

    def test_failed_trials_of_a_finished_study_are_tried_again_when_asked(self, tmp_path, study):
        tested = flow(breaks_at(tmp_path, 1), tmp_path, trials=3)
        tested()
        assert len(tuneflow.load(study).failed) == 1
        (tmp_path / "broken").unlink()
        tested(retry_failed=True)
        assert tuneflow.load(study).failed == []
        assert notes(tmp_path, "begun").count(["1"]) == 2

    def test_a_finished_study_is_not_run_again(self, tmp_path):
        tested = flow(breaks_at(tmp_path, 9), tmp_path, trials=2)
        assert tested() == tested()
        assert len(notes(tmp_path, "begun")) == 2
        assert list(task_runs(last_run().id, 1)) == ["search round 1"]

    def test_each_run_has_a_study_of_its_own_if_they_are_to_be_new(self, tmp_path, storage):
        tested = flow(breaks_at(tmp_path, 9), tmp_path, trials=2, existing="new")
        first, second = tested(), tested(name="other", storage=f"{storage}/elsewhere")
        runs = flow_runs("tested")[-2:]
        assert first["study"] == Store(f"{storage_of(tmp_path)}/tested-{runs[0].id}").url
        assert second["study"] == f"{storage}/elsewhere/other-{runs[1].id}"

    def test_a_run_may_have_other_trials_space_and_budget(self, tmp_path):
        space = {"rate": {"type": "float", "low": 0.5, "high": 0.6}}
        best = flow(breaks_at(tmp_path, 9), tmp_path)(
            trials=3, space=space, budget={"total_resource": 2}
        )
        found = tuneflow.load(best["study"])
        assert len(found.trials) in {2, 3}
        assert all(0.5 <= trial.params["rate"] <= 0.6 for trial in found.trials)
        assert found.study.budget.total_resource == 2

    def test_another_study_under_the_same_name_is_left_alone(self, tmp_path):
        flow(breaks_at(tmp_path, 9), tmp_path, trials=2)()
        with pytest.raises(StudyExistsError, match="it differs in trials"):
            flow(breaks_at(tmp_path, 9), tmp_path, trials=3)()

    @pytest.mark.local("is in memory, whatever the storage")
    def test_the_study_may_be_in_memory(self, tmp_path):
        tested = flow(breaks_at(tmp_path, 9), tmp_path, storage="memory://flow", trials=2)
        assert tested()["study"] == "memory://flow/tested"

    def test_no_more_trials_run_at_once_than_may(self, tmp_path):
        def train(config):
            mark = tmp_path / f"running-{tuneflow.current_trial().number}"
            mark.touch()
            trainer.note(tmp_path / "counts", len(list(tmp_path.glob("running-*"))))
            mark.unlink()
            return config["rate"]

        flow(train, tmp_path, max_concurrent=2)()
        counts = [int(count) for (count,) in notes(tmp_path, "counts")]
        assert len(counts) == 9
        assert max(counts) <= 2

    def test_a_machine_without_gpus_runs_no_trial_that_asks_for_one(self, tmp_path, monkeypatch):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        with pytest.raises(ClusterError, match="each trial asks for 1 GPU, and this machine"):
            flow(breaks_at(tmp_path, 9), tmp_path, resources={"gpu": 1})()
        assert not (tmp_path / "begun").exists()

    @pytest.mark.parametrize("isolation", ["thread", "process"])
    def test_trials_may_have_processes_of_their_own(self, isolation, tmp_path):
        def train(config):
            trainer.note(tmp_path / "pids", os.getpid())
            return config["rate"]

        flow(train, tmp_path, trials=2, isolation=isolation)()
        is_here = {int(pid) == os.getpid() for (pid,) in notes(tmp_path, "pids")}
        assert is_here == {isolation == "thread"}


@pytest.fixture(scope="module")
def two(prefect_api):
    """The address of a cluster of two worker processes, of two threads each."""
    with cluster(2, threads=2) as address:
        yield address


class TestDask:
    @pytest.mark.parametrize("kind", STUDIES)
    def test_the_journal_is_that_of_the_same_study_inline(self, kind, tmp_path, study, two):
        changes = STUDIES[kind]
        expected = inline(learns(tmp_path / "inline"), tmp_path / "expected", **changes)
        flow(learns(tmp_path / "flow"), tmp_path, task_runner=two, **changes)()
        assert entries(study) == entries(expected)
        workers = {outcome for _, _, outcome in steps(tmp_path / "flow")}
        assert os.getpid() not in workers

    def test_task_runs_have_the_names_and_states_of_their_trials(self, tmp_path, two):
        flow(breaks_at(tmp_path, 1), tmp_path, task_runner=two, trials=4)()
        states = task_runs(last_run().id, 6)
        failed = [name for name, state in states.items() if state == "Failed"]
        assert [name.partition(" ·")[0] for name in failed] == ["trial 1"]
        assert {"search round 0", "schedule round 0"} < set(states)
        said = logs(last_run().id, "Traceback")
        assert "RuntimeError: the data is not there" in said
        assert "what trial 1 printed:\ntrains 1" in said

    def test_a_retry_of_the_flow_goes_on(self, tmp_path, study, two):
        def train(config):
            trainer.note(tmp_path / "begun", tuneflow.current_trial().number)
            if len(notes(tmp_path, "begun")) <= 2:
                raise RuntimeError("the data is not there")
            return config["rate"]

        flow(train, tmp_path, task_runner=two, trials=2, retries=1, retry_delay_seconds=0)()
        assert last_run().run_count == 2
        assert tuneflow.load(study).failed == []

    def test_no_more_trials_run_at_once_than_may(self, tmp_path, two):
        def train(config):
            mark = tmp_path / f"running-{tuneflow.current_trial().number}"
            mark.touch()
            trainer.note(tmp_path / "counts", len(list(tmp_path.glob("running-*"))))
            mark.unlink()
            return config["rate"]

        flow(train, tmp_path, task_runner=two, max_concurrent=2)()
        counts = [int(count) for (count,) in notes(tmp_path, "counts")]
        assert len(counts) == 9
        assert max(counts) <= 2

    def test_trials_go_where_there_is_what_they_ask_for(self, tmp_path, study, two):
        with worker(two, "--resources", "GPU=1") as one:
            await_workers(two, 3)
            able = {one.pid, *(child.pid for child in family(one.pid))}
            flow(
                learns(tmp_path / "flow"),
                tmp_path,
                task_runner=two,
                trials=4,
                resources={"gpu": 1},
                scheduler=FIFO(max_resource=1),
            )()
        trained = steps(tmp_path / "flow")
        assert len(trained) == 4
        assert {pid for _, _, pid in trained} <= able

    def test_a_request_that_no_worker_can_meet_is_an_error(self, tmp_path, two):
        with pytest.raises(ClusterError, match="no worker can give a trial 1 thread, 7 GPU"):
            flow(learns(tmp_path / "flow"), tmp_path, task_runner=two, resources={"gpu": 7})()
        assert steps(tmp_path / "flow") == []

    def test_a_scheduler_that_does_not_answer_is_an_error(self, tmp_path, prefect_api):
        gone = "tcp://127.0.0.1:9"
        with pytest.raises(ClusterError, match=f"no Dask scheduler answers at {gone}"):
            flow(learns(tmp_path / "flow"), tmp_path, task_runner=gone)()
        assert last_run().state_name == "Failed"
        assert "Traceback" not in last_run().state.message

    @pytest.mark.local("is in memory, whatever the storage")
    def test_a_storage_that_workers_do_not_see_is_an_error(self, tmp_path, two):
        with pytest.raises(ValueError, match="is seen by this process only"):
            flow(learns(tmp_path), tmp_path, task_runner=two, storage=f"memory://{tmp_path.name}")()


@contextmanager
def started(folder, address=None):
    """A process that runs `prefect_flows.tested`; all notes are in a folder."""
    tested = {"TESTED_FOLDER": str(folder), "TESTED_STORAGE": storage_of(folder)}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **tested}
    if address is not None:
        environment["TESTED_CLUSTER"] = address
    with (
        (folder / "flow.log").open("w") as log,
        process(
            ROOT / "tests" / "prefect_flows.py", env=environment, stdout=log, stderr=log
        ) as one,
    ):
        yield one


@contextmanager
def held(folder, limit, address=None):
    """The same, once its trials wait in the middle after so many steps."""
    hold(folder, limit)
    with started(folder, address) as one:
        until(lambda: len(steps(folder)) >= limit or one.poll() is not None, 90, 0.05)
        assert one.poll() is None, (folder / "flow.log").read_text()
        yield one


def finish(one, folder):
    assert one.wait(90) == 0, (folder / "flow.log").read_text()


@pytest.fixture
def tested(tmp_path, storage):
    """The folder of the flow `prefect_flows.tested`, and the journal that its study must have."""
    folder = tmp_path / "tested"
    folder.mkdir()
    changes = {"scheduler": HALVING, "name": "tested"}

    def train(config):
        yield from trainer.learn(config, tmp_path / "inline")

    (tmp_path / "inline").mkdir()
    expected = entries(inline(train, tmp_path / "expected", **changes))
    url = f"{storage_of(folder)}/tested"
    return SimpleNamespace(folder=folder, url=url, expected=expected)


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["threads", "dask"])
class TestKills:
    @pytest.fixture
    def address(self, runner, request):
        return request.getfixturevalue("two") if runner == "dask" else None

    @pytest.mark.parametrize("limit", [4, 13])
    def test_after_kill_9_the_next_run_goes_on(self, limit, tested, prefect_api, address):
        with held(tested.folder, limit, address) as one:
            os.killpg(one.pid, signal.SIGKILL)
            one.wait()
            kept = saved(tested.url)
        let_go(tested.folder)
        with started(tested.folder, address) as one:
            finish(one, tested.folder)
        assert entries(tested.url) == tested.expected
        assert_whole(tested.url)
        assert all(computed(tested.folder)[level] == 1 for level in kept)

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_ends_it_at_the_next_report(self, number, tested, prefect_api, address):
        with held(tested.folder, 4, address) as one:
            os.kill(one.pid, number)
            let_go(tested.folder)
            assert one.wait(30) != 0
            kept = saved(tested.url)
        # Each that ran came to one more report at most.
        assert len(steps(tested.folder)) <= 8
        with started(tested.folder, address) as one:
            finish(one, tested.folder)
        assert entries(tested.url) == tested.expected
        assert all(computed(tested.folder)[level] == 1 for level in kept)
