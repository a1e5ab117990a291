"""Population based training: who copies whom, and from what."""

from __future__ import annotations

import math

import pytest

from tests.machine import NAN, Machine
from tuneflow.errors import SpecError
from tuneflow.events import Launched, Opened
from tuneflow.history import History
from tuneflow.rng import generator
from tuneflow.schedulers import PBT, Clone
from tuneflow.schedulers.perturb import perturb
from tuneflow.space import Categorical, Float, Int, Normal
from tuneflow.testing.world import SPACE
from tuneflow.trial import TrialState

HISTORY = History("loss", "min")


def launches(machine: Machine) -> list[Launched]:
    return [fact for fact in machine.decide() if isinstance(fact, Launched)]


def ready(values, *, saved: bool = True, rule: PBT | None = None, slots: float = 64) -> Machine:
    """Return a machine whose members have all paused at the first interval with these values."""
    rule = rule or PBT(max_resource=6, interval=2, synchronous=True)
    machine = Machine(rule, trials=len(values), slots=slots)
    while len(machine.history.trials) < len(values) or machine.history.running:
        machine.decide()
        for trial in list(machine.history.running):
            machine.pause(trial, values[trial], saved)
        if len(machine.history.trials) == len(values):
            return machine
    return machine


def clones(machine: Machine) -> dict[int, int]:
    return {f.trial: f.source for f in launches(machine) if f.source is not None}


@pytest.mark.parametrize(
    ("members", "quantile", "replaced"),
    [(8, 0.25, 2), (8, 0.2, 2), (9, 0.25, 3), (3, 0.5, 1), (2, 0.25, 1), (1, 0.5, 0), (8, 0, 0)],
)
def test_truncation_replaces_the_worst_by_copies_of_the_best(members, quantile, replaced):
    rule = PBT(max_resource=6, interval=2, quantile=quantile, synchronous=True)
    machine = ready(range(members), rule=rule)
    copied = clones(machine)
    assert sorted(copied) == list(range(members - replaced, members))
    assert all(donor < replaced for donor in copied.values())


def test_every_donor_is_drawn_sooner_or_later():
    rule = PBT(max_resource=6, interval=2, quantile=0.5, synchronous=True)
    copied = clones(ready(range(40), rule=rule))
    assert len(set(copied.values())) > 10


@pytest.mark.parametrize("useless", [NAN, math.inf, -math.inf, None])
def test_a_useless_member_is_replaced_first_and_never_copied(useless):
    assert set(clones(ready([5, useless, 6, 7])).items()) == {(1, 0)}
    assert clones(ready([useless] * 4)) == {}


def test_a_donor_without_a_checkpoint_is_passed_over():
    assert clones(ready([1, 2, 3, 4], saved=False)) == {}


def test_a_clone_goes_on_from_the_newest_checkpoint_of_its_donor():
    machine = ready([1, 2, 3, 4])
    clone = next(fact for fact in launches(machine) if fact.source is not None)
    assert (clone.trial, clone.source, clone.start, clone.until) == (3, 0, 2, 4)
    assert clone.checkpoint == "ckpt/0-2"
    assert clone.params != machine.history.trials[0].params
    assert machine.study.space.contains(clone.params)


def test_the_step_count_follows_the_donor():
    machine = Machine(PBT(max_resource=6, interval=2, quantile=0.5), trials=2)
    machine.decide()
    machine.pause(0, 1)
    machine.decide()
    machine.pause(0, 1)
    # Trial 0 goes on from level 4 while trial 1 is at 2: worse, so it jumps ahead.
    machine.decide()
    machine.pause(1, 5)
    fact = launches(machine)[0]
    assert (fact.trial, fact.source, fact.start, fact.until) == (1, 0, 4, 6)
    assert machine.history.trials[1].resource == 4
    machine.report(1, 5, 0)
    assert machine.levels()[1] == [2, 5]


def test_a_clone_has_no_value_until_it_reports():
    machine = ready([1, 2, 3, 0.5])
    machine.decide()
    cloned = machine.history.trials[2]
    assert cloned.source == 3
    assert machine.history.trial_loss(cloned) == math.inf
    machine.report(2, 4, 0.1)
    assert machine.history.best() is cloned


def test_a_member_that_has_just_copied_is_no_donor_until_it_has_saved():
    machine = Machine(PBT(max_resource=20, interval=2, quantile=0.5), trials=2)
    machine.decide()
    machine.pause(0, 1)
    machine.decide()
    machine.pause(1, 5)
    assert launches(machine)[0].source == 0
    # Trial 1 now holds trial 0's checkpoint. It is better, but has saved nothing itself.
    machine.report(1, 3, 0, saved=False)
    machine.pause(0, 9)
    assert launches(machine)[0].source is None
    machine.pause(1, 0)
    machine.decide()
    machine.pause(0, 9)
    assert launches(machine)[0].source == 1


def test_a_complete_member_is_no_donor():
    machine = Machine(PBT(max_resource=4, interval=2, quantile=0.5), trials=2)
    machine.decide()
    for _ in range(2):
        machine.report(0, machine.history.trials[0].resource + 1, 0)
        machine.pause(0, 0, saved=False)
        machine.decide()
    assert machine.history.trials[0].state is TrialState.COMPLETED
    machine.pause(1, 5)
    assert launches(machine)[0].source is None


