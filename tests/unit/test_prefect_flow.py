"""What `tune_flow` makes, and what it refuses to make; nothing is run."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import cloudpickle
import pytest
from prefect import Flow
from prefect.exceptions import ParameterTypeError
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner
from prefect_dask import DaskTaskRunner

from tests import trainer
from tests.prefect_server import free_port
from tuneflow.errors import ClusterError, ObjectiveError, SpecError, StorageError
from tuneflow.prefect import tune_flow
from tuneflow.prefect.ending import end_here
from tuneflow.prefect.failures import TrialFailedError, is_mendable, is_without_outcome
from tuneflow.prefect.fan_out import FanOut
from tuneflow.prefect.runner import is_dask
from tuneflow.prefect.settings import TrialSettings
from tuneflow.prefect.signals import signals_later
from tuneflow.remote.code import Code
from tuneflow.remote.segments import controls
from tuneflow.space import Float

STUDY = {
    "space": {"x": Float(0, 1)},
    "metric": "loss",
    "mode": "min",
    "searcher": "random",
    "trials": 4,
    "storage": "memory://flows",
}


def train(config):
    """Learn x."""
    return config["x"]


def flow(objective=train, **changes):
    return tune_flow(objective, **{**STUDY, **changes})


class TestFlow:
    def test_is_a_flow_of_prefects(self):
        made = flow()
        assert isinstance(made, Flow)
        assert made.name == "train"
        assert made.description == "Learn x."

    def test_may_have_several_metrics_and_constraints(self):
        goals = {"metric": ["loss", "size"], "mode": ["min", "max"], "constraints": ["ms <= 9"]}
        made = flow("train.py:train", name="two", **goals)
        assert made.description == "Tunes two: minimises loss and maximises size."
        with pytest.raises(SpecError, match=r"constraints\[0\]: 'ms < 9' is not a bound"):
            flow(constraints=["ms < 9"])

    def test_without_an_objective_it_decorates_one(self):
        @tune_flow(**STUDY, name="decorated")
        def learn(config):
            """Learn by decoration."""
            return config["x"]

        assert isinstance(learn, Flow)
        assert (learn.name, learn.__name__) == ("decorated", "learn")

    def test_is_found_again_by_the_module_and_the_variable_that_it_is_in(self):
        made = flow("train.py:train", name="tune-digits")
        assert (made.__module__, made.__name__) == (__name__, "tune_digits")

    def test_is_of_another_version_when_the_file_it_is_written_in_is_another(self):
        ours = flow().version
        assert ours == flow().version
        assert ours != Flow(TrialSettings.to_text).version

    def test_files_are_looked_for_beside_the_one_it_is_written_in(self):
        assert flow("train.py:train").plan.template.base == Path(__file__).parent

    def test_functions_of_its_own_file_are_called_the_same_wherever_that_is_run(self):
        # As a script it is __main__, and Prefect loads it under its own name.
        assert flow().plan.template.spec["objective"] == {"callable": "train"}

    def test_functions_of_other_modules_have_their_names(self):
        objective = flow(trainer.breaks).plan.template.spec["objective"]
        assert objective == {"function": "tests.trainer:breaks"}

    def test_prefect_takes_options(self):
        made = flow(retries=3, flow_run_name="nightly", log_prints=True)
        assert (made.retries, made.flow_run_name, made.log_prints) == (3, "nightly", True)

    def test_other_options_make_another_flow_of_the_same_study(self):
        made = flow()
        changed = made.with_options(retries=2, name="other")
        assert (changed.retries, changed.name) == (2, "other")
        assert changed.plan is made.plan
        assert type(changed) is type(made)

    def test_hooks_of_the_user_are_called_beside_ours(self):
        def tell(flow, flow_run, state):
            pass

        made = flow(on_cancellation=[tell])
        assert made.on_cancellation_hooks[1:] == [tell]
        assert len(made.on_crashed_hooks) == 1

    def test_travels_to_the_process_that_a_served_flow_runs_in(self):
        arrived = cloudpickle.loads(cloudpickle.dumps(flow()))
        assert arrived.plan.template.train({"x": 3}) == 3
        assert arrived.validate_parameters({"trials": 7})["trials"] == 7
        assert arrived.with_options(name="x").plan.name == "train"


class TestForm:
    def test_shows_what_a_run_does_unless_it_is_told_otherwise(self):
        shown = flow(existing="new").parameters.properties
        defaults = {name: part.get("default") for name, part in shown.items()}
        assert defaults == {
            "trials": 4,
            "space": None,
            "budget": None,
            "existing": "new",
            "retry_failed": False,
            "name": "train",
            "storage": "memory://flows",
        }

    def test_explains_every_field(self):
        shown = flow().parameters.properties
        assert all(part["description"] for part in shown.values())
        assert shown["existing"]["enum"] == ["resume", "new"]

    @pytest.mark.parametrize(
        "params", [{"trials": 0}, {"trials": "many"}, {"existing": "perhaps"}, {"seed": 3}]
    )
    def test_refuses_what_cannot_be(self, params):
        with pytest.raises((ParameterTypeError, TypeError)):
            flow().validate_parameters(params)


class TestMistakes:
    """Each is one sentence where the flow is made, which names the argument."""

    @pytest.mark.parametrize(
        ("changes", "field", "said"),
        [
            ({"mode": "best"}, "mode", "best"),
            ({"space": {"x": {"type": "float", "low": 1, "high": 0}}}, "space.x.low", "1"),
            ({"round_size": None}, "round_size", "a flow needs rounds"),
            ({"existing": "perhaps"}, "existing", "perhaps"),
            ({"isolation": "container"}, "isolation", "container"),
            ({"resources": {"gpus": 1}}, "resources.gpus", "did you mean 'gpu'?"),
            ({"storage": "ftp://x"}, "storage", "ftp"),
            ({"storage": "block:"}, "storage", "names no block"),
            ({"name": "a/b"}, "name", "'/'"),
            ({"max_concurrent": 0}, "max_concurrent", "0"),
            ({"trial_retries": -1}, "trial_retries", "-1 is not a whole number"),
            ({"trial_retries": 1.5}, "trial_retries", "1.5 is not a whole number"),
            ({"trial_retry_delay": "1 s"}, "trial_retry_delay", "not a number of seconds"),
            ({"task_runner": "dask"}, "task_runner", "write tcp://host:8786"),
            ({"task_runner": 4}, "task_runner", "4 runs no tasks"),
            ({"max_concurent": 4}, "max_concurent", "did you mean 'max_concurrent'?"),
            ({"retrys": 4}, "retrys", "did you mean 'retries'?"),
        ],
    )
    def test_of_an_argument(self, changes, field, said):
        with pytest.raises(SpecError) as caught:
            flow(**changes)
        assert caught.value.field == field
        assert said in str(caught.value)

    @pytest.mark.parametrize("objective", ["train", 7, {"functoin": "train.py:train"}])
    def test_of_an_objective(self, objective):
        with pytest.raises(SpecError, match="objective"):
            flow(objective)

    def test_of_a_decorator(self):
        with pytest.raises(SpecError, match="mode"):
            tune_flow(**{**STUDY, "mode": "best"})(train)


class TestRunner:
    def test_is_threads_of_the_flow_as_many_as_may_run_at_once(self):
        runner = flow(max_concurrent=3).task_runner
        assert isinstance(runner, ThreadPoolTaskRunner)
        assert runner._max_workers == 3

    def test_has_no_more_threads_than_the_machine_has_room_for(self, monkeypatch):
        monkeypatch.setattr("os.cpu_count", lambda: 8)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
        assert flow().task_runner._max_workers == 8
        assert flow(resources={"cpu": 3}).task_runner._max_workers == 2
        assert flow(resources={"gpu": 1}).task_runner._max_workers == 3
        assert flow(resources={"gpu": 0.5}).task_runner._max_workers == 6

    def test_is_dask_for_an_address(self):
        runner = flow(task_runner="tcp://127.0.0.1:8786").task_runner
        assert is_dask(runner)
        assert runner.address == "tcp://127.0.0.1:8786"

    def test_is_what_the_user_says(self):
        for given in (ProcessPoolTaskRunner(2), DaskTaskRunner(address="tcp://127.0.0.1:1")):
            assert flow(task_runner=given).task_runner is given
        assert isinstance(flow(task_runner=ThreadPoolTaskRunner).task_runner, ThreadPoolTaskRunner)

    def test_on_dask_needs_a_server_that_workers_reach(self, no_prefect_api):
        with pytest.raises(SpecError, match="PREFECT_API_URL is not set; start one"):
            flow(task_runner="tcp://127.0.0.1:8786")()

    def test_needs_a_server_that_answers(self):
        url = f"http://127.0.0.1:{free_port()}/api"
        with (
            temporary_settings({PREFECT_API_URL: url}),
            pytest.raises(ClusterError, match=f"no Prefect server answers at {url}"),
        ):
            flow()()


class TestRetries:
    def states(self):
        errors = (TrialFailedError("its own"), StorageError("away"), ObjectiveError("no module"))
        return [SimpleNamespace(data=error) for error in errors]

    def test_trials_are_tried_again_unless_they_failed_by_their_own_code(self):
        assert [is_without_outcome(None, None, s) for s in self.states()] == [False, True, True]

    def test_other_tasks_are_tried_again_where_time_may_mend_it(self):
        assert [is_mendable(None, None, s) for s in self.states()] == [False, True, False]


class TestSettings:
    def test_survive_as_a_text(self):
        code = Code({"function": "m:f"}, pickled="YWJj", uploads=("d1",))
        settings = TrialSettings(
            "memory://s", "loss", "block:b", code, "process", 2.5, on_dask=True
        )
        assert TrialSettings.from_text(settings.to_text()) == settings

    def test_make_the_order_of_a_segment(self):
        code = Code({"function": "m:f"})
        order = TrialSettings("memory://s", "l", "memory://", code, "thread", 2, False).order(7, 1)
        assert (order.study, order.trial, order.segment) == ("memory://s", 7, 1)
        assert (order.code, order.isolation, order.timeout) == (code, "thread", 2)


class TestFanOut:
    ITEMS = tuple({"trial": number, "segment": 0, "label": ""} for number in range(8))

    def run(self, work, limit, threads=8):
        heard = []
        with ThreadPoolExecutor(threads) as pool:
            fan = FanOut(lambda item: pool.submit(work, item), limit)
            fan.run(self.ITEMS, lambda item, future: heard.append((item["trial"], future.result())))
        return heard

    def test_tells_of_each_that_has_ended(self):
        heard = self.run(lambda item: item["trial"] ** 2, None)
        assert sorted(heard) == [(number, number**2) for number in range(8)]

    def test_runs_all_at_once_without_a_limit(self):
        together = threading.Barrier(8, timeout=20)
        assert len(self.run(lambda item: together.wait(), None)) == 8

    def test_never_runs_more_at_once_than_it_may(self):
        most, now, lock = 0, 0, threading.Lock()
        pairs = threading.Barrier(2, timeout=20)

        def work(item):
            nonlocal most, now
            with lock:
                now += 1
                most = max(most, now)
            pairs.wait()
            with lock:
                now -= 1

        self.run(work, 2)
        assert most == 2

    def test_knows_what_was_under_way_when_it_was_interrupted(self):
        released = threading.Event()

        def interrupted(item, future):
            raise KeyboardInterrupt

        with ThreadPoolExecutor(8) as pool:
            fan = FanOut(
                lambda item: pool.submit(lambda: item["trial"] == 3 or released.wait(20)), None
            )
            with pytest.raises(KeyboardInterrupt):
                fan.run(self.ITEMS, interrupted)
            assert sorted(item["trial"] for item in fan.running.values()) == [0, 1, 2, 4, 5, 6, 7]
            released.set()


class TestSignals:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_wait_until_a_trial_is_submitted(self, number):
        def interrupt(number, frame):
            raise KeyboardInterrupt

        def submit():
            with signals_later():
                os.kill(os.getpid(), number)
                submitted.append(True)

        before, submitted = signal.signal(number, interrupt), []
        try:
            with pytest.raises(KeyboardInterrupt):
                submit()
            assert submitted
            assert signal.getsignal(number) is interrupt
        finally:
            signal.signal(number, before)

    def test_are_left_to_the_main_thread(self):
        before = signal.getsignal(signal.SIGTERM)
        with ThreadPoolExecutor(1) as pool:
            handler = pool.submit(self.handler_meanwhile).result()
        assert handler is before

    def handler_meanwhile(self):
        with signals_later():
            return signal.getsignal(signal.SIGTERM)


class TestEnding:
    def test_threads_are_told_and_waited_for_and_what_waits_never_begins(self):
        told, begun = [], threading.Event()

        def trial(key):
            with controls.listening(key) as control:
                woken = threading.Event()
                control.on_request(woken.set)
                begun.set()
                assert woken.wait(20)
                told.append((key, control.requested))

        with ThreadPoolExecutor(1) as pool:
            futures = [pool.submit(trial, key) for key in ("first", "second")]
            begun.wait(20)
            end_here([SimpleNamespace(wrapped_future=f) for f in futures], ["first", "second"])
            assert told == [("first", "abandon")]
            assert futures[1].cancelled()
