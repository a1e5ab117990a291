"""How long suspended trials are kept, and for whom."""

from __future__ import annotations

import threading

import pytest

from tuneflow.objective.warm import WarmTrial, WarmTrials
from tuneflow.trial import Report, Segment

OBJECTIVE = object()
REPORTS = tuple(
    Report(level, {"loss": 1.0}, f"at-{level}" if level % 2 else None) for level in (1, 2, 3)
)


class Closing:
    """Knows when it was closed."""

    def __init__(self):
        self.event = threading.Event()

    def __call__(self):
        self.event.set()

    def happened(self):
        return self.event.wait(20)


def warm(close=lambda: None, **options):
    return WarmTrial(
        **{
            "trial": None,
            "objective": OBJECTIVE,
            "params": {"lr": 1},
            "resources": None,
            "start": 0,
            "checkpoint": None,
            "reports": REPORTS,
            "close": close,
            **options,
        }
    )


@pytest.mark.parametrize(
    ("start", "checkpoint", "levels"),
    [
        (0, None, [1, 2, 3]),
        (1, "at-1", [2, 3]),
        (3, "at-3", []),
        (2, "at-2", None),
        (3, "at-3-of-another", None),
        (1, None, None),
    ],
)
def test_it_goes_on_from_where_it_has_been(start, checkpoint, levels):
    segment = Segment(0, 1, {"lr": 1}, start=start, checkpoint=checkpoint)
    found = warm().replay(OBJECTIVE, segment)
    assert (found if found is None else [r.resource for r in found]) == levels


def test_it_does_not_go_on_with_more_gpus_than_it_began_with():
    segment = Segment(0, 1, {"lr": 1}, start=3, checkpoint="at-3", resources={"gpu": 2})
    assert warm().replay(OBJECTIVE, segment) is None
    assert warm(resources={"gpu": 2}).replay(OBJECTIVE, segment) == ()
    assert warm(resources={"gpu": 1}).replay(OBJECTIVE, segment) is None


def test_it_goes_on_from_the_checkpoint_it_began_with():
    trial = warm(start=1, checkpoint="origin")
    segment = Segment(0, 1, {"lr": 1}, start=1, checkpoint="origin")
    assert [r.resource for r in trial.replay(OBJECTIVE, segment)] == [2, 3]


def test_it_goes_on_with_its_own_parameters_and_objective_only():
    assert warm().replay(OBJECTIVE, Segment(0, 1, {"lr": 2})) is None
    assert warm().replay(object(), Segment(0, 1, {"lr": 1})) is None


def test_a_trial_is_taken_once():
    trials, trial = WarmTrials(), warm()
    trials.put("study", 1, trial, 60)
    assert trials.take("study", 2) is None
    assert trials.take("other", 1) is None
    assert trials.take("study", 1) is trial
    assert trials.take("study", 1) is None


def test_the_longest_waiting_trial_gives_way():
    trials = WarmTrials(capacity=2)
    closings = [Closing() for _ in range(3)]
    for number, closing in enumerate(closings):
        trials.put("study", number, warm(closing), 60)
    assert closings[0].happened()
    assert not closings[1].event.is_set()
    assert trials.take("study", 0) is None
    assert trials.take("study", 2) is not None


def test_a_trial_is_closed_when_its_time_is_over():
    trials, late, soon = WarmTrials(), Closing(), Closing()
    trials.put("study", 1, warm(late), 60)
    trials.put("study", 2, warm(soon), 0.05)
    assert soon.happened()
    assert not late.event.is_set()


def test_a_trial_that_is_put_again_closes_the_former():
    trials, first = WarmTrials(), Closing()
    trials.put("study", 1, warm(first), 60)
    trials.put("study", 1, warm(), 60)
    assert first.happened()


def test_clear_closes_all_even_when_one_cannot_be():
    trials, closing = WarmTrials(), Closing()
    trials.put("study", 1, warm(lambda: 1 / 0), 60)
    trials.put("study", 2, warm(closing), 60)
    trials.clear()
    assert closing.event.is_set()
    assert trials.take("study", 2) is None
