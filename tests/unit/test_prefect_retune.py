"""A retune as a flow: what is known before any of it runs, and what is shown of it."""

from __future__ import annotations

import html
import json
from dataclasses import replace
from uuid import uuid4

import pytest
from markdown_it import MarkdownIt
from prefect.client.schemas.objects import CreatedBy, FlowRun
from prefect.states import Failed

from tests.champions import champion, clock
from tests.prefect_retunes import RETUNE, chooses
from tuneflow.errors import SpecError, StorageError, StudyConflictError
from tuneflow.jsonio import loads
from tuneflow.opened import OpenStudy
from tuneflow.prefect import retune_flow
from tuneflow.prefect.retune_pages import verdict_page
from tuneflow.prefect.retune_plan import run_of
from tuneflow.prefect.retune_run import trigger_of
from tuneflow.prefect.retune_tasks import may_be_mended, plan_text
from tuneflow.retune.champions import ChampionLog
from tuneflow.retune.line import Line
from tuneflow.retune.plan import Limits, Plan
from tuneflow.retune.stages import begin
from tuneflow.retune.verdict import compare
from tuneflow.schedulers import SuccessiveHalving
from tuneflow.space import Categorical

MARKDOWN = MarkdownIt("commonmark").enable("table")


def train(config):
    """Say how good it is."""
    return config["option"]


def made(train=train, **settings):
    return retune_flow(train, **{**RETUNE, "storage": f"memory://{uuid4().hex}", **settings})


class TestTheFlow:
    def test_it_is_called_after_its_line_and_described_by_its_objective(self):
        flow = made(name="digits")
        assert flow.name == "retune-digits"
        assert flow.description == "Say how good it is."

    def test_a_decorator_makes_one_that_stands_for_its_objective(self, tmp_path):
        @retune_flow(**{**RETUNE, "name": None, "storage": tmp_path})
        def learn(config):
            return config["option"]

        assert learn.name == "retune-learn"
        assert (learn.fn.__name__, learn.fn.__module__) == ("learn", __name__)

    def test_a_run_can_be_told_what_its_search_and_its_data_are(self):
        parameters = made(trials=7).parameters.properties
        wanted = ["data_version", "trials", "space", "budget", "trigger", "run"]
        assert list(parameters) == wanted
        assert parameters["trials"]["default"] == 7

    def test_options_of_flows_pass_through(self):
        told = []

        def tell(flow, run, state):
            told.append(run)

        flow = made(retries=3, on_failure=[tell], log_prints=True)
        assert (flow.retries, flow.log_prints) == (3, True)
        assert flow.on_failure_hooks == [tell]

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"seeds": 1}, "seeds"),
            ({"margin": -1}, "margin"),
            ({"confidence": 95}, "confidence"),
            ({"test": "u"}, "retune.test"),
            ({"limits": {"cost": 3}}, "cost_per_hour"),
            ({"limits": {"total": 3}}, "retune.limits.total: unknown key"),
            ({"defaults": {"rate": 3}}, "rate"),
            ({"round_size": None}, "a flow needs rounds"),
            ({"name": "a/b"}, "name"),
            ({"on_failed": []}, "did you mean 'on_failure'"),
            ({"confidance": 0.9}, "did you mean 'confidence'"),
            ({"trial_retries": -1}, "trial_retries"),
            ({"task_runner": "127.0.0.1:8786"}, "tcp://"),
        ],
    )
    def test_what_cannot_work_is_refused_where_the_flow_is_made(self, settings, said):
        with pytest.raises(SpecError, match=said):
            made(**settings)

    def test_limits_that_leave_nothing_for_a_search_are_refused_where_it_is_made(self):
        scheduler = SuccessiveHalving(max_resource=9, reduction_factor=3)
        with pytest.raises(SpecError, match="leaves nothing for a search"):
            made(scheduler=scheduler, limits=Limits(total_resource=54))


