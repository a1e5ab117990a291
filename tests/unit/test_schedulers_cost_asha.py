"""Cost-aware ASHA: the top of a rung is a share of its cost."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.machine import NAN, Machine
from tuneflow.errors import SpecError
from tuneflow.events import Launched, Opened
from tuneflow.schedulers import ASHA, CostASHA
from tuneflow.schedulers.cost_asha import CostRung, CostRungs
from tuneflow.testing.world import METRIC, World, fates


def scheduler(**changes) -> CostASHA:
    return CostASHA(**{"max_resource": 9, "cost": "seconds", **changes})


def result(loss, seconds) -> dict[str, float]:
    return {"loss": loss, "seconds": seconds}


def promoted(costs, losses=None, **changes) -> list[int]:
    """Return who is promoted at once from a rung with these costs, the best first."""
    machine = Machine(scheduler(**changes), slots=len(costs), trials=len(costs))
    machine.decide()
    for trial, cost in enumerate(costs):
        machine.pause(trial, result((losses or range(len(costs)))[trial], cost))
    return [trial for trial, _ in machine.launched()]


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        # A third of the cost is 3, 4, 4, 1 and 11.3.
        ([1, 1, 1, 1, 1, 1, 1, 1, 1], [0, 1, 2]),
        ([1, 1, 1, 9], [0, 1, 2]),
        ([9, 1, 1, 1], []),
        ([1, 1, 1], [0]),
        ([1, 4, 6, 3, 20], [0, 1, 2]),
        ([2.5], []),
        # Nothing was spent on any of them.
        ([0, 0], [0, 1]),
    ],
)
def test_the_best_that_make_up_a_third_of_the_cost_go_on(costs, expected):
    assert promoted(costs) == expected


def test_a_sum_that_reaches_the_share_exactly_is_within_it():
    # In floats ten times 0.1 is less than 1, and a tenth of it less than 0.1.
    assert promoted([0.1] * 10, reduction_factor=10) == [0]
    assert promoted([1e-320] * 3) == promoted([1e300] * 3) == [0]


def test_results_are_ranked_by_the_metric_alone():
    assert promoted([5, 1, 1, 5], losses=[3, 1, 2, 0]) == []
    assert promoted([5, 1, 1, 5], losses=[3, 1, 0, 4]) == [2, 1]


# Who was launched, and up to where: what CostPromotionRungSystem of Syne Tune 0.13 says, asked
# before each launch and fed the same results.
SEQUENCE = """
0:1 1:1 2:1 3:1 4:1 5:1 6:1 7:1 8:1 3:3 9:1 0:3 10:1 11:1 12:1 13:1 14:1 15:1 9:3 4:3 7:3 16:1
11:3 10:3 17:1 18:1 19:1 19:3 20:1 21:1 22:1 22:3 23:1 24:1 17:3 3:9 0:9 25:1 26:1 27:1 28:1 24:3
19:9 22:9 4:9 18:3 29:1
"""


def test_promotions_are_those_of_the_reference():
    draws = Random(3)
    shapes = [(draws.random(), draws.random() ** 3 * 10 + 0.01) for _ in range(30)]
    machine = Machine(scheduler(max_resource=27), slots=1, trials=30)
    machine.decide()
    while machine.history.running:
        trial = next(iter(machine.history.running.values()))
        end, pace = shapes[trial.number]
        loss = end + Random(1000 * trial.number + trial.until).random() / trial.until
        machine.pause(trial.number, result(round(loss, 3), round(pace * trial.until, 3)))
        machine.decide()
    launched = [f for f in machine.history.facts if isinstance(f, Launched)]
    assert [f"{f.trial}:{f.until}" for f in launched] == SEQUENCE.split()


@pytest.mark.parametrize("useless", [NAN, math.inf, -1, None])
def test_a_result_without_a_usable_cost_ranks_last_and_counts_as_free(useless):
    machine = Machine(scheduler(), slots=4, trials=4)
    machine.decide()
    machine.pause(0, {"loss": -9} if useless is None else result(-9, useless))
    for trial in (1, 2, 3):
        machine.pause(trial, result(trial, 1))
    assert machine.launched() == [(1, 3)]


def test_a_failed_trial_counts_with_the_cost_that_it_reported():
    machine = Machine(scheduler(max_resource=27, min_resource=3), slots=2, trials=2)
    machine.decide()
    machine.report(0, 1, result(0, 20))
    machine.close(0, "failed")
    machine.pause(1, result(1, 10))
    assert machine.launched() == [(1, 9)]


def test_a_failure_that_is_made_good_counts_once():
    machine = Machine(scheduler(), slots=3, trials=20)
    machine.decide()
    machine.report(0, 0.5, result(0, 90))
    machine.close(0, "failed")
    machine.history.append(Opened(1, retry_failed=True))
    machine.decide()
    machine.pause(0, result(5, 1))
    machine.pause(1, result(1, 1))
    # Were the 90 still counted, trial 1 would go on.
    assert (1, 3) not in machine.launched()


class Priced(CostASHA):
    """Every result costs the same, as trials have one metric only here."""

    def rungs(self, history):
        worst = (math.inf, 0.1)
        return CostRungs(self, lambda metrics: (history.loss(metrics), 0.1), worst, CostRung)


@settings(deadline=None, max_examples=60)
@given(fates(), st.sampled_from([2, 3, 2.5]), st.integers(1, 20), st.integers(1, 3))
def test_if_all_cost_the_same_it_decides_as_asha(fate, eta, slots, brackets):
    fields = {"max_resource": 9, "reduction_factor": eta, "brackets": brackets}
    worlds = [
        World(made, fate, trials=14, slots=slots, seed=3)
        for made in (ASHA(**fields), Priced(cost=METRIC, **fields))
    ]
    asha, priced = (world.run().facts for world in worlds)
    assert asha == priced


@pytest.mark.parametrize(
    ("field", "changes"),
    [("cost", {"cost": ""}), ("brackets", {"brackets": 4}), ("max_resource", {"max_resource": 0})],
)
def test_a_value_that_cannot_work_is_named(field, changes):
    with pytest.raises(SpecError, match=f"scheduler.({field}|min_resource)"):
        scheduler(**changes)


def test_its_defaults_are_those_of_the_reference():
    made = scheduler()
    assert (made.min_resource, made.reduction_factor, made.brackets) == (1, 3, 1)
    assert made.to_json() == {"type": "cost_asha", "max_resource": 9, "cost": "seconds"}


def test_a_trial_that_never_reports_its_cost_has_failed():
    machine = Machine(scheduler(), slots=3, trials=3)
    machine.decide()
    machine.pause(0, result(0.1, 2))
    machine.pause(1, {"loss": 0.2})
    assert machine.history.trials[0].failure is None
    assert str(machine.history.trials[1].failure) == (
        "metric: no report has 'seconds', which the scheduler goes by"
    )
