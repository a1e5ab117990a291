"""The search and schedule operators: what they make of a study, however often they are run."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    DownstreamTasksSkipped,
)

from tests.airflow_operators import Stages, leave
from tests.places import journal_bytes
from tuneflow.budget import Budget
from tuneflow.outcomes import write_outcome
from tuneflow.pipeline.best import best_of
from tuneflow.pipeline.runs import begin_run, first_round
from tuneflow.rounds import open_round
from tuneflow.schedulers import PBT, SuccessiveHalving
from tuneflow.store import Store
from tuneflow.trial import Outcome, Report, outcome_path

HALVING = SuccessiveHalving(max_resource=9, reduction_factor=3)
FAILED = ("ValueError", "this cannot be learned")
LATER = ["tune.stage_1.search", "tune.stage_1.trial", "tune.stage_1.schedule"]


@pytest.fixture
def stages():
    return Stages()


@pytest.fixture
def opened(stages):
    return stages.begin()


@pytest.fixture
def halving():
    return Stages(scheduler=HALVING, trials=9)


def rung(stages, opened, number, level, skip=()):
    """Leave the outcomes of a round: the lower a trial's number, the better."""
    for segment in open_round(opened, number).segments:
        if segment.trial not in skip:
            leave(opened, *segment.key, value=float(segment.trial), level=level)


def played(stages, levels=(1, 3, 9)):
    """Play a study through; return what each schedule said, and the study."""
    opened, said = stages.begin(), []
    for stage, level in enumerate(levels):
        rung(stages, opened, stage, level)
        try:
            said.append(stages.close(stage, later_tasks=LATER))
        except DownstreamTasksSkipped:
            said.append(stages.context["ti"].pushed["return_value"])
        opened.refresh()
    return said, opened


class TestSchedule:
    def test_it_says_who_goes_on_who_has_failed_and_who_is_best(self, halving):
        opened = halving.begin()
        rung(halving, opened, 0, 1, skip={8})
        leave(opened, 8, failure=FAILED)
        said = halving.close(0)
        assert said.pop("best")["trial"] == 0
        stopped = said.pop("stopped")
        assert said == {"stage": 0, "state": "running", "promoted": [0, 1, 2], "failed": [8]}
        assert set(stopped) <= set(range(3, 8))

    def test_when_the_study_is_finished_it_says_so_and_skips_what_follows(self, stages, opened):
        for number in range(3):
            leave(opened, number)
        with pytest.raises(DownstreamTasksSkipped) as caught:
            stages.close(0, later_tasks=LATER)
        assert caught.value.tasks == LATER
        assert stages.context["ti"].pushed["return_value"]["state"] == "finished"

    def test_run_again_it_says_the_same_and_writes_nothing(self, halving):
        said, opened = played(halving)
        before = journal_bytes(opened.store)
        assert [halving.close(stage) for stage in range(3)] == said
        assert journal_bytes(opened.store) == before

    def test_a_table_of_the_rung_is_in_the_log(self, halving, capfd):
        opened = halving.begin()
        rung(halving, opened, 0, 1, skip={8})
        leave(opened, 8, failure=FAILED)
        halving.close(0)
        lines = [line.split() for line in "".join(capfd.readouterr()).splitlines()]
        start = next(i for i, line in enumerate(lines) if line[:2] == ["trial", "loss"])
        table = lines[start : start + 10]
        assert table[0] == ["trial", "loss", "at", "verdict", "configuration"]
        assert [row[0] for row in table[1:]] == [str(number) for number in range(9)]
        assert [row[3] for row in table[1:4]] == ["promoted"] * 3
        assert table[9][2] == "failed"
        assert table[1][4] == "rate"

    def test_a_table_shows_a_member_of_a_population_as_it_was_before_it_copied_another(self, capfd):
        stages = Stages(scheduler=PBT(max_resource=4, interval=2, synchronous=True), trials=4)
        opened = stages.begin()
        for segment in open_round(opened, 0).segments:
            value, checkpoint = float(segment.trial), f"trials/{segment.trial}.json"
            leave(opened, *segment.key, value=value, level=2, checkpoint=checkpoint)
        assert stages.close(0)["promoted"] == [0, 1, 2]
        log = "".join(capfd.readouterr())
        (row,) = [line for line in log.splitlines() if "cloned from trial 0" in line]
        assert row.split()[:3] == ["3", "3", "2"]

    def test_without_any_outcome_nothing_is_taken_in(self, stages, opened):
        with pytest.raises(AirflowException, match="none of the 3 trials of this stage"):
            stages.close(0)
        assert stages.opened().rounds == 1

    def test_when_all_trials_have_failed_nothing_is_taken_in(self, stages, opened):
        for number in range(3):
            leave(opened, number, failure=FAILED)
        with pytest.raises(AirflowException, match=r"all 3 trials .* trial 0 with ValueError"):
            stages.close(0)
        assert stages.opened().rounds == 1

    def test_a_stage_that_fails_as_a_whole_does_not_end_a_study_that_has_a_value(self, halving):
        opened = halving.begin()
        rung(halving, opened, 0, 1)
        halving.close(0)
        for number in range(3):
            leave(opened, number, 1, failure=FAILED)
        assert halving.close(1)["failed"] == [0, 1, 2]

    def test_a_trial_without_an_outcome_counts_as_lost_when_others_have_one(self, stages, opened):
        leave(opened, 0)
        leave(opened, 1)
        said = stages.close(0)
        assert said["failed"] == [2]
        assert said["state"] == "running", "it is tried again"

    @pytest.mark.parametrize(
        ("stage", "search", "error"),
        [
            (0, "failed", AirflowFailException),
            (1, "failed", AirflowFailException),
            (0, "upstream_failed", AirflowFailException),
            (1, "upstream_failed", AirflowSkipException),
            (0, "skipped", AirflowSkipException),
        ],
    )
    def test_it_fails_or_is_skipped_as_its_search_was(self, stages, opened, stage, search, error):
        with pytest.raises(error):
            stages.close(stage, search=search)

    def test_a_search_that_was_only_marked_as_done_is_named(self, stages):
        opened = stages.begin()
        with pytest.raises(AirflowFailException, match=r"clear tune\.stage_1\.search"):
            stages.close(1)
        assert opened.rounds == 1


