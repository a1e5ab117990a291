"""The steps of a retune as operators, executed one by one with no Airflow around them."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.sdk import Asset, AssetAlias
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowSkipException,
    DownstreamTasksSkipped,
)

from tests.airflow_operators import DAG_ID, TaskInstance, within
from tests.places import new_url
from tuneflow.airflow.making import make_template
from tuneflow.airflow.retune_operators import (
    AnnounceOperator,
    BeginOperator,
    ChallengeOperator,
    JudgeOperator,
    PrepareOperator,
)
from tuneflow.driving import drive, make_executor
from tuneflow.last_place import LastPlace
from tuneflow.objective.reference import load_objective
from tuneflow.retune.line import Line

TASKS = ["begin", "champion", "prepare", "search", "challenge", "challenger"]
FINE = dict.fromkeys(TASKS, "success")
ASSET = Asset("champion")


class Task(TaskInstance):
    """A task instance that finds what those before it have pushed."""

    def __init__(self, xcoms, states=()):
        super().__init__(states=states)
        self.xcoms = xcoms

    def xcom_push(self, key, value):
        super().xcom_push(key, value)
        self.xcoms[self.task_id, key] = value

    def xcom_pull(self, task_ids, key="return_value", map_indexes=None):
        assert map_indexes == -1
        return self.xcoms.get((task_ids, key))


class Retuning:
    """The steps of one run after another on a line.

    Args:
        best: which option is the best one.
    """

    def __init__(self, best="a"):
        self.best = best
        self.storage = new_url()
        self.run_id = "first"
        self.xcoms = {}
        self.events = {}

    @property
    def line(self):
        return Line.open(f"{self.storage}/digits")

    @property
    def records(self):
        return [(record.type, record.retune) for record in self.line.log.records]

    def train(self, config):
        return 0.1 if config["option"] == self.best else 0.5

    def begin(self, run_id=None, run_type="manual", stages=5, params=(), **options):
        """Begin a retune, as a run of its own unless it is the one that is under way."""
        if run_id not in (None, self.run_id):
            self.run_id, self.xcoms = run_id, {}
        choices = {"type": "categorical", "choices": ["a", "b"]}
        spec = {"metric": "loss", "mode": "min", "searcher": "grid", "round_size": "all"}
        template = make_template("train.py:train", Path.cwd(), space={"option": choices}, **spec)
        operator = BeginOperator(
            task_id="begin",
            template=template,
            options={"test": "permutation", "confidence": 0.8, **options},
            stages=stages,
            line_name="digits",
            storage=self.storage,
            space=template.spec["space"],
            data_version="today",
        )
        operator.measuring = ["champion"]
        return self.execute(operator, run_type=run_type, params=params)

    def run(self, study):
        """Run one of the studies of the retune under way."""
        opened = self.line.retune(self.xcoms["begin", "return_value"]["retune"]).study(study)
        place = LastPlace(str(Path.cwd()), None)
        drive(opened, load_objective(self.train), make_executor("inline"), place=place)

    def prepare(self):
        return self.execute(PrepareOperator(task_id="prepare", begin="begin"))

    def challenge(self):
        operator = ChallengeOperator(task_id="challenge", begin="begin")
        operator.measuring = ["challenger"]
        return self.execute(operator)

    def judge(self, **states):
        operator = JudgeOperator(task_id="judge", begin="begin", tasks=TASKS)
        return self.execute(operator, states={**FINE, **states})

    def announce(self, outlet=ASSET):
        operator = AnnounceOperator(
            task_id="announce", begin="begin", judge="judge", outlets=[outlet]
        )
        return self.execute(operator)

    def execute(self, operator, states=(), run_type="manual", params=()):
        """Execute an operator; return what it returned, also where that skips others."""
        task = Task(self.xcoms, states)
        task.task_id = operator.task_id
        self.events = defaultdict(lambda: SimpleNamespace(extra=None))
        context = {
            "ti": task,
            "run_id": self.run_id,
            "dag": SimpleNamespace(dag_id=DAG_ID),
            "dag_run": SimpleNamespace(run_type=run_type),
            "params": dict(params),
            "outlet_events": self.events,
        }
        try:
            said = within(operator, lambda: operator.execute(context))
        except DownstreamTasksSkipped as skipped:
            self.skipped = skipped.tasks
            return self.xcoms.get((operator.task_id, "return_value"))
        self.skipped = []
        self.xcoms[operator.task_id, "return_value"] = said
        return said

    def complete(self, run_id="first"):
        """Take all steps of a run; return the verdict."""
        self.begin(run_id)
        self.rest()
        return self.judge()

    def rest(self):
        """Take the steps between the first and the last one."""
        for study, step in (("champion", self.prepare), ("search", self.challenge)):
            if study not in self.skipped:
                self.run(study)
            step()
        if "challenger" not in self.skipped:
            self.run("challenger")


@pytest.fixture
def retuning():
    return Retuning()


class TestBegin:
    def test_it_says_which_retune_it_is_and_where_its_studies_are(self, retuning):
        said = retuning.begin()
        line = retuning.line.url
        assert said == {"retune": 1, "storage": f"{line}/retunes/000001", "line": line}

    def test_without_a_champion_the_tasks_that_measure_it_are_skipped(self, retuning):
        retuning.begin()
        assert retuning.skipped == ["champion"]
        retuning.rest()
        retuning.judge()
        retuning.begin("second")
        assert retuning.skipped == []

    @pytest.mark.parametrize(
        ("run_type", "trigger"),
        [("scheduled", "schedule"), ("asset_triggered", "asset"), ("backfill", "backfill")],
    )
    def test_it_writes_down_what_set_it_off_and_which_data_it_is(self, retuning, run_type, trigger):
        retuning.begin(run_type=run_type, params={"data_version": "v7"})
        (began,) = retuning.line.log.records
        said = {key: began.data[key] for key in ("run", "trigger", "data_version")}
        assert said == {"run": "first", "trigger": trigger, "data_version": "v7"}

    def test_tried_again_it_is_the_same_retune(self, retuning):
        assert retuning.begin() == retuning.begin()
        assert retuning.records == [("began", 1)]

    def test_a_run_that_has_its_verdict_begins_nothing_also_when_others_came_after_it(
        self, retuning
    ):
        retuning.complete()
        retuning.complete("second")
        before = retuning.records
        assert retuning.begin("first")["retune"] == 1
        assert retuning.records == before

    def test_a_run_that_was_overtaken_fails_for_good(self, retuning):
        retuning.begin()
        retuning.begin("second")
        with pytest.raises(AirflowFailException, match=r"was overtaken by retune 2 \(run second\)"):
            retuning.begin("first")
        assert retuning.records == [("began", 1), ("began", 2)]

    def test_what_the_dag_has_no_stages_for_is_refused_before_anything_is_written(self, retuning):
        with pytest.raises(AirflowFailException, match="can need up to 1 stages and the DAG has 0"):
            retuning.begin(stages=0)
        assert retuning.records == []

    def test_params_that_cannot_work_are_refused_before_anything_is_written(self, retuning):
        params = {"space": {"rate": {"type": "float", "low": 0, "high": 1}}}
        with pytest.raises(
            AirflowFailException, match=r"space\.rate: .* too many values for a grid"
        ):
            retuning.begin(params=params)
        assert retuning.records == []


class TestSteps:
    def test_there_is_no_search_before_the_champion_is_measured(self, retuning):
        retuning.complete()
        retuning.begin("second")
        with pytest.raises(AirflowFailException, match="has not finished"):
            retuning.prepare()

    def test_a_step_of_a_retune_that_was_not_begun_is_skipped(self, retuning):
        for step in (retuning.prepare, retuning.challenge, retuning.judge):
            with pytest.raises(AirflowSkipException, match="begin has begun no retune"):
                step()

    @pytest.mark.parametrize("step", ["prepare", "challenge", "judge"])
    def test_no_step_of_a_retune_that_was_overtaken_is_taken(self, retuning, step):
        retuning.begin()
        retuning.line.log.begin(run="another")
        with pytest.raises(AirflowFailException, match="was overtaken by retune 2"):
            getattr(retuning, step)()

    def test_where_nothing_better_was_found_the_tasks_that_would_measure_it_are_skipped(
        self, retuning
    ):
        retuning.complete()
        retuning.begin("second")
        retuning.run("champion")
        retuning.prepare()
        retuning.run("search")
        assert retuning.challenge() is None
        assert retuning.skipped == ["challenger"]


class TestJudge:
    def test_it_returns_the_verdict_and_its_parts(self, retuning):
        said = retuning.complete()
        assert (said["promoted"], said["retune"]) == (True, 1)
        assert said["champion"]["config"] == {"option": "a"}
        assert retuning.xcoms["judge", "champion"] == said["champion"]
        assert retuning.judge() == said, "and the same again"

    def test_a_step_that_failed_is_no_verdict(self, retuning):
        retuning.begin()
        retuning.prepare()
        retuning.run("search")
        # Without the challenger's study this looks as if it had no usable value.
        with pytest.raises(
            AirflowFailException, match=r"^challenge has failed; the champion stays"
        ):
            retuning.judge(challenge="failed", challenger="upstream_failed")
        assert retuning.records == [("began", 1), ("failed", 1)]

    def test_a_study_that_is_not_finished_is_no_verdict(self, retuning):
        retuning.begin()
        retuning.prepare()
        with pytest.raises(AirflowFailException, match="search has not finished, it is new"):
            retuning.judge()
        assert retuning.records == [("began", 1), ("failed", 1)]

    def test_the_record_of_a_failure_says_what_the_task_said(self, retuning):
        retuning.complete()
        retuning.begin("second")
        with pytest.raises(AirflowFailException):
            retuning.prepare()
        with pytest.raises(AirflowFailException):
            retuning.judge(prepare="failed", search="upstream_failed")
        reason = retuning.line.log.records[-1].data["reason"]
        assert re.fullmatch(r"prepare has failed: \S+/000002/champion has not finished, .*", reason)

    def test_the_first_failure_is_the_cause(self, retuning):
        retuning.begin()
        with pytest.raises(AirflowFailException, match=r"^search has failed"):
            retuning.judge(search="failed", challenge="upstream_failed", challenger="failed")

    def test_a_retune_that_failed_can_be_gone_on_with(self, retuning):
        retuning.begin()
        with pytest.raises(AirflowFailException):
            retuning.judge(prepare="failed")
        assert retuning.begin()["retune"] == 1
        retuning.rest()
        assert retuning.judge()["promoted"]
        assert retuning.records == [("began", 1), ("failed", 1), ("promoted", 1)]

    def test_where_nothing_was_begun_it_names_the_task(self, retuning):
        with pytest.raises(AirflowFailException, match="no retune was begun, for begin has not"):
            retuning.judge(begin="failed", prepare="upstream_failed")

    def test_a_verdict_stands_whatever_is_cleared_and_fails_later(self, retuning):
        said = retuning.complete()
        assert retuning.judge(search="failed") == said


class TestAnnounce:
    def test_an_event_says_who_is_the_new_champion(self, retuning):
        said = retuning.complete()
        assert retuning.announce() == said
        assert retuning.events[ASSET].extra == said

    def test_an_alias_gets_an_event_of_an_asset_that_is_named_by_the_line(self, retuning):
        said = retuning.complete()
        added = []
        alias = AssetAlias("champions")
        events = SimpleNamespace(add=lambda asset, extra: added.append((asset.uri, extra)))
        operator = AnnounceOperator(
            task_id="announce", begin="begin", judge="judge", outlets=[alias]
        )
        task = Task(retuning.xcoms)
        within(operator, lambda: operator.execute({"ti": task, "outlet_events": {alias: events}}))
        assert added == [(retuning.line.url, said)]

    def test_where_the_champion_stays_there_is_no_event(self, retuning):
        retuning.complete()
        retuning.complete("second")
        with pytest.raises(AirflowSkipException, match="the champion stays: the search found"):
            retuning.announce()
        assert retuning.events[ASSET].extra is None

    def test_a_champion_that_was_replaced_since_is_not_announced_when_its_task_is_cleared(
        self, retuning
    ):
        retuning.complete()
        first = dict(retuning.xcoms)
        retuning.best = "b"
        assert retuning.complete("second")["promoted"]
        retuning.xcoms = first
        with pytest.raises(AirflowSkipException, match="another champion since"):
            retuning.announce()
