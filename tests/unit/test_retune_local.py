"""Retuning from end to end, in one process and in memory."""

from __future__ import annotations

import json
import math
import time
from uuid import uuid4

import pytest

import tuneflow
from tuneflow.errors import (
    SpecError,
    StudyConflictError,
    StudyExistsError,
    TrialsFailedError,
)
from tuneflow.opened import OpenStudy
from tuneflow.retune.line import Line
from tuneflow.retune.local import retune
from tuneflow.retune.plan import Limits, make_plan
from tuneflow.retune.stages import begin, fail, judge, prepare_challenger, prepare_search
from tuneflow.schedulers import FIFO, SuccessiveHalving
from tuneflow.space import Branch, Categorical, Derived, Float
from tuneflow.spec import plain_spec

SPACE = {"x": Float(0.0, 1.0)}
GOAL = {"metric": "loss", "mode": "min"}


def objective(best, noise=0.0, calls=None):
    """Return an objective whose loss falls with the level, and is least at ``best``."""

    def train(config):
        for level in range(1, 10):
            if calls is not None:
                calls.append((config["x"], config["seed"], level))
            wobble = noise * math.sin(1000 * config["x"] + config["seed"])
            yield {"loss": (config["x"] - best) ** 2 + 1 / level + wobble}

    return train


def retuned(train, storage, run, *, space=SPACE, **options):
    given = {
        "scheduler": SuccessiveHalving(max_resource=9, reduction_factor=3),
        "searcher": "random",
        "round_size": "all",
        "seeds": 3,
        **GOAL,
        **options,
    }
    return retune(
        train, space=space, name="line", storage=storage, run=run, progress=False, **given
    )


def twice(config):
    """Derive a value from one that is searched."""
    return 2 * config["y"]


@pytest.fixture
def storage():
    return f"memory://{uuid4().hex}"


def records(storage):
    return [(r.type, r.retune) for r in Line.open(f"{storage}/line").log.records]


class TestTheFirstRetune:
    def test_its_best_configuration_is_the_first_champion(self, storage):
        found = retuned(objective(0.3), storage, "first")
        assert found.promoted
        assert found.number == 1
        assert abs(found.champion.config["x"] - 0.3) < 0.2
        assert found.champion.config.keys() == {"x"}
        assert len(found.champion.values) == 3
        assert found.champion.resource == 9
        assert records(storage) == [("began", 1), ("promoted", 1)]

    def test_the_best_of_a_study_is_defended_where_there_is_one(self, storage):
        study = tuneflow.tune(
            objective(0.3, calls=None),
            space={**SPACE, "seed": 0},
            name="line",
            storage=storage,
            searcher="random",
            trials=6,
            progress=False,
            **GOAL,
        )
        found = retuned(objective(0.3), storage, "first")
        assert records(storage)[0] == ("promoted", 0)
        champion = OpenStudy.open(f"{found.url}/retunes/000001/champion")
        measured = {trial.params["x"] for trial in champion.history.trials}
        assert measured == {study.best_config["x"]}

    @pytest.mark.parametrize("scheduler", [FIFO(), FIFO(max_resource=9)])
    def test_a_trial_that_stops_early_by_itself_can_be_the_best(self, storage, scheduler):
        def train(config):
            for _ in range(3 if config["x"] < 0.5 else 9):
                yield {"loss": config["x"]}

        found = retuned(train, storage, "first", scheduler=scheduler, trials=12)
        assert found.champion.config["x"] < 0.5
        assert found.champion.resource == 3

    def test_it_finds_nothing_where_every_trial_fails(self, storage):
        def fails(config):
            raise RuntimeError("no data")

        with pytest.raises(TrialsFailedError):
            retuned(fails, storage, "first")
        assert records(storage) == [("began", 1), ("failed", 1)]
        assert Line.open(f"{storage}/line").log.champion is None