class TestHalting:
    @pytest.fixture
    def halted(self):
        """A study that has been halted because two of its trials failed."""
        stages = Stages(budget=Budget(max_failures=1))
        opened = stages.begin()
        leave(opened, 0)
        leave(opened, 1, failure=FAILED)
        leave(opened, 2, failure=FAILED)
        with pytest.raises(AirflowFailException, match=r"was halted: .* clear this task"):
            stages.close(0)
        return stages

    def test_a_task_that_only_finds_it_halted_leaves_it_so(self, halted):
        with pytest.raises(AirflowFailException, match="was halted"):
            halted.close(0, try_number=1)
        assert halted.opened().history.state == "halted"

    def test_clearing_the_task_tries_the_failed_trials_again(self, halted):
        assert halted.close(0, try_number=2, later_tasks=LATER)["state"] == "halted"
        assert halted.execute(halted.search(1)) == []
        assert halted.close(1, later_tasks=LATER)["state"] == "running"
        opened = halted.opened()
        assert [segment.key for segment in open_round(opened, 2).segments] == [(1, 1), (2, 1)]

    def test_a_new_run_begins_with_the_trials_that_failed(self, halted):
        opened = halted.opened()
        first = begin_run(opened, "dag", "another run", retry_failed=False)
        assert [segment.key for segment in open_round(opened, first).segments] == [(1, 1), (2, 1)]