class TestThePlanOfARun:
    def test_constants_say_which_data_are_meant(self):
        space = {
            "option": Categorical(("a", "b")),
            "data": "s3://bucket/{data_version}.parquet",
            "nested": {"days": ["{data_version}", 7], "more": Categorical((1, 2))},
        }
        plan = made(space=space).plan.plan({}, "2026-11-23")
        constants = plan.check().space.to_json()
        assert constants["data"] == "s3://bucket/2026-11-23.parquet"
        assert constants["nested"]["days"] == ["2026-11-23", 7]

    def test_so_do_those_that_a_run_is_told(self):
        plan = made().plan.plan({"space": {"more": "of {data_version}"}}, "v7")
        assert plan.check().space.to_json()["more"] == "of v7"

    def test_parameters_change_the_search_and_nothing_else(self):
        flow = made(trials=9, budget={"total_resource": 9}, searcher="random", margin=0.1)
        params = {"trials": 5, "budget": {"wall_clock": 60}}
        plan = flow.plan.plan(params, "v1")
        study = plan.check()
        assert (study.trials, study.budget.wall_clock) == (5, 60)
        assert study.budget.total_resource == 9
        assert (plan.seeds, plan.margin) == (3, 0.1)

    def test_a_wrong_one_is_named(self):
        with pytest.raises(SpecError, match="budget"):
            made().plan.plan({"budget": {"total": 3}}, "v1")

    def test_it_travels_as_a_text(self):
        plan = made(limits={"wall_clock": 60}).plan.plan({}, "v1")
        assert Plan.from_json(loads(plan_text(plan))).to_json() == plan.to_json()

    def test_a_run_is_told_from_others_by_its_id_unless_it_has_a_name(self):
        assert run_of("id", {"run": None}) == "id"
        assert run_of("id", {"run": "monday"}) == "monday"


class TestWhereARunIs:
    """The study to be stopped when the run is cancelled."""

    def flow(self, tmp_path):
        return made(chooses(tmp_path), storage=tmp_path)

    def test_before_it_has_begun_it_is_at_no_study(self, tmp_path):
        plan = self.flow(tmp_path).plan
        assert plan.study_url("run", {}) == f"file://{tmp_path}/weekly"

    def test_it_is_at_the_newest_study_of_its_own_retune(self, tmp_path):
        plan = self.flow(tmp_path).plan
        for run in ("mine", "another"):
            retune = begin(plan.line_url, plan.plan({}, "v1"), run=run)
            study = retune.plan.check()
            for phase in ("champion", "search") if run == "mine" else ("champion",):
                OpenStudy.create(made_study(study, phase), retune.url)
        line = f"file://{tmp_path}/weekly"
        assert plan.study_url("mine", {}) == f"{line}/retunes/000001/search"
        assert plan.study_url("id", {"run": "another"}) == f"{line}/retunes/000002/champion"

    def test_a_run_that_has_its_verdict_is_still_at_its_retune(self, tmp_path):
        plan = self.flow(tmp_path).plan
        url, wanted = plan.line_url, plan.plan({}, "v1")
        first = begin(url, wanted, run="mine")
        first.line.log.append("kept", KEPT, retune=1)
        assert begin(url, wanted, run="mine").number == 1
        assert Line.open(url).begun_by("mine").number == 1
        assert Line.open(url).begun_by("nobody's") is None


KEPT = {"champion": None, "challenger": None, "comparison": None, "reason": "so"}


def made_study(study, name):
    return replace(study, name=name)


class TestWhatSetItOff:
    @pytest.mark.parametrize(
        ("creator", "trigger"),
        [("SCHEDULE", "schedule"), ("AUTOMATION", "event"), ("DEPLOYMENT", "manual")],
    )
    def test_is_what_has_created_the_run(self, creator, trigger):
        run = FlowRun(flow_id=uuid4(), created_by=CreatedBy(type=creator))
        assert trigger_of(run, {"trigger": None}) == trigger

    def test_is_somebody_where_nothing_has(self):
        assert trigger_of(FlowRun(flow_id=uuid4()), {}) == "manual"

    def test_is_what_a_parameter_says(self):
        run = FlowRun(flow_id=uuid4(), created_by=CreatedBy(type="AUTOMATION"))
        assert trigger_of(run, {"trigger": "drift"}) == "drift"


class TestSteps:
    def test_a_storage_that_is_away_is_tried_again(self):
        assert may_be_mended(None, None, Failed(data=StorageError("away")))

    @pytest.mark.parametrize("error", [StudyConflictError("overtaken"), SpecError("x", "wrong")])
    def test_what_no_other_try_mends_is_not(self, error):
        assert not may_be_mended(None, None, Failed(data=error))


