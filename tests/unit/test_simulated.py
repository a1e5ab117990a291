"""The simulated cluster keeps the promises of executors, in simulated time."""

from __future__ import annotations

import pytest

from tests.machine import make_study
from tests.places import curve, new_url, open_study, simulated
from tuneflow import stream
from tuneflow.errors import ObjectiveError, SpecError
from tuneflow.executors.base import Ended, Progress
from tuneflow.executors.simulated import SimulatedExecutor
from tuneflow.schedulers import FIFO
from tuneflow.store import Store
from tuneflow.trial import Segment


def segment(trial=0, until=3, **changes):
    return Segment(
        **{"trial": trial, "segment": 0, "params": {"x": 0.5}, "until": until, **changes}
    )


def finish(executor):
    """Wait until everything has ended; return the messages and when each came."""
    said = []
    while executor._runs:
        said += [(executor.now(), message) for message in executor.wait(None)]
    return said


def test_a_segment_reports_each_level_and_pauses():
    executor = simulated(step_time=2.0, start_time=1.0)
    executor.submit(segment(start=0.5))
    said = finish(executor)
    reports = [message.report for _, message in said if isinstance(message, Progress)]
    assert [report.resource for report in reports] == [1.5, 2.5, 3]
    assert [report.metrics["loss"] for report in reports] == [
        curve({"x": 0.5}, r.resource) for r in reports
    ]
    outcome = said[-1][1].outcome
    assert (outcome.status, outcome.reports) == ("paused", tuple(reports))
    assert (outcome.started, outcome.ended) == (0, 7)


def test_an_objective_without_levels_is_one_step():
    executor = simulated()
    executor.submit(segment(until=None))
    assert [type(message) for message in executor.wait(None)] == [Progress, Ended]
    assert not executor._runs


def test_what_happens_at_one_moment_is_said_together():
    executor = simulated(workers=3)
    for trial in range(3):
        executor.submit(segment(trial))
    assert [message.trial for message in executor.wait(None)] == [0, 1, 2]
    assert executor.now() == 1


def test_more_segments_than_workers_wait_for_their_turn():
    executor = simulated(workers=2)
    for trial in range(5):
        executor.submit(segment(trial, until=1))
    ended = [(time, m.outcome.trial) for time, m in finish(executor) if isinstance(m, Ended)]
    assert ended == [(1, 0), (1, 1), (2, 2), (2, 3), (3, 4)]


def test_a_segment_is_not_run_twice_at_once():
    executor = simulated()
    executor.submit(segment())
    executor.submit(segment())
    assert len(executor.wait(None)) == 1


@pytest.mark.parametrize("is_waiting", [False, True])
def test_a_cancelled_segment_ends_at_its_next_report(is_waiting):
    executor = simulated(workers=1)
    executor.submit(segment(0))
    executor.submit(segment(1))
    executor.cancel(1 if is_waiting else 0, 0)
    executor.cancel(9, 0)
    outcomes = {m.outcome.trial: m.outcome for _, m in finish(executor) if isinstance(m, Ended)}
    stopped = outcomes[1 if is_waiting else 0]
    assert (stopped.status, len(stopped.reports)) == ("stopped", 0 if is_waiting else 1)
    assert outcomes[0 if is_waiting else 1].status == "paused"


def test_a_segment_that_can_be_interrupted_ends_at_once():
    executor = simulated(workers=1, step_time=10.0, interruptible=True)
    for trial in range(3):
        executor.submit(segment(trial))
    executor.wait(None)
    executor.wait(4.0)
    executor.cancel(0, 0)
    executor.cancel(1, 0)
    first, second = (message.outcome for message in executor.wait(None))
    assert (executor.now(), first.trial, first.status, len(first.reports)) == (14, 0, "stopped", 1)
    assert (second.trial, second.status, second.reports) == (1, "stopped", ())
    assert (executor.wait(None)[0].trial, executor.now()) == (2, 24)


def test_a_wait_that_is_too_short_moves_the_clock_only():
    executor = simulated(step_time=10.0)
    executor.submit(segment())
    assert executor.wait(4.0) == []
    assert executor.now() == 4
    assert executor.wait(0.0) == []
    assert len(executor.wait(6.0)) == 1
    assert executor.now() == 10


