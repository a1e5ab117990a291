"""Proposals that are made ahead: which one a free slot gets, and when it waits."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from tests.machine import make_study
from tests.places import new_url, open_study, simulated
from tests.thinking import Thinking, Thoughtful, thought
from tuneflow import stream
from tuneflow.ahead import LEAST, PATIENCE, SHORT, Ahead, Deciding, deciding
from tuneflow.events import Launched, Opened, decode, encode
from tuneflow.executors.inline import InlineExecutor
from tuneflow.executors.simulated import SimulatedExecutor
from tuneflow.schedulers import ASHA, FIFO
from tuneflow.searchers import TPE, Grid, Optuna, Random, Sobol
from tuneflow.store import Store


def one_running(**changes):
    """A study of two slots in which trial 0 ran for 100 s and trials 1 and 2 run now."""
    machine = Thinking(slots=2, **changes)
    for _ in range(2):
        machine.decide()
        machine.think()
    machine.decide()
    assert set(machine.history.running) == {0, 1}
    machine.think()
    machine.time += 100
    machine.pause(0, 1.0)
    begun = machine.begun()
    machine.think()
    assert len(begun + machine.begun()) == 1
    return machine


def test_the_first_proposal_is_waited_for_however_long_it_takes():
    machine = Thinking(slots=2)
    assert machine.decide() == []
    assert machine.ahead.patience() == math.inf
    machine.time = 1e6
    assert machine.begun() == []
    machine.think()
    assert machine.woken == 1
    begun = machine.begun()
    assert [fact.params for fact in begun] == [thought(Thinking().history)]
    assert machine.history.state == "running"


def test_each_proposal_is_launched_once():
    machine = Thinking(slots=3)
    launched = []
    for _ in range(3):
        machine.decide()
        machine.think()
        launched += machine.begun()
        launched += machine.begun()
    assert [fact.trial for fact in launched] == [0, 1, 2]
    assert len({fact.params["x"] for fact in launched}) == 3
    assert not any(fact.late for fact in launched)


def test_a_free_slot_gets_the_proposal_that_knows_everything():
    machine = one_running()
    machine.think()
    machine.pause(1, 1.0)
    assert machine.begun() == []
    expected = thought(machine.history)
    machine.think()
    (fact,) = machine.begun()
    assert fact.params == expected
    assert not fact.late


def test_a_report_makes_no_proposal_old():
    machine = one_running(scheduler=FIFO(max_resource=5))
    machine.think()
    machine.report(1, 3, 0.5)
    machine.decide()
    before = machine.woken
    machine.think()
    assert machine.woken == before


def test_when_patience_is_over_an_older_proposal_is_taken():
    machine = one_running()
    older = thought(machine.history)
    machine.think()
    machine.pause(1, 1.0)
    machine.decide()
    mean = machine.ahead.patience() / PATIENCE
    assert mean == pytest.approx(100, rel=0.02)
    machine.time += PATIENCE * mean / 2
    assert machine.begun() == []
    assert machine.ahead.patience() == pytest.approx(PATIENCE * mean / 2)
    machine.time += PATIENCE * mean / 2
    (fact,) = machine.begun()
    assert fact.params == older
    assert not fact.late
    assert machine.ahead.patience() == math.inf


def test_without_an_older_one_the_configuration_is_drawn_and_marked():
    machine = one_running()
    machine.pause(1, 1.0)
    machine.decide()
    machine.time += 3
    number = len(machine.history.trials)
    expected = machine.study.searcher.late(machine.study.space, machine.history)
    (fact,) = machine.begun()
    assert fact == Launched(number, 0, 1, params=expected, late=True)
    assert machine.history.late == 1
    assert decode(encode(fact)) == fact


def test_a_draw_that_was_late_makes_no_proposal_invalid():
    def happens_meanwhile(_):
        machine.time += 3
        late.extend(fact.late for fact in machine.begun())

    machine, late = one_running(), []
    machine.pause(1, 1.0)
    machine.decide()
    in_progress = thought(machine.history)
    machine.passes = happens_meanwhile
    machine.think()
    assert late == [True]
    machine.pause(2, 1.0)
    machine.decide()
    machine.time += 3
    (fact,) = machine.begun()
    assert (fact.params, fact.late) == (in_progress, False)


def test_the_patience_of_slots_that_wait_together_runs_together():
    machine = one_running()
    for number in (1, 2):
        machine.pause(number, 1.0)
    machine.decide()
    machine.time += 3
    assert [fact.late for fact in machine.begun()] == [True, True]


def test_a_slow_searcher_is_not_waited_for_where_an_older_proposal_is_there():
    machine = one_running(seconds=5.0)
    machine.think()
    older = machine.ahead._thinker.made.proposal
    machine.pause(1, 1.0)
    (fact,) = machine.begun()
    assert (fact.params, fact.late) == (older, False)


def test_a_configuration_is_drawn_at_once_where_no_proposal_can_be_there_in_time():
    machine = one_running(seconds=5.0)
    late = []
    for number in (1, 2):
        machine.pause(number, 1.0)
        late += [fact.late for fact in machine.begun()]
    assert late == [False, True]


def test_a_proposal_that_has_long_been_begun_is_waited_for():
    machine = one_running(seconds=5.0)
    machine.ahead._thinker.pace.begin()
    machine.time += 4.5
    machine.pause(1, 1.0)
    assert machine.begun() == []


def test_one_slow_proposal_is_no_pace():
    machine = one_running()
    machine.ahead._thinker.pace.begin()
    machine.time += 60
    machine.ahead._thinker.pace.end()
    machine.pause(1, 1.0)
    assert machine.begun() == []
    assert machine.ahead.patience() > 0


def test_when_several_slots_are_free_there_may_not_be_time_for_the_newest_for_each():
    machine = one_running(seconds=1.5)
    machine.think()
    older = machine.ahead._thinker.made.proposal
    machine.time += 100
    machine.pause(1, 1.0)
    assert machine.begun() == []
    machine.pause(2, 1.0)
    (fact,) = machine.begun()
    assert (fact.params, fact.late) == (older, False)
    machine.think()
    (fact,) = machine.begun()
    assert not fact.late


def test_short_trials_wait_for_their_proposals():
    machine = Thinking(slots=1, seconds=5.0)
    machine.decide()
    machine.think()
    machine.decide()
    machine.time += SHORT / 2
    machine.pause(0, 1.0)
    machine.decide()
    machine.time += 1e6
    assert machine.begun() == []
    assert machine.ahead.patience() == math.inf
    machine.think()
    assert [fact.late for fact in machine.begun()] == [False]


@pytest.mark.parametrize("duration", [0.001, 100.0])
def test_a_quick_searcher_is_asked_on_the_spot(duration):
    machine = Thinking(slots=2, seconds=LEAST / 2)
    machine.decide()
    machine.think()
    for number in range(1, 9):
        machine.decide()
        machine.time += duration
        machine.pause(number - 1, 1.0)
        expected = thought(machine.history)
        assert [fact.params for fact in machine.begun()] == [expected]
    assert not machine.think()
    assert machine.history.late == 0


def test_a_searcher_that_becomes_slow_is_asked_on_the_spot_once_more():
    machine = Thinking(slots=1, seconds=LEAST / 2)
    machine.decide()
    machine.think()
    machine.decide()
    machine.passes = lambda _: setattr(machine, "time", machine.time + 5)
    found = []
    for number in range(2):
        machine.time += 100
        machine.pause(number, 1.0)
        found.append(len(machine.begun()))
    assert found == [1, 0]


def test_promotions_go_on_while_new_trials_wait():
    machine = Thinking(ASHA(max_resource=9, reduction_factor=3), slots=3, trials=20)
    for _ in range(3):
        machine.decide()
        machine.think()
    machine.decide()
    machine.time += 100
    for number in range(3):
        machine.pause(number, float(number))
    decided = machine.decide()
    assert [(f.trial, f.segment) for f in decided] == [(0, 1)]
    assert machine.history.state == "running"


def test_given_points_need_no_thought():
    points = ({"x": 0.1}, {"x": 0.2})
    machine = Thinking(slots=2, searcher=Thoughtful(points_to_evaluate=points))
    assert [fact.params for fact in machine.begun()] == list(points)


def test_the_study_ends_when_the_searcher_has_no_more():
    machine = Thinking(slots=1, searcher=Thoughtful(last=1))
    machine.decide()
    machine.think()
    machine.decide()
    machine.pause(0, 1.0)
    machine.decide()
    assert machine.history.exhausted is None
    machine.think()
    machine.decide()
    assert machine.history.finished == "the searcher has no more configurations"


def test_nothing_is_proposed_beyond_the_last_trial():
    machine = Thinking(slots=1, trials=1)
    machine.decide()
    machine.think()
    machine.decide()
    machine.think()
    assert machine.woken == 1


def test_a_searcher_that_waits_for_its_trials_has_none_drawn_at_random():
    machine = Thinking(slots=2, searcher=Thoughtful(held=1))
    machine.decide()
    machine.think()
    assert len(machine.begun()) == 1
    machine.think()
    machine.time += 1e6
    assert machine.begun() == []
    assert machine.ahead.patience() == math.inf


def test_what_the_searcher_raises_is_raised_in_the_driver():
    @dataclass(frozen=True, kw_only=True)
    class Failing(Thoughtful):
        def propose_for(self, space, history, rng, until):
            raise ZeroDivisionError("in the library")

    machine = Thinking(searcher=Failing())
    machine.decide()
    machine.think()
    assert machine.woken == 1
    with pytest.raises(ZeroDivisionError, match="in the library"):
        machine.decide()


def test_a_proposal_for_another_level_is_not_taken():
    machine = Thinking(FIFO(max_resource=4), slots=1, searcher=Thoughtful(minds=True))
    machine.decide()
    machine.think()
    (fact,) = machine.begun()
    assert fact.params == thought(Thinking().history, 4)


def test_a_resumed_study_proposes_from_all_that_is_known():
    first = one_running()
    again = Thinking(slots=3, seconds=0.03, facts=[*first.history.facts, Opened(2)])
    again.decide()
    again.think()
    (fact,) = again.begun()
    assert fact.params == thought(first.history)
    # How long earlier segments took is not known to this driver.
    again.pause(1, 1.0)
    again.decide()
    again.think()
    again.decide()
    again.time += 7
    again.pause(2, 1.0)
    again.decide()
    assert again.ahead.patience() == pytest.approx(PATIENCE * 3.5, rel=0.1)


@pytest.mark.parametrize(
    ("searcher", "is_ahead"),
    [
        (Random(), False),
        (Sobol(), False),
        (Grid(), False),
        (TPE(), True),
        (Optuna(sampler="gp"), True),
        (Optuna(sampler="cmaes"), False),
    ],
)
def test_only_what_pays_is_made_ahead(searcher, is_ahead):
    assert searcher.ahead is is_ahead
    study = make_study(searcher=Thoughtful(), trials=9)
    assert type(deciding(study, study.history(), SimulatedExecutor())) is Deciding
    assert type(deciding(study, study.history(), InlineExecutor())) is Deciding
    assert type(deciding(study, study.history(), Patient())) is Ahead
    study = make_study(trials=9)
    assert type(deciding(study, study.history(), Patient())) is Deciding


class Patient(SimulatedExecutor):
    """A simulated cluster at which a driver can be woken, by a thread that goes its own way."""

    runs_meanwhile = True

    def __post_init__(self):
        super().__post_init__()
        self.woken = threading.Event()
        self.looks = itertools.count()

    def now(self):
        # Each look takes a while, and so does a proposal.
        return super().now() + next(self.looks) / 30

    def wake(self):
        self.woken.set()

    def wait(self, timeout):
        # Nothing else happens until the proposal is there: simulated time knows no thread.
        if len(self._runs) < self.workers and timeout is None:
            assert self.woken.wait(60)
        self.woken.clear()
        return super().wait(timeout)


@dataclass(frozen=True, kw_only=True)
class Gated(Thoughtful):
    """Proposes when it is let."""

    type: ClassVar[str] = "gated"

    gate: threading.Semaphore
    asked: threading.Semaphore

    def propose_for(self, space, history, rng, until):
        self.asked.release()
        assert self.gate.acquire(timeout=60)
        return super().propose_for(space, history, rng, until)


def test_a_study_that_is_driven_ends_and_is_stored_as_it_happened():
    study = make_study(searcher=Thoughtful(), trials=12)
    opened = open_study(study, Store(new_url()))
    stream.drive(opened, simulated(kind=Patient, workers=1))
    assert opened.history.state == "finished"
    assert len(opened.history.trials) == 12
    assert open_study(study, opened.store).history.facts == opened.history.facts


def test_a_slow_searcher_keeps_no_worker_waiting_and_ends_with_the_study():
    searcher = Gated(gate=threading.Semaphore(1), asked=threading.Semaphore(0))
    study = make_study(FIFO(max_resource=4), searcher=searcher, trials=6)
    opened = open_study(study, Store(new_url()))
    stream.drive(opened, simulated(kind=Patient, workers=1))
    assert opened.history.state == "finished"
    assert [f.late for f in opened.history.facts if isinstance(f, Launched)] == [False] + 5 * [True]
    assert opened.history.late == 5
    searcher.gate.release()


def test_ctrl_c_does_not_wait_for_the_searcher():
    class Interrupted(Patient):
        def wait(self, timeout):
            assert searcher.asked.acquire(timeout=60)
            raise KeyboardInterrupt

    searcher = Gated(gate=threading.Semaphore(0), asked=threading.Semaphore(0))
    before = threading.enumerate()
    study = make_study(searcher=searcher, trials=6)
    opened = open_study(study, Store(new_url()))
    with pytest.raises(KeyboardInterrupt):
        stream.drive(opened, simulated(kind=Interrupted))
    assert opened.history.halted == "interrupted"
    (thread,) = [thread for thread in threading.enumerate() if thread not in before]
    searcher.gate.release()
    thread.join(60)
    assert not thread.is_alive()


LEAVING = """
import itertools, threading
from tests.thinking import Thinking

def think(_):
    entered.set()
    try:
        for _ in itertools.count():
            pass
    finally:
        print("interrupted")

entered = threading.Event()
machine = Thinking()
machine.passes = think
with machine.ahead:
    machine.decide()
    entered.wait()
"""


def test_a_library_that_still_thinks_when_python_ends_is_interrupted():
    done = subprocess.run(
        [sys.executable, "-c", LEAVING],
        cwd=Path(__file__).parents[2],
        check=False,
        capture_output=True,
        timeout=60,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")
