"""Whatever comes first, the thread or the trials: the laws of proposals that are made ahead."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.thinking import Thinking, Thoughtful, thought
from tuneflow.events import Launched, decode, encode
from tuneflow.history import History
from tuneflow.schedulers import ASHA, FIFO, Hyperband

SCHEDULERS = [
    FIFO(max_resource=2),
    ASHA(max_resource=9, reduction_factor=3),
    Hyperband(max_resource=9),
]
STEPS = st.one_of(
    st.just("think"),
    st.just("turn"),
    st.tuples(st.just("time"), st.floats(0.001, 100)),
    st.tuples(st.just("report"), st.integers(0, 5)),
    st.tuples(st.sampled_from(["pause", "failed", "lost"]), st.integers(0, 5)),
)


@st.composite
def courses(draw):
    """A study, and what happens to it."""
    machine = Thinking(
        draw(st.sampled_from(SCHEDULERS)),
        slots=draw(st.integers(1, 4)),
        trials=draw(st.integers(1, 12)),
        seconds=draw(st.sampled_from([0.0, 0.1, 0.6, 20.0])),
        searcher=Thoughtful(held=draw(st.sampled_from([None, 1, 2]))),
    )
    return machine, draw(st.lists(STEPS, max_size=80))


def play(machine, steps):
    for step in steps:
        if step == "think":
            machine.think()
        elif step == "turn":
            machine.decide()
        elif step[0] == "time":
            machine.time += step[1]
        else:
            happen(machine, *step)


def happen(machine, what, position):
    running = list(machine.history.running)
    if not running:
        return
    number = running[position % len(running)]
    level = machine.history.trials[number].resource + 1
    if what == "report":
        machine.report(number, level, float(number))
    elif what == "pause":
        machine.pause(number, float(number))
    else:
        machine.close(number, what)


def proposed(history):
    """Return each launch of a new trial with the number of facts before it."""
    return [
        (count, fact)
        for count, fact in enumerate(history.facts)
        if isinstance(fact, Launched) and fact.segment == 0 and fact.params is not None
    ]


@settings(max_examples=150, deadline=None)
@given(courses())
def test_a_proposal_is_launched_once_and_knows_all_that_were_launched_before(course):
    machine, steps = course
    play(machine, steps)
    history = machine.history
    least = 0
    for count, fact in proposed(history):
        if fact.late:
            continue
        assert fact.params in made_after(machine, least, count)
        least = count + 1


def made_after(machine, least, most):
    """Return what the searcher proposes over each beginning of the facts in this range."""
    before, found = machine.study.history(), []
    for position, fact in enumerate(machine.history.facts[: most + 1]):
        if position >= least:
            found.append(thought(before))
        before.append(fact)
    return found


@settings(max_examples=150, deadline=None)
@given(courses())
def test_draws_that_were_late_are_counted_and_replayed(course):
    machine, steps = course
    play(machine, steps)
    history = machine.history
    before, replayed = machine.study.history(), machine.study.history()
    for fact in history.facts:
        if isinstance(fact, Launched) and fact.late:
            assert fact.params == machine.study.searcher.late(machine.study.space, before)
        before.append(fact)
        replayed.append(decode(encode(fact)))
    assert history.late == sum(fact.late for _, fact in proposed(history))
    assert summary(replayed) == summary(history)


def summary(history: History):
    return history.trials, history.late, history.counts, history.state


@settings(max_examples=100, deadline=None)
@given(courses())
def test_the_study_ends_however_it_began(course):
    machine, steps = course
    play(machine, steps)
    for _ in range(1000):
        machine.decide()
        if machine.history.state in ("finished", "halted"):
            break
        if machine.history.running:
            happen(machine, "pause", 0)
            machine.think()
        else:
            assert machine.think()
    assert machine.history.state in ("finished", "halted")