@pytest.mark.parametrize(
    ("settings", "status"),
    [({"failure_rate": 1.0}, "failed"), ({"preemption_rate": 1e9}, "lost")],
)
def test_failures_and_preemptions_end_a_segment(settings, status):
    executor = simulated(**settings)
    executor.submit(segment())
    (ended,) = executor.wait(None)
    assert ended.outcome.status == status
    assert ended.outcome.failure is not None


@pytest.mark.parametrize(
    ("period", "saved"),
    [
        ({"checkpoint_every": 2}, [2, 4, 5]),
        ({"checkpoint_every": None, "checkpoint_seconds": 25}, [3, 5]),
        ({"checkpoint_every": None}, [5]),
    ],
)
def test_checkpoints_are_saved_in_their_period_and_where_the_segment_ends(period, saved):
    executor = simulated(step_time=10.0, **period)
    executor.submit(segment(until=5))
    reports = [m.report for _, m in finish(executor) if isinstance(m, Progress)]
    assert [report.resource for report in reports if report.checkpoint] == saved


def test_a_preempted_segment_goes_on_elsewhere_until_it_has_not_got_on_too_often():
    executor = simulated(preemption_rate=1e9, relaunches=3, start_time=5.0)
    executor.submit(segment(until=5))
    [(time, ended)] = finish(executor)
    assert (ended.outcome.status, executor.preemptions, time) == ("lost", 4, 24)


@pytest.mark.parametrize(("checkpoints", "levels"), [(True, [4, 5]), (False, [1, 2, 3, 4, 5])])
def test_without_checkpoints_a_trial_begins_anew(checkpoints, levels):
    executor = simulated(checkpoints=checkpoints)
    executor.submit(segment(start=3, until=5))
    reports = [m.report for _, m in finish(executor) if isinstance(m, Progress)]
    assert [report.resource for report in reports] == levels
    assert all((report.checkpoint is not None) == checkpoints for report in reports)


def test_stragglers_differ_and_repeat():
    def times(seed):
        executor = simulated(straggler_spread=1.0, seed=seed)
        for trial in range(20):
            executor.submit(segment(trial, until=1))
        return [time for time, _ in finish(executor)]

    assert times(1) == times(1) != times(2)
    assert max(times(1)) > 2 * min(times(1))


def test_time_depends_on_the_configuration_when_it_is_told_to():
    executor = simulated(step_time=lambda config: config["x"])
    executor.submit(segment(until=2))
    finish(executor)
    assert executor.now() == 1


def test_closing_ends_everything():
    executor = simulated(workers=1)
    executor.submit(segment(0))
    executor.submit(segment(1))
    executor.close(abandon=True)
    assert executor.wait(None) == []


@pytest.mark.parametrize("metric", [lambda config: 1.0, lambda: 1.0])
def test_only_a_curve_can_be_simulated(metric):
    with pytest.raises(ObjectiveError, match="two arguments"):
        simulated(metric)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"workers": 0}, "workers"),
        ({"failure_rate": -1}, "failure_rate"),
        ({"start_time": float("nan")}, "start_time"),
        ({"notice": -1}, "notice"),
        ({"relaunches": -1}, "relaunches"),
        ({"checkpoint_every": 0}, "checkpoint_every"),
    ],
)
def test_an_impossible_setting_is_refused_by_name(settings, field):
    with pytest.raises(SpecError) as caught:
        SimulatedExecutor(**settings)
    assert caught.value.field == f"executor.{field}"


def test_a_study_uses_all_workers():
    executor = simulated(workers=8)
    opened = open_study(make_study(FIFO(max_resource=5), trials=16), Store(new_url()))
    stream.drive(opened, executor)
    assert executor.now() == 10


def test_a_step_may_take_as_long_as_the_resources_of_its_segment_say():
    def seconds(config, resources):
        return 8.0 / (resources or {"gpu": 1})["gpu"]

    executor = simulated(step_time=seconds)
    executor.submit(segment(0, until=1))
    executor.submit(segment(1, until=1, resources={"gpu": 4}))
    ended = [(time, m.outcome.trial) for time, m in finish(executor) if isinstance(m, Ended)]
    assert ended == [(2, 1), (8, 0)]
