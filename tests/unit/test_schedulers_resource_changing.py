"""Who gets more of a total, when, and what it is remembered by."""

from __future__ import annotations

import json

import pytest

from tests.machine import Machine, make_study
from tuneflow.errors import SpecError
from tuneflow.events import Launched, decode, encode
from tuneflow.plugins import make
from tuneflow.schedulers import (
    ASHA,
    FIFO,
    MOASHA,
    PBT,
    CostASHA,
    Hyperband,
    MedianStopping,
    ResourceChanging,
    SuccessiveHalving,
)
from tuneflow.spec import study_from_json

TOTAL = {"gpu": 8}


def shares(machine) -> dict[int, object]:
    """Decide, and return what each launched trial is to occupy."""
    return {f.trial: f.resources for f in machine.decide() if isinstance(f, Launched)}


def amounts(machine) -> list[float]:
    """Return the GPUs that the running trials have, in the order of launch."""
    return [(trial.resources or {"gpu": 1})["gpu"] for trial in machine.history.running.values()]


def halved(policy="even", trials=8, **changes) -> Machine:
    """Return a machine whose trials have all come to the first of the rungs 1, 2, 4 and 8."""
    base = SuccessiveHalving(max_resource=8, reduction_factor=2)
    rule = ResourceChanging(base, total=TOTAL, policy=policy, **changes)
    machine = Machine(rule, trials=trials, resources={"gpu": 1})
    machine.decide()
    for trial in range(trials):
        machine.pause(trial, float(trial))
    return machine


class TestEven:
    def test_while_trials_begin_they_have_what_the_study_says(self):
        rule = ResourceChanging(SuccessiveHalving(max_resource=8), total=TOTAL)
        assert shares(Machine(rule, trials=4)) == dict.fromkeys(range(4))

    def test_those_that_a_rung_lets_through_share_the_total(self):
        machine = halved()
        seen = []
        while launched := shares(machine):
            seen.append(launched)
            for trial in launched:
                machine.pause(trial, float(trial))
        assert seen == [
            {key: {"gpu": 2} for key in range(4)},
            {key: {"gpu": 4} for key in range(2)},
            {0: {"gpu": 8}},
        ]

    def test_a_share_is_whole_and_never_less_than_the_studys(self):
        base = SuccessiveHalving(max_resource=8, reduction_factor=2)
        rule = ResourceChanging(base, total={"gpu": 8, "cpu": 20})
        machine = Machine(rule, trials=6, resources={"gpu": 0.5, "cpu": 8, "memory": "4GB"})
        machine.decide()
        for trial in range(6):
            machine.pause(trial, float(trial))
        assert shares(machine) == {key: {"gpu": 2, "cpu": 8} for key in range(3)}

    def test_nobody_gets_more_than_fits_on_a_worker(self):
        machine = halved(most={"gpu": 3})
        shares(machine)
        for trial in range(4):
            machine.pause(trial, float(trial))
        assert shares(machine) == {key: {"gpu": 3} for key in range(2)}

    def test_a_share_that_is_the_studys_own_is_not_said(self):
        machine = Machine(
            ResourceChanging(SuccessiveHalving(max_resource=4, reduction_factor=2), total=TOTAL),
            trials=4,
            resources={"gpu": 4},
        )
        machine.decide()
        for trial in range(4):
            machine.pause(trial, float(trial))
        assert shares(machine) == {0: None, 1: None}

    def test_a_retry_keeps_the_share(self):
        machine = halved()
        shares(machine)
        machine.close(2, "lost")
        [fact] = machine.decide()
        assert (fact.trial, fact.attempt, fact.resources) == (2, 1, {"gpu": 2})

    def test_promoted_trials_of_asha_share_with_those_that_run(self):
        base = ASHA(max_resource=8, reduction_factor=2)
        machine = Machine(
            ResourceChanging(base, total=TOTAL), trials=8, slots=8, resources={"gpu": 1}
        )
        machine.decide()
        for trial in range(8):
            machine.pause(trial, float(trial))
        assert shares(machine) == {key: {"gpu": 2} for key in range(4)}
        machine.pause(3, 3.0)
        machine.pause(2, 2.0)
        # Two run, and one of those that have paused goes on.
        assert shares(machine) == {2: {"gpu": 2}}
        assert sum(amounts(machine)) <= 8
        for trial in (0, 1, 2):
            machine.pause(trial, float(trial))
        launched = shares(machine)
        assert all(share["gpu"] >= 4 for share in launched.values())

    @pytest.mark.parametrize(
        ("base", "grows"),
        [
            (ASHA(max_resource=9, reduction_factor=3), 2),
            (ASHA(max_resource=9, reduction_factor=3, brackets=2), 1),
            (CostASHA(max_resource=9, cost="loss"), 2),
            (MOASHA(max_resource=9), 2),
            (SuccessiveHalving(max_resource=9), 4),
            (Hyperband(max_resource=9), 2),
            (PBT(max_resource=8, interval=2), 1),
        ],
    )
    def test_shares_never_exceed_the_total_and_grow_at_the_end(self, base, grows):
        rule = ResourceChanging(base, total=TOTAL)
        machine = Machine(rule, trials=12, slots=8, resources={"gpu": 1})
        most = []
        step = 0
        while machine.decide() or machine.history.running:
            held = amounts(machine)
            assert sum(held) <= 8
            most.append(max(held, default=0))
            running = list(machine.history.running)
            if running:
                step += 1
                trial = running[step * 7 % len(running)]
                machine.pause(trial, abs((trial * 7 % 12) / 12 + 0.01))
        assert max(most) >= grows
        assert machine.history.state == "finished"