class TestTheNextRetune:
    def test_champion_and_challenger_have_the_same_seeds(self, storage):
        retuned(objective(0.3), storage, "first")
        calls = []
        found = retuned(objective(0.8, calls=calls), storage, "second")
        seeds = {
            phase: [
                trial.params["seed"]
                for trial in OpenStudy.open(f"{found.url}/retunes/000002/{phase}").history.trials
            ]
            for phase in ("champion", "challenger")
        }
        assert seeds["champion"] == seeds["challenger"]
        assert len(set(seeds["champion"])) == 3
        assert found.promoted
        assert abs(found.champion.config["x"] - 0.8) < 0.2

    def test_the_champion_stays_where_nothing_is_better(self, storage):
        first = retuned(objective(0.3), storage, "first")
        again = retuned(objective(0.3), storage, "second", margin=0.2)
        assert not again.promoted
        assert again.champion.config == first.champion.config
        assert again.reason
        assert records(storage)[-1] == ("kept", 2)

    def test_the_champion_is_tried_first_in_the_search(self, storage):
        first = retuned(objective(0.3), storage, "first")
        second = retuned(objective(0.35), storage, "second")
        search = OpenStudy.open(f"{second.url}/retunes/000002/search")
        assert search.history.trials[0].params["x"] == first.champion.config["x"]
        assert len(search.study.searcher.points_to_evaluate) > 1

    def test_past_results_are_shifted_by_the_drift_of_the_champion(self, storage):
        options = {"discount": 1.0, "scheduler": FIFO(max_resource=9), "trials": 6}
        retuned(objective(0.3), storage, "first", **options)

        def worse(config):
            yield from ({"loss": one["loss"] + 5.0} for one in objective(0.3)(config))

        second = retuned(worse, storage, "second", **options)
        search = OpenStudy.open(f"{second.url}/retunes/000002/search")
        known = search.study.searcher.known_results
        assert known
        first = OpenStudy.open(f"{second.url}/retunes/000001/search")
        values = {t.params["x"]: first.history.trial_loss(t) for t in first.history.trials}
        moved = {round(one["value"] - values[one["params"]["x"]], 6) for one in known}
        assert moved == {5.0}

    def test_no_drift_counts_twice_where_a_retune_between_has_failed(self, storage):
        options = {"discount": 1.0, "scheduler": FIFO(max_resource=9), "trials": 6}
        retuned(objective(0.3), storage, "first", **options)

        def worse(config):
            yield from ({"loss": one["loss"] + 5.0} for one in objective(0.3)(config))

        def half_broken(config):
            if Line.open(f"{storage}/line").retune(2).study("search") is not None:
                raise RuntimeError("the disk is full")
            yield from worse(config)

        with pytest.raises(TrialsFailedError):
            retuned(half_broken, storage, "second", **options)
        third = retuned(worse, storage, "third", **options)
        known = OpenStudy.open(f"{third.url}/retunes/000003/search").study.searcher.known_results
        first = OpenStudy.open(f"{third.url}/retunes/000001/search").history
        values = {trial.params["x"]: first.trial_loss(trial) for trial in first.trials}
        moved = {round(one["value"] - values[one["params"]["x"]], 6) for one in known}
        assert moved == {5.0}

    def test_a_seed_is_part_of_every_configuration(self, storage):
        calls = []
        retuned(objective(0.3, calls=calls), storage, "first")
        assert all(isinstance(seed, int) for _, seed, _ in calls)

    def test_what_is_measured_is_never_used_as_a_parameter(self, storage):
        retuned(objective(0.3), storage, "first")
        found = retuned(objective(0.3), storage, "second")
        search = OpenStudy.open(f"{found.url}/retunes/000002/search").study
        assert list(search.space.domains()) == ["x"]
        assert search.space.contains(search.searcher.known_results[0]["params"])