@pytest.mark.parametrize("slots", [1, 2, 3, 64])
def test_a_barrier_compares_the_whole_population_with_any_number_of_slots(slots):
    rule = PBT(max_resource=6, interval=2, synchronous=True)
    machine = Machine(rule, trials=4, slots=slots)
    # The order turns round at each level; who has copied twice is at both ends.
    history = machine.run(lambda trial, level: trial if level != 4 else -trial)
    origins = [f for f in history.facts if isinstance(f, Launched) and f.source is not None]
    assert [(f.trial, f.source, f.start) for f in origins] == [(3, 0, 2), (0, 3, 4)]
    assert machine.levels() == [[2, 4, 6]] * 4


def test_a_barrier_does_not_wait_for_a_dead_member():
    rule = PBT(max_resource=6, interval=2, synchronous=True)
    machine = Machine(rule, trials=4)
    machine.decide()
    for trial in (0, 1, 2):
        machine.pause(trial, trial)
    assert launches(machine) == []
    machine.close(3, "failed")
    assert {fact.trial for fact in launches(machine)} == {0, 1, 2}


def test_without_a_barrier_nobody_waits():
    machine = Machine(PBT(max_resource=6, interval=2), trials=4)
    machine.decide()
    machine.pause(2, 0)
    assert [(f.trial, f.until) for f in launches(machine)] == [(2, 4)]


def test_with_few_slots_members_take_turns():
    machine = Machine(PBT(max_resource=6, interval=2, quantile=0), trials=3, slots=1)
    machine.run(lambda trial, level: trial)
    order = [f.trial for f in machine.history.facts if isinstance(f, Launched)]
    assert order == [0, 1, 2] * 3


@pytest.mark.parametrize(
    ("interval", "most"),
    [(0.1, 10), (0.29, 29), (0.7, 70), (1 / 3, 100 / 3), (1.1, 110), (math.pi, 100 * math.pi)],
)
def test_intervals_are_multiples_up_to_the_maximum(interval, most):
    rule = PBT(max_resource=most, interval=interval)
    machine = Machine(rule, trials=1)
    machine.run(lambda trial, level: 1)
    assert machine.levels()[0] == pytest.approx([interval * k for k in range(1, 101)])


def test_a_retried_member_joins_the_barrier_again():
    rule = PBT(max_resource=6, interval=2, synchronous=True)
    machine = Machine(rule, trials=3)
    machine.decide()
    machine.close(0, "failed")
    machine.pause(1, 1)
    machine.history.append(Opened(1, retry_failed=True))
    machine.pause(2, 2)
    assert [fact.trial for fact in launches(machine)] == [0]
    machine.pause(0, 0)
    assert [fact.trial for fact in launches(machine)] == [2, 0, 1]


def test_exploring_stays_in_the_space_and_moves():
    rule = PBT(max_resource=6, resample_probability=0.2)
    params = SPACE.build(lambda _, domain: domain.from_unit(0.0))
    seen = set()
    for number in range(300):
        params = rule.explore(params, SPACE, generator(0, number), HISTORY, Clone(0, 1, 2))
        assert SPACE.explain(params) is None
        seen.add((params["start"], params["kind"], params["layers"]))
    assert len(seen) > 20


def test_only_the_named_parameters_are_explored():
    rule = PBT(max_resource=6, mutations=("rate",))
    params = SPACE.build(lambda _, domain: domain.from_unit(0.5))
    for number in range(20):
        explored = rule.explore(params, SPACE, generator(0, number), HISTORY, Clone(0, 1, 2))
        assert {name for name in params if params[name] != explored[name]} <= {"rate"}


def test_an_unknown_mutation_is_refused_by_name():
    with pytest.raises(SpecError, match="no parameter 'y'") as caught:
        Machine(PBT(max_resource=6, mutations=("x", "y")), trials=2)
    assert caught.value.field == "scheduler.mutations"


@pytest.mark.parametrize(
    ("domain", "value"),
    [
        (Int(0, 9), 0),
        (Int(0, 9), 1),
        (Int(0, 9), 2),
        (Int(0, 9), 9),
        (Int(1, 4096, log=True), 1),
        (Int(1, 4096, log=True), 4096),
        (Int(0, 40, step=8), 8),
        (Float(0, 1), 0.0),
        (Float(0, 1), 1.0),
        (Float(-1, 1), -1.0),
        (Float(1e-6, 1, log=True), 1e-6),
        (Float(0, 1, step=0.25), 0.25),
        (Normal(0, 1), 0.0),
        (Categorical(("a", "b", "c")), "a"),
        (Categorical(("a", "b", "c")), "c"),
        (Categorical((1, 2, 4)), 4),
        (Categorical((True, False)), True),
    ],
)
@pytest.mark.parametrize("factor", [0.8, 1.2])
def test_a_perturbed_value_moves_within_its_domain(domain, value, factor):
    moved = perturb(domain, value, factor)
    assert domain.contains(moved)
    assert moved != value


def test_a_number_in_the_middle_is_multiplied():
    assert perturb(Float(0, 1), 0.5, 1.2) == pytest.approx(0.6)
    assert perturb(Float(1e-6, 1, log=True), 1e-3, 0.8) == pytest.approx(8e-4)
    assert perturb(Int(0, 100), 50, 0.8) == 40


def test_a_single_value_stays_what_it_is():
    assert perturb(Int(3, 3), 3, 1.2) == 3
    assert perturb(Categorical(("a",)), "a", 0.8) == "a"
    assert perturb(Float(2, 2), 2.0, 1.2) == 2.0