class TestTop:
    def test_the_best_gets_all_that_the_others_do_not_need(self):
        machine = halved("top")
        assert shares(machine) == {0: {"gpu": 5}, 1: None, 2: None, 3: None}

    def test_two_are_never_given_the_same(self):
        machine = halved("top")
        shares(machine)
        machine.pause(1, -1.0)
        machine.pause(2, 2.0)
        machine.pause(3, 3.0)
        machine.pause(0, 0.0)
        assert shares(machine) == {1: {"gpu": 7}, 0: None}


class TestInterval:
    def rule(self, base=None, **changes):
        return ResourceChanging(base or FIFO(max_resource=6), total=TOTAL, interval=2, **changes)

    def test_trials_of_a_base_that_never_pauses_pause_and_go_on(self):
        machine = Machine(self.rule(), trials=2, slots=2, resources={"gpu": 1})
        assert machine.launched() == [(0, 2), (1, 2)]
        machine.pause(1, 1.0)
        assert machine.launched() == [(1, 4)]

    def test_whoever_remains_gets_more_at_its_next_pause(self):
        machine = Machine(self.rule(), trials=4, slots=4, resources={"gpu": 1})
        seen = []
        while machine.decide() or machine.history.running:
            assert sum(amounts(machine)) <= 8
            if not machine.history.running:
                break
            seen.append(max(amounts(machine)))
            # The first one runs ahead, so that the others remain.
            machine.pause(min(machine.history.running), 1.0)
        assert seen[0] == 1
        assert seen[-1] == 8
        assert machine.levels() == [[2, 4, 6]] * 4

    def test_a_trial_that_only_its_objective_ends_is_paused_too(self):
        machine = Machine(self.rule(FIFO()), trials=1)
        assert machine.launched() == [(0, 2)]
        machine.pause(0, 1.0)
        assert machine.launched() == [(0, 4)]

    @pytest.mark.parametrize(
        "base",
        [MedianStopping(max_resource=6), ASHA(max_resource=6, variant="stopping")],
    )
    def test_in_rounds_too(self, base):
        machine = Machine(self.rule(base), trials=4, round_size="all", slots=float("inf"))
        machine.run(lambda trial, level: float(trial))
        assert machine.history.state == "finished"
        assert max(trial.resource for trial in machine.history.trials) == 6

    def test_it_is_for_bases_that_never_pause_and_needed_there(self):
        with pytest.raises(
            SpecError, match=r"scheduler\.interval: asha pauses trials itself; leave"
        ):
            self.rule(ASHA(max_resource=9))
        with pytest.raises(SpecError, match=r"scheduler\.interval: fifo never pauses trials"):
            ResourceChanging(FIFO(max_resource=9), total=TOTAL)


