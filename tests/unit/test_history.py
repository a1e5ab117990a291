"""The history: what follows from the facts."""

from __future__ import annotations

import math

import pytest

from tests.machine import NAN, Machine
from tuneflow.budget import Budget
from tuneflow.errors import CorruptError
from tuneflow.events import Closed, Finished, Launched, Opened, Reported, Stopped
from tuneflow.history import History
from tuneflow.schedulers import FIFO, SuccessiveHalving
from tuneflow.trial import Report, TrialState


def history_of(*facts) -> History:
    history = History("loss", "min", max_resource=9)
    history.extend(facts)
    return history


def reported(trial: int, level: float, value: float, checkpoint: str | None = None) -> Reported:
    return Reported(trial, Report(level, {"loss": value}, checkpoint))


START = Launched(0, 0, 3, params={"x": 1})


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        ([], "new"),
        ([START], "running"),
        ([Opened(1)], "running"),
        ([START, Closed(0, "failed"), Finished("over")], "finished"),
        ([START, Stopped(0, "over"), Finished("over")], "finishing"),
    ],
)
def test_the_state_is_one_word(facts, state):
    assert history_of(*facts).state == state


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        ([Closed(0, "paused")], TrialState.PAUSED),
        ([reported(0, 9, 1), Closed(0, "paused")], TrialState.COMPLETED),
        ([Closed(0, "completed")], TrialState.COMPLETED),
        ([Closed(0, "failed")], TrialState.FAILED),
        ([Closed(0, "lost")], TrialState.FAILED),
        ([Closed(0, "lost", retry=True)], TrialState.PAUSED),
        ([Stopped(0, "enough")], TrialState.RUNNING),
        ([Stopped(0, "enough"), Closed(0, "stopped")], TrialState.STOPPED),
        ([Stopped(0, "enough"), Closed(0, "paused")], TrialState.STOPPED),
        ([Stopped(0, "enough"), Closed(0, "failed")], TrialState.STOPPED),
        ([Stopped(0, "enough"), Closed(0, "completed")], TrialState.COMPLETED),
        ([Closed(0, "paused"), Stopped(0, "enough")], TrialState.STOPPED),
        ([Closed(0, "paused"), Finished("over")], TrialState.STOPPED),
    ],
)
def test_a_trial_ends_as_its_facts_say(facts, state):
    history = history_of(START, *facts)
    assert history.trials[0].state is state
    assert +history.counts == {state: 1}
    assert (0 in history.running) == (state is TrialState.RUNNING)


@pytest.mark.parametrize(
    "fact",
    [
        Launched(2, 0, 3, params={}),
        Launched(0, 1, 3),
        Reported(1, Report(1, {})),
        Closed(1, "paused"),
        Stopped(5, "who?"),
    ],
)
def test_a_fact_that_cannot_follow_is_refused(fact):
    history = history_of(START)
    with pytest.raises(CorruptError, match="cannot follow"):
        history.append(fact)


def test_a_report_of_a_trial_that_has_ended_is_refused():
    history = history_of(START, Closed(0, "failed"))
    with pytest.raises(CorruptError):
        history.append(reported(0, 1, 1))


def test_resource_is_spent_once_for_each_level():
    history = history_of(
        START,
        reported(0, 2, 1, "first"),
        Closed(0, "lost", retry=True),
        Launched(0, 1, 3, start=2, checkpoint="first", attempt=1),
        reported(0, 3, 1),
        Launched(1, 0, 3, params={}),
        reported(1, 1.5, 1),
    )
    assert history.spent == 4.5


def test_a_clone_spends_from_where_its_donor_was():
    history = history_of(
        Launched(0, 0, 5, params={"x": 1}),
        reported(0, 5, 1, "donor"),
        Launched(1, 0, 5, params={"x": 2}),
        reported(1, 1, 2),
        Closed(1, "paused"),
        Launched(1, 1, 6, start=5, checkpoint="donor", params={"x": 3}, source=0),
    )
    clone = history.trials[1]
    assert (clone.resource, clone.checkpoint, clone.params) == (5, "donor", {"x": 3})
    history.append(reported(1, 6, 3))
    assert history.spent == 5 + 1 + 1