class TestLimits:
    def test_the_search_gets_what_the_measurements_leave(self, storage):
        retuned(objective(0.3), storage, "first")
        found = retuned(objective(0.9), storage, "second", limits={"total_resource": 100})
        studies = [
            OpenStudy.open(f"{found.url}/retunes/000002/{phase}").history.spent
            for phase in ("champion", "search", "challenger")
        ]
        assert studies[0] == studies[2] == 27
        assert sum(studies) <= 100
        assert studies[1] > 0

    def test_too_little_for_a_search_is_refused_before_anything_runs(self, storage):
        calls = []
        with pytest.raises(SpecError, match="leaves nothing for a search") as caught:
            retuned(objective(0.3, calls=calls), storage, "x", limits={"total_resource": 54})
        assert caught.value.field == "retune.limits.total_resource"
        assert calls == []
        assert records(storage) == []

    def test_a_cost_is_the_price_of_the_time_that_trials_take(self):
        assert Limits(cost=3.0, cost_per_hour=1.5).trial_time == 7200
        with pytest.raises(SpecError, match="cost_per_hour"):
            Limits(cost=3.0)

    def test_time_and_cost_limit_the_search(self, storage):
        limits = {"wall_clock": 1000, "cost": 10, "cost_per_hour": 36}
        retuned(objective(0.3), storage, "first", limits=limits)
        found = retuned(objective(0.3), storage, "second", limits=limits)
        budget = OpenStudy.open(f"{found.url}/retunes/000002/search").study.budget
        assert 900 < budget.wall_clock < 1000
        assert 900 < budget.trial_time < 1000

    @pytest.mark.parametrize("limits", [{"wall_clock": 2}, {"cost": 2, "cost_per_hour": 3600}])
    def test_a_first_search_leaves_time_for_the_first_champion(self, storage, limits):
        def train(config):
            time.sleep(0.05)
            return (config["x"] - 0.3) ** 2

        options = {"scheduler": FIFO(), "trials": 1000, "round_size": None}
        found = retuned(train, storage, "first", limits=limits, **options)
        assert found.promoted
        search = OpenStudy.open(f"{found.url}/retunes/000001/search").history
        assert "used up" in search.finished

    def test_a_limit_that_the_measurements_use_up_is_noted_as_a_failure(self, storage):
        retuned(objective(0.3), storage, "first")

        def slow(config):
            time.sleep(0.02)
            yield from objective(0.3)(config)

        with pytest.raises(SpecError, match="measuring champion and challenger takes all of it"):
            retuned(slow, storage, "second", limits={"wall_clock": 0.02})
        assert records(storage)[-1] == ("failed", 2)


class TestWhatIsMeasured:
    """A value counts if it is one of the highest level."""

    @pytest.fixture
    def bad(self, storage):
        """Return the champion's parameter."""
        return retuned(objective(0.3), storage, "first").champion.config["x"]

    @pytest.mark.parametrize("how", ["raises", "reports NaN"])
    def test_what_a_trial_had_before_it_went_wrong_is_no_value(self, storage, bad, how):
        unlucky = []

        def train(config):
            if config["x"] == bad and not unlucky:
                unlucky.append(config["seed"])
            for level, report in enumerate(objective(0.3)(config), start=1):
                if level == 9 and [config["seed"]] == unlucky:
                    if how == "raises":
                        raise RuntimeError("out of memory")
                    report["loss"] = math.nan
                yield report

        retuned(train, storage, "second")
        champion = Line.open(f"{storage}/line").log.champion
        lost = [
            seed for seed, v in zip(champion.seeds, champion.values, strict=True) if math.isnan(v)
        ]
        assert lost == unlucky

    def test_a_champion_that_fails_with_many_seeds_halts_nothing(self, storage, bad):
        def train(config):
            if config["x"] == bad:
                raise RuntimeError("it does not fit the data of today")
            return (config["x"] - 0.3) ** 2

        options = {"scheduler": FIFO(), "trials": 12, "seeds": 20}
        found = retuned(train, storage, "second", replace_unmeasured=True, **options)
        assert found.promoted


