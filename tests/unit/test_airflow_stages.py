"""How many stages a DAG gets for a study."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tuneflow.airflow.stages import MOST, SPARE, bound, stages_of
from tuneflow.budget import Budget, Plateau
from tuneflow.errors import SpecError
from tuneflow.history import History
from tuneflow.schedulers import (
    ASHA,
    FIFO,
    PASHA,
    PBT,
    CostASHA,
    Hyperband,
    MedianStopping,
    PBTReplay,
    ResourceChanging,
    SuccessiveHalving,
)
from tuneflow.searchers.grid import Grid
from tuneflow.searchers.random import Random
from tuneflow.space import Categorical, Float, Space
from tuneflow.stoppers import MaxResource, TrialPlateau
from tuneflow.study import Study

SPACE = Space({"rate": Float(1e-4, 1e-1, log=True), "kind": Categorical(("a", "b", "c"))})

STEPS = ((2, "a"), (5, "b"), (9, "c"))


def study(scheduler, trials=None, round_size="all", **settings):
    settings = {"space": SPACE, "searcher": Random(), "mode": "max", **settings}
    return Study(
        "s", metric="m", scheduler=scheduler, trials=trials, round_size=round_size, **settings
    )


@pytest.mark.parametrize(
    ("scheduler", "trials", "rounds"),
    [
        (FIFO(), 100, 1),
        (FIFO(max_resource=9), 100, 1),
        (SuccessiveHalving(max_resource=9), 9, 3),
        (SuccessiveHalving(max_resource=9), 100, 3),
        (Hyperband(max_resource=27), None, 4),
        (ASHA(max_resource=16), 16, 3),
        (ASHA(max_resource=16), 4, 2),
        (ASHA(max_resource=16), 3, 1),
        (ASHA(max_resource=16, variant="stopping"), 3, 3),
        (MedianStopping(max_resource=10, interval=2), 20, 5),
        (PBT(max_resource=20, interval=4), 8, 5),
        (PBT(max_resource=20, interval=4, synchronous=True), 8, 5),
    ],
)
def test_with_whole_rounds_the_bound_is_the_number_of_rungs(scheduler, trials, rounds):
    assert bound(study(scheduler, trials)) == rounds


def test_cheap_trials_are_all_promoted_and_rungs_are_all_unlocked():
    assert bound(study(CostASHA(27, cost="m"), 3)) == 4
    assert bound(study(PASHA(27), 30)) == bound(study(ASHA(27, reduction_factor=3), 30)) == 4


def test_a_schedule_has_a_stage_for_each_step_and_shares_change_nothing():
    params = {"rate": 0.01, "kind": "a"}
    steps = tuple({"until": until, "params": {**params, "kind": kind}} for until, kind in STEPS)
    assert bound(study(PBTReplay(steps))) == 3
    for base in (ASHA(max_resource=16), PASHA(27), CostASHA(27, cost="m")):
        shared = ResourceChanging(base, total={"gpu": 8})
        assert bound(study(shared, 16)) == bound(study(base, 16))
    assert bound(study(ResourceChanging(FIFO(9), total={"gpu": 8}, interval=3), 4)) == 3


def test_a_stopper_may_cut_segments_short_and_is_taken_to_end_nobody():
    stop = (TrialPlateau(std=1e9, interval=2), MaxResource(1))
    assert bound(study(FIFO(max_resource=8), 3, stop=stop)) == 5
    assert bound(study(ASHA(max_resource=16), 16, stop=stop)) == 3


@pytest.mark.parametrize(("size", "rounds"), [(1, 10), (3, 4), (9, 2), (10, 1), (99, 1)])
def test_trials_without_rungs_fill_one_round_after_another(size, rounds):
    assert bound(study(FIFO(), 10, size)) == rounds


@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_direction_of_the_metric_does_not_matter(mode):
    assert bound(study(ASHA(max_resource=9, reduction_factor=2), 20, 4, mode=mode)) == 26


def test_a_searcher_that_has_no_more_configurations_bounds_a_study():
    space = Space({"kind": Categorical(("a", "b", "c"))})
    assert bound(study(FIFO(), None, 2, space=space, searcher=Grid())) == 2
    assert bound(study(FIFO(), 100, 1, space=space, searcher=Grid())) == 3
    assert bound(study(FIFO(), 2, 1, space=space, searcher=Grid())) == 2


@pytest.mark.parametrize(
    "budget",
    [
        Budget(target=0.0),
        Budget(target=-1e9),
        Budget(plateau=Plateau(segments=1, min_trials=1)),
        Budget(fail_fast=True),
        Budget(total_resource=3),
    ],
)
def test_a_budget_that_might_end_a_study_early_gives_it_no_fewer_stages(budget):
    scheduler = SuccessiveHalving(max_resource=9)
    assert bound(study(scheduler, 9, budget=budget)) == 3


@pytest.mark.parametrize("limit", ["wall_clock", "trial_time", "total_resource"])
def test_a_study_that_only_its_budget_ends_needs_a_number_from_the_user(limit):
    endless = study(FIFO(max_resource=3), None, 4, budget=Budget(**{limit: 60}))
    assert bound(endless) is None
    with pytest.raises(SpecError, match="stages: nothing but its budget says") as caught:
        stages_of(endless)
    assert caught.value.field == "stages"
    assert stages_of(endless, 7) == 7


def test_trials_that_only_the_objective_ends_need_a_number_from_the_user():
    endless = study(MedianStopping(), 10)
    with pytest.raises(SpecError, match=f"stages: this study can need more than {MOST}"):
        stages_of(endless)


def test_there_are_stages_to_spare():
    assert stages_of(study(Hyperband(max_resource=9))) == 3 + SPARE


def test_each_failure_that_a_trial_may_have_is_one_more_stage():
    budget = Budget(max_failures_per_trial=2)
    assert stages_of(study(Hyperband(max_resource=9), budget=budget)) == 3 + SPARE + 2


def test_what_the_user_says_stands():
    assert stages_of(study(Hyperband(max_resource=9)), 3) == 3
    assert stages_of(study(Hyperband(max_resource=9)), 9) == 9


@pytest.mark.parametrize("stages", [0, -1, 2.0, True, "3"])
def test_a_number_of_stages_that_is_none_is_refused(stages):
    with pytest.raises(SpecError, match=r"stages: .* is not a whole number of 1 or more"):
        stages_of(study(FIFO(), 3), stages)


def test_too_few_stages_are_refused():
    with pytest.raises(SpecError, match="stages: 2 are too few: the study can need up to 3"):
        stages_of(study(Hyperband(max_resource=9)), 2)


@pytest.fixture
def tried_out(monkeypatch):
    """The facts that a bound was found by; each takes some ten microseconds."""
    facts = []
    append = History.append
    monkeypatch.setattr(History, "append", lambda self, fact: facts.append(append(self, fact)))
    return facts


@pytest.mark.parametrize(
    "scheduler",
    [
        FIFO(),
        SuccessiveHalving(max_resource=81),
        Hyperband(max_resource=81),
        ASHA(max_resource=81),
        ASHA(max_resource=81, variant="stopping"),
        MedianStopping(max_resource=10),
        PBT(max_resource=20, interval=4),
    ],
    ids=lambda scheduler: scheduler.type,
)
def test_a_dag_with_a_hundred_trials_is_parsed_in_no_time(scheduler, tried_out):
    bound(study(scheduler, 100))
    assert len(tried_out) < 5000


@pytest.mark.parametrize("size", ["all", 16, 1])
def test_a_thousand_trials_take_no_longer_than_some(size, tried_out):
    bound(study(PBT(max_resource=20, interval=4), 1000, size))
    assert len(tried_out) < 6000


def test_a_searcher_of_a_library_is_not_imported_to_count_stages():
    program = (
        "import sys\n"
        "from tuneflow.airflow.stages import bound\n"
        "from tuneflow.spec import study_from_json\n"
        "spec = {'name': 's', 'objective': 'train.py:train', 'metric': 'm', 'mode': 'max',\n"
        "        'space': {'x': {'type': 'float', 'low': 0.0, 'high': 1.0}}, 'searcher': 'tpe',\n"
        "        'scheduler': {'type': 'hyperband', 'max_resource': 9}, 'round_size': 'all'}\n"
        "assert bound(study_from_json(spec)) == 3\n"
        "assert 'optuna' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