def test_the_source_of_a_clone_is_kept_when_it_goes_on():
    history = history_of(
        START,
        Closed(0, "paused"),
        Launched(0, 1, 6, params={"x": 3}, source=7),
        Closed(0, "paused"),
        Launched(0, 2, 9),
    )
    assert history.trials[0].source == 7


def test_values_from_before_a_clone_do_not_count_for_its_new_parameters():
    history = history_of(
        START,
        reported(0, 3, 0.1),
        Closed(0, "paused"),
        Launched(0, 1, 6, params={"x": 3}, source=7),
    )
    assert history.best() is None
    assert history.best_loss == 0.1
    history.append(reported(0, 4, 0.5))
    assert history.trial_loss(history.trials[0]) == 0.5


@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_best_trial_has_the_best_newest_usable_value(mode):
    sign = 1 if mode == "min" else -1
    history = History("loss", mode)
    curves = [[5], [1, 4], [3, NAN], [3], [NAN], [math.inf * -sign], [0]]
    for trial, curve in enumerate(curves):
        history.append(Launched(trial, 0, None, params={}))
        for level, value in enumerate(curve, start=1):
            history.append(reported(trial, level, sign * value if math.isfinite(value) else value))
    history.append(Closed(6, "failed"))
    assert history.best().number == 2
    assert history.best_loss == 0


def test_there_is_no_best_without_a_usable_value():
    assert history_of(START, reported(0, 1, NAN)).best() is None


def test_closings_are_counted_from_the_last_improvement():
    history = history_of(START, reported(0, 1, 2), Closed(0, "failed"))
    assert history.closings_since_best == 0
    history.extend([Launched(1, 0, 3, params={}), reported(1, 1, 2), Closed(1, "failed")])
    assert history.closings_since_best == 1
    history.extend([Launched(2, 0, 3, params={}), reported(2, 1, 1), Closed(2, "failed")])
    assert history.closings_since_best == 0


def test_an_index_that_is_made_late_is_fed_every_fact():
    class Count:
        def __init__(self):
            self.facts = 0

        def apply(self, fact):
            self.facts += 1

    history = history_of(START, reported(0, 1, 2))
    assert history.index("count", Count).facts == 2
    history.append(Closed(0, "paused"))
    assert history.index("count", Count).facts == 3


def test_opening_a_study_again_makes_its_failed_trials_wait_for_a_retry():
    budget = Budget(max_failures_per_trial=1)
    machine = Machine(FIFO(max_resource=1), trials=2, budget=budget)
    machine.run(lambda trial, level: None if trial == 0 else 1)
    history = machine.history
    assert history.trials[0].failures == 2
    history.append(Opened(3, retry_failed=True))
    assert (history.epoch, history.state, list(history.retries)) == (3, "running", [0])
    assert history.failed_since_opened == history.trials[0].failures == 0


def test_opening_a_study_again_leaves_a_finished_one_alone():
    machine = Machine(FIFO(max_resource=1), trials=1)
    machine.run(lambda trial, level: 1)
    machine.history.append(Opened(1, retry_failed=True))
    assert machine.history.state == "finished"
    assert machine.decide() == []


def test_the_open_segments_are_what_their_workers_need():
    machine = Machine(SuccessiveHalving(max_resource=9), trials=9)
    machine.decide()
    for trial in range(9):
        machine.pause(trial, trial)
    machine.decide()
    segment = next(machine.history.open_segments())
    assert segment.key == (0, 1)
    assert (segment.start, segment.until, segment.max_resource) == (1, 3, 9)
    assert (segment.checkpoint, segment.attempt) == ("ckpt/0-1", 0)
    assert segment.params == machine.history.trials[0].params