class TestBadInput:
    @pytest.mark.parametrize(
        ("options", "field"),
        [
            ({"seeds": 0}, "retune.seeds"),
            ({"margin": -0.1}, "retune.margin"),
            ({"margin": "small"}, "retune.margin"),
            ({"confidence": 1.0}, "retune.confidence"),
            ({"discount": 2.0}, "retune.discount"),
            ({"sedes": 3}, "retune.sedes"),
            ({"limits": {"total_resorce": 3}}, "retune.limits.total_resorce"),
            ({"limits": {"wall_clock": -3}}, "retune.limits.wall_clock"),
            ({"test": "chi"}, "retune.test"),
            ({"test": "permutation", "seeds": 3}, "retune.seeds"),
            ({"data_version": 20261124}, "data_version"),
        ],
    )
    def test_an_option_that_cannot_work_is_named(self, storage, options, field):
        with pytest.raises(SpecError) as caught:
            retuned(objective(0.3), storage, "x", **options)
        assert caught.value.field == field
        assert records(storage) == []

    def test_a_history_of_another_metric_or_mode_is_refused(self, storage):
        retuned(objective(0.3), storage, "first")
        with pytest.raises(SpecError, match="'error' is not 'loss'"):
            retuned(objective(0.3), storage, "second", metric="error")
        with pytest.raises(SpecError, match="'max' is not 'min'"):
            retuned(objective(0.3), storage, "second", mode="max")
        assert records(storage) == [("began", 1), ("promoted", 1)]

    def test_a_space_that_shares_no_parameter_is_refused(self, storage):
        retuned(objective(0.3), storage, "first")
        with pytest.raises(SpecError, match="x"):
            retuned(objective(0.3), storage, "second", space={"y": Float(0, 1)})
        assert records(storage) == [("began", 1), ("promoted", 1)]


class TestASpaceThatChanges:
    def test_the_champion_is_measured_as_it_was(self, storage):
        first = retuned(objective(0.3), storage, "first")
        space = {"x": Float(0.5, 1.0), "y": Categorical((1, 2))}
        second = retuned(objective(0.6), storage, "second", space=space, defaults={"y": 2})
        champion = OpenStudy.open(f"{second.url}/retunes/000002/champion")
        params = champion.history.trials[0].params
        assert params["x"] == first.champion.config["x"]
        assert params["y"] == 2
        assert second.champion.config.keys() == {"x", "y"}

    def test_constants_are_those_of_today(self, storage):
        retuned(objective(0.3), storage, "first", space={**SPACE, "data": "monday"})
        found = retuned(objective(0.3), storage, "second", space={**SPACE, "data": "tuesday"})
        for phase in ("champion", "search"):
            opened = OpenStudy.open(f"{found.url}/retunes/000002/{phase}")
            assert {trial.params["data"] for trial in opened.history.trials} == {"tuesday"}

    def test_constants_in_the_options_of_a_branch_are_those_of_today_too(self, storage):
        def train(config):
            return (config["model"]["x"] - 0.3) ** 2

        def space(data):
            return {"model": Branch({"svm": {"x": Float(0.0, 1.0), "data": data}})}

        options = {"scheduler": FIFO(), "trials": 4}
        retuned(train, storage, "first", space=space("monday"), **options)
        found = retuned(train, storage, "second", space=space("tuesday"), **options)
        for phase in ("champion", "search"):
            opened = OpenStudy.open(f"{found.url}/retunes/000002/{phase}")
            assert {trial.params["model"]["data"] for trial in opened.history.trials} == {"tuesday"}

    def test_a_branch_that_is_new_has_its_default(self, storage):
        retuned(objective(0.3), storage, "first")
        options = {"sgd": {"momentum": Float(0.0, 1.0), "nesterov": True}, "adam": {}}
        found = retuned(
            objective(0.3),
            storage,
            "second",
            space={**SPACE, "opt": Branch(options)},
            defaults={"opt": "sgd", "opt.sgd.momentum": 0.9},
        )
        champion = OpenStudy.open(f"{found.url}/retunes/000002/champion")
        opt = champion.history.trials[0].params["opt"]
        assert opt == {"type": "sgd", "momentum": 0.9, "nesterov": True}

    def test_a_champion_without_what_is_derived_today_is_refused_at_once(self, storage):
        retuned(objective(0.3), storage, "first")
        space = {**SPACE, "y": Float(0.0, 1.0), "z": Derived("tests.unit.test_retune_local:twice")}
        with pytest.raises(SpecError, match="the champion's configuration cannot be made") as error:
            retuned(objective(0.3), storage, "second", space=space)
        assert "defaults" in error.value.fix
        assert records(storage) == [("began", 1), ("promoted", 1)]
        assert retuned(objective(0.3), storage, "second", space=space, defaults={"y": 0.5})