class TestRuns:
    def test_a_new_run_goes_on_at_the_round_that_is_open(self, halving):
        opened = halving.begin()
        rung(halving, opened, 0, 1)
        halving.close(0)
        assert begin_run(halving.opened(), "dag", "another run", retry_failed=False) == 1

    def test_a_run_that_is_repeated_begins_where_it_began(self, halving):
        _, opened = played(halving)
        assert begin_run(opened, "dag", "run", retry_failed=False) == 0
        assert begin_run(opened, "dag", "another run", retry_failed=False) == 3
        assert first_round(opened.store, "dag", "run") == 0

    def test_trials_that_failed_in_a_finished_study_are_tried_again_when_the_user_says_so(
        self, stages, opened
    ):
        leave(opened, 0)
        leave(opened, 1)
        leave(opened, 2, failure=FAILED)
        stages.close(0)
        opened = stages.opened()
        assert opened.history.state == "finished"
        assert begin_run(opened, "dag", "second", retry_failed=False) == 1
        assert begin_run(opened, "dag", "third", retry_failed=True) == 2
        assert begin_run(opened, "dag", "third", retry_failed=True) == 2
        assert [segment.key for segment in open_round(opened, 2).segments] == [(2, 1)]

    def test_in_a_study_that_goes_on_they_are_tried_again_in_the_stage_after_the_first(self):
        stages = Stages(trials=4, round_size=2)
        opened = stages.begin()
        leave(opened, 0)
        leave(opened, 1, failure=FAILED)
        stages.close(0)
        begin_run(stages.opened(), "dag", "second", retry_failed=True)
        stages.run_id = "second"
        leave(opened, 2)
        leave(opened, 3, failure=FAILED)
        stages.close(0, retry_failed=True)
        again = open_round(stages.opened(), 2)
        assert [segment.key for segment in again.segments] == [(1, 1)]

    @pytest.mark.parametrize(
        ("good", "retry_failed", "kept"),
        [(0, False, []), (1, False, [0, 1, 2]), (1, True, [0]), (0, True, [])],
    )
    def test_failures_of_the_open_round_are_forgotten_when_they_must_be_or_are_to_be(
        self, stages, opened, good, retry_failed, kept
    ):
        for number in range(3):
            leave(opened, number, failure=None if number < good else FAILED)
        begin_run(opened, "dag", "second", retry_failed=retry_failed)
        paths = [outcome_path(number, 0) for number in range(3)]
        assert [n for n, path in enumerate(paths) if opened.store.exists(path)] == kept

    def test_a_run_that_is_repeated_forgets_nothing(self, stages, opened):
        for number in range(3):
            leave(opened, number, failure=FAILED)
        begin_run(opened, "dag", "run", retry_failed=False)
        assert opened.store.exists(outcome_path(0, 0))


class TestSearch:
    def finished(self, stages, count):
        """Have all trials of the first round done, so that no cluster is needed."""
        opened = stages.begin()
        for number in range(count):
            leave(opened, number)

    def test_it_returns_an_item_for_each_trial(self, stages):
        self.finished(stages, 3)
        items = stages.execute(stages.search())
        assert [item["segments"] for item in items] == [[[0, 0]], [[1, 0]], [[2, 0]]]
        assert all(item["label"].startswith(f"trial {n} · rate 0.") for n, item in enumerate(items))
        assert {item["note"] for item in items} == {""}

    def test_it_says_which_trials_were_promoted(self, halving):
        played(halving)
        assert [item["note"] for item in halving.execute(halving.search(1))] == ["promoted"] * 3

    @pytest.mark.parametrize(("per_task", "sizes"), [(2, [2, 2, 1]), (7, [5]), (1, [1] * 5)])
    def test_trials_can_share_a_task(self, per_task, sizes):
        stages = Stages(trials=5)
        self.finished(stages, 5)
        items = stages.execute(stages.search(trials_per_task=per_task))
        assert [len(item["segments"]) for item in items] == sizes

    @pytest.mark.parametrize("per_task", [None, 1])
    def test_there_are_never_more_items_than_airflow_can_map(self, per_task, monkeypatch):
        monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", "4")
        stages = Stages(trials=10)
        self.finished(stages, 10)
        items = stages.execute(stages.search(trials_per_task=per_task))
        assert [len(item["segments"]) for item in items] == [3, 3, 3, 1]

    def test_a_hundred_trials_with_many_parameters_are_small_in_xcom(self):
        space = {f"parameter_{n}": {"type": "float", "low": 0.0, "high": 1.0} for n in range(30)}
        stages = Stages(trials=100, space=space)
        self.finished(stages, 100)
        items = stages.execute(stages.search())
        assert len(items) == 100
        assert len(json.dumps(items)) < 48_000
        assert max(len(item["label"]) for item in items) < 250
        assert len(json.dumps(stages.close(0))) < 48_000

    def test_a_study_that_needs_more_stages_is_refused_before_it_is_created(self, halving):
        with pytest.raises(AirflowFailException, match="can need up to 3 stages and the DAG has 2"):
            halving.execute(halving.search(stages=2))
        assert Store(halving.storage).list() == []

    def test_a_param_that_cannot_work_is_named(self, stages):
        with pytest.raises(AirflowFailException, match=r"space\.rate"):
            stages.execute(stages.search(), space={"rate": {"type": "float", "low": 2, "high": 1}})

    def test_another_study_of_the_same_name_is_refused(self, stages, opened):
        with pytest.raises(AirflowFailException, match="differs in trials"):
            stages.execute(stages.search(), trials=7)

    def test_a_stage_that_the_study_does_not_come_to_is_skipped(self, halving):
        played(halving)
        with pytest.raises(AirflowSkipException):
            halving.execute(halving.search(4))

    def test_a_stage_before_which_another_is_open_names_what_to_clear(self, halving):
        halving.begin()
        with pytest.raises(AirflowFailException, match="clear its schedule task"):
            halving.execute(halving.search(2))

    def test_the_url_of_the_study_is_known_to_others(self, stages):
        self.finished(stages, 3)
        stages.execute(stages.search())
        assert stages.context["ti"].pushed["study"] == f"{stages.storage}/study"