class TestSpec:
    @pytest.mark.parametrize(
        ("changes", "problem"),
        [
            ({"total": {}}, "scheduler.total: it is empty"),
            ({"total": {"memory": 3}}, "scheduler.total.memory: only cpu and gpu can be shared"),
            ({"total": {"gpu": 0}}, "scheduler.total.gpu: 0 is not a whole number of 1 or more"),
            ({"total": {"gpu": 1.5}}, "scheduler.total"),
            ({"most": {"gpu": 9}}, "scheduler.most.gpu: 9 is more than the total"),
            ({"most": {"cpu": 1}}, "scheduler.most.cpu: 1 is more than the total"),
            ({"policy": "odd"}, "scheduler.policy"),
            ({"base": {"type": "dehb", "max_resource": 9}}, "scheduler.base: dehb goes on with no"),
            ({"base": {"type": "asha"}}, "scheduler.base.max_resource: is needed and missing"),
            ({"base": {"type": "asha", "max_resource": 0}}, "scheduler.base.max_resource: 0 is"),
            ({"interval": 2}, "scheduler.interval: asha pauses trials itself"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, changes, problem):
        data = {"type": "resource_changing", "base": {"type": "asha", "max_resource": 9}}
        with pytest.raises(SpecError) as caught:
            make("scheduler", {**data, "total": TOTAL, **changes})
        assert str(caught.value).startswith(problem)

    def test_a_base_must_be_a_scheduler(self):
        with pytest.raises(SpecError, match=r"scheduler\.base: 'asha' is no scheduler"):
            ResourceChanging("asha", total=TOTAL)

    def test_what_the_base_refuses_is_named_below_it(self):
        rule = ResourceChanging(PBT(max_resource=6, mutations=("y",)), total=TOTAL)
        with pytest.raises(SpecError, match=r"scheduler\.base\.mutations: the space has no"):
            make_study(rule)

    def test_it_goes_through_json_as_part_of_a_study(self):
        rule = ResourceChanging(ASHA(max_resource=9), total=TOTAL, most={"gpu": 4})
        study = make_study(rule, trials=3, objective={"function": "a.py:f"})
        data = json.loads(json.dumps(study.to_json()))
        assert data["scheduler"]["base"] == {"type": "asha", "max_resource": 9}
        assert study_from_json(data).scheduler == rule

    def test_it_is_the_base_in_all_else(self):
        base = SuccessiveHalving(max_resource=9)
        rule = ResourceChanging(base, total=TOTAL, most={"gpu": 4})
        assert (rule.limit, rule.default_trials) == (9, base.default_trials)
        assert rule.most_resources == {"gpu": 4}


def test_resources_are_in_the_journal_only_where_they_are_set():
    fact = Launched(0, 1, 4, resources={"gpu": 2})
    assert json.loads(encode(fact))["resources"] == {"gpu": 2}
    assert decode(encode(fact)) == fact
    assert "resources" not in json.loads(encode(Launched(0, 1, 4)))


def test_segments_carry_them_to_workers():
    machine = halved()
    shares(machine)
    segments = list(machine.history.open_segments())
    assert [segment.resources for segment in segments] == [{"gpu": 2}] * 4
    assert [type(segment).from_json(segment.to_json()) for segment in segments] == segments