class TestThePage:
    HOSTILE = "<script>alert(1)</script> **bold** | [x](javascript:y) `tick`"

    @pytest.fixture
    def line(self):
        return Line.open(f"memory://{uuid4().hex}/digits")

    def begun(self, line, **told):
        log = ChampionLog(line.store, clock()).read()
        number = log.begin(run="run-1", data_version="v7", trigger="drift", **told)
        return log, line.retune(number)

    def page(self, line, kind, **data):
        log, retune = self.begun(line)
        record = log.append(kind, data, retune=retune.number)
        line.log.refresh()
        return verdict_page(retune, record)

    def test_a_promotion_has_the_values_of_both_with_each_seed(self, line):
        ours, theirs = champion(0.9), champion(0.95)
        found = compare(ours.values, theirs.values, mode="max", margin=0.01)
        page = self.page(
            line,
            "promoted",
            champion=theirs.to_json(),
            before=ours.to_json(),
            comparison=found.to_json(),
            reason=found.reason,
        )
        assert "# digits: retune 1" in page
        assert "There is a new champion" in page
        for seed, a, b in zip(ours.seeds, ours.values, theirs.values, strict=True):
            assert f"| {seed} | {a:g} | {b:g} | 0.05 |" in page
        assert "better by 0.05" in page
        assert "more than 0.01, with a confidence of 0.95 (test: t)" in page
        assert json.dumps(dict(theirs.config), indent=2) in page

    def test_less_is_better_where_the_metric_is_minimised(self, line):
        ours = champion(0.9, mode="min").to_json()
        theirs = champion(0.8, mode="min").to_json()
        said = {"champion": ours, "challenger": theirs, "comparison": None, "reason": "so"}
        assert "| 7 | 0.89 | 0.79 | 0.1 |" in self.page(line, "kept", **said)

    def test_a_refusal_shows_the_champion_that_stays(self, line):
        ours = champion(0.9)
        theirs = champion(0.8, config={"lr": 0.5})
        page = self.page(
            line,
            "kept",
            champion=ours.to_json(),
            challenger=theirs.to_json(),
            comparison=compare(ours.values, theirs.values, mode="max").to_json(),
            reason="worse",
        )
        assert "The champion stays:** worse" in page
        assert json.dumps(dict(ours.config), indent=2) in page
        assert json.dumps(dict(theirs.config), indent=2) not in page

    def test_seeds_without_a_value_say_so(self, line):
        ours = champion(0.9)
        theirs = champion(0.8).to_json() | {"values": ["NaN", 0.8, 0.8]}
        page = self.page(
            line, "kept", champion=ours.to_json(), challenger=theirs, comparison=None, reason="so"
        )
        assert f"| {ours.seeds[0]} | 0.89 | no value |  |" in page

    def test_a_first_champion_has_nothing_beside_it(self, line):
        page = self.page(
            line, "promoted", champion=champion(0.9).to_json(), comparison=None, reason="first"
        )
        assert "| 7 |  | 0.89 |  |" in page

    def test_a_failure_shows_who_the_champion_still_is(self, line):
        log = ChampionLog(line.store, clock()).read()
        said = {"champion": champion(0.9).to_json(), "comparison": None, "reason": "of a study"}
        log.append("promoted", said, retune=0)
        page = self.page(line, "failed", reason="the storage was away")
        assert "has failed, and the champion is who it was:** the storage was away" in page
        assert json.dumps(dict(champion().config), indent=2) in page

    def test_a_line_without_a_champion_says_so(self, line):
        assert "There is no champion yet." in self.page(line, "failed", reason="so")

    def test_notes_of_the_warm_start_are_on_it(self, line):
        log, retune = self.begun(line)
        notes = json.dumps({"notes": ["past results: 3 of 9", self.HOSTILE]})
        line.store.put(retune.notes_path, notes.encode())
        record = log.append("failed", {"reason": "so"}, retune=1)
        line.log.refresh()
        page = verdict_page(retune, record)
        assert "- past results: 3 of 9" in page
        assert self.HOSTILE in html.unescape(MARKDOWN.render(page))

    def test_what_users_typed_is_no_markup(self):
        line = Line.open(f"memory://{uuid4().hex}/digits")
        log = ChampionLog(line.store, clock()).read()
        log.begin(run=self.HOSTILE, data_version=self.HOSTILE, trigger=self.HOSTILE)
        hostile = champion(
            0.9, config={self.HOSTILE: self.HOSTILE}, metric=self.HOSTILE, space={}
        ).to_json()
        record = log.append(
            "promoted",
            {"champion": hostile, "comparison": None, "reason": self.HOSTILE},
            retune=1,
        )
        line.log.refresh()
        shown = MARKDOWN.render(verdict_page(line.retune(1), record))
        assert "<script" not in shown
        assert "<strong>bold" not in shown
        assert "<a href" not in shown
        assert html.unescape(shown).count(self.HOSTILE) >= 6