class TestMadeByOthers:
    """A study that a task before the first one makes."""

    @pytest.fixture
    def stages(self):
        stages = Stages()
        stages.template = replace(stages.template, is_made=True)
        return stages

    def test_where_there_is_no_such_study_there_is_nothing_to_do(self, stages):
        with pytest.raises(
            AirflowSkipException, match=r"there is no study .*: nothing is to be run"
        ):
            stages.execute(stages.search())

    @pytest.mark.parametrize("search", ["skipped", "upstream_failed"])
    def test_without_its_search_a_stage_is_no_failure_of_its_own(self, stages, search):
        with pytest.raises(AirflowSkipException):
            stages.close(0, search=search)

    def test_params_of_the_run_are_those_of_another_study(self, stages):
        opened = stages.begin()
        for trial in range(3):
            leave(opened, trial)
        items = stages.execute(stages.search(), trials=50, existing="new")
        assert [item["segments"] for item in items] == [[[0, 0]], [[1, 0]], [[2, 0]]]

    def test_all_trials_may_fail_where_that_says_something(self, stages):
        opened = stages.begin()
        for trial in range(3):
            leave(opened, trial, failure=("ValueError", "no"))
        with pytest.raises(AirflowException, match="all 3 trials of this stage failed"):
            stages.close(0)
        stages.template = replace(stages.template, may_all_fail=True)
        assert stages.close(0)["failed"] == [0, 1, 2]


class TestSeveralMetrics:
    def test_the_tasks_of_a_study_of_two_are_those_of_one(self):
        goals = {"metric": ["loss", "size"], "mode": ["min", "max"], "constraints": ["ms <= 9"]}
        stages = Stages(**goals)
        opened = stages.begin()
        for number in range(3):
            metrics = {"loss": float(number), "size": float(number), "ms": 8.0 + number}
            report = Report(1, metrics)
            write_outcome(opened.store, Outcome(number, 0, "completed", (report,)))
        items = stages.execute(stages.search(0))
        assert len(items) == 3
        answers = stages.execute(stages.trial((0, 0), (1, 0)))
        assert [answer["others"] for answer in answers] == [
            {"size": 0.0, "ms": 8.0},
            {"size": 1.0, "ms": 9.0},
        ]
        assert stages.context["label"].endswith("best loss 0")
        closed = stages.close(0)
        assert closed["best"]["trial"] == 0
        best = best_of(stages.opened())
        assert [one["trial"] for one in best["front"]] == [0, 1]