class TestSteps:
    """The steps one by one, as an orchestrator takes them."""

    @pytest.fixture
    def line(self, storage):
        retuned(objective(0.3), storage, "first")
        return f"{storage}/line"

    def plan(self, **options):
        spec = plain_spec(
            objective={"function": "tests.objectives:constant"},
            space=SPACE,
            searcher="random",
            scheduler=FIFO(max_resource=9),
            trials=20,
            round_size="all",
            **GOAL,
        )
        return make_plan(spec, {"seeds": 3, **options})

    def run(self, opened):
        tuneflow.resume(opened.url, objective(0.8), executor="inline", progress=False)

    def test_each_may_be_taken_again(self, line):
        under_way = begin(line, self.plan(), run="second")
        assert begin(line, self.plan(), run="second").number == under_way.number == 2
        self.run(under_way.study("champion"))
        search = prepare_search(under_way)
        assert prepare_search(under_way).url == search.url
        self.run(search)
        challenger = prepare_challenger(under_way)
        assert prepare_challenger(under_way).url == challenger.url
        self.run(challenger)
        verdict = judge(under_way)
        assert judge(under_way) == verdict
        assert verdict.type == "promoted"

    def test_they_wait_for_one_another(self, line):
        under_way = begin(line, self.plan(), run="second")
        with pytest.raises(TrialsFailedError, match="champion has not finished, it is new"):
            prepare_search(under_way)

    def test_a_newer_retune_fences_an_older_one(self, line):
        older = begin(line, self.plan(), run="second")
        self.run(older.study("champion"))
        begin(line, self.plan(), run="third")
        with pytest.raises(StudyConflictError, match=r"was overtaken by retune 3 \(run third\)"):
            prepare_search(older)
        with pytest.raises(StudyConflictError):
            judge(older)
        with pytest.raises(StudyConflictError):
            fail(older, "too late")

    def test_a_run_that_was_overtaken_does_not_overtake_in_turn(self, line):
        begin(line, self.plan(), run="second")
        begin(line, self.plan(), run="third")
        with pytest.raises(
            StudyConflictError, match=r"was overtaken by retune 3 \(run third\)"
        ) as e:
            begin(line, self.plan(), run="second")
        assert str(e.value).endswith("another 'run' begins a new retune")
        assert Line.open(line).log.newest_retune == 3

    def test_a_run_that_has_its_verdict_gets_it_again(self, storage, line):
        assert begin(line, self.plan(), run="first").number == 1
        again = retuned(objective(0.9), storage, "first")
        assert again.number == 1
        assert again.promoted
        assert Line.open(line).log.newest_retune == 1

    def test_a_champion_that_no_longer_trains_gives_way_where_that_is_wanted(self, storage, line):
        bad = Line.open(line).log.champion.config["x"]

        def train(config):
            if config["x"] == bad:
                raise RuntimeError("it does not fit the data of today")
            return (config["x"] - 0.3) ** 2

        options = {"scheduler": FIFO(), "trials": 12}
        kept = retuned(train, storage, "second", **options)
        assert not kept.promoted
        assert "it stays unless replace_unmeasured is set" in kept.reason
        assert retuned(train, storage, "third", replace_unmeasured=True, **options).promoted

    def test_one_that_has_failed_can_be_gone_on_with(self, line):
        under_way = begin(line, self.plan(), run="second")
        fail(under_way, "the cluster was away")
        again = begin(line, self.plan(), run="second")
        assert again.number == under_way.number

    def test_the_same_run_cannot_have_another_plan(self, line):
        begin(line, self.plan(), run="second")
        with pytest.raises(StudyExistsError, match="it differs in margin"):
            begin(line, self.plan(margin=0.5), run="second")

    def test_the_plan_is_read_as_it_was_written(self, line):
        plan = self.plan(limits=Limits(total_resource=500), defaults={"x": 0.5})
        assert begin(line, plan, run="second").read_plan() == plan

    def test_no_record_has_anything_that_is_not_json(self, line):
        for record in Line.open(line).log.records:
            json.dumps(record.data, allow_nan=False)
