"""What a library is told of a study, and how the two kinds of libraries take it in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuneflow.errors import MissingDependencyError, SearcherError, SpecError
from tuneflow.events import Closed, Launched, Opened, Reported, Stopped
from tuneflow.history import History
from tuneflow.libraries.base import Model, Parameter, Stateful
from tuneflow.plugins import build
from tuneflow.searchers import Random
from tuneflow.searchers.axes import Axes
from tuneflow.searchers.conversation import Conversation, ask_seed
from tuneflow.searchers.environment import Environment
from tuneflow.searchers.library import LibrarySearcher
from tuneflow.space import Float, Int, Normal, Space, branch
from tuneflow.testing import SearcherSuite
from tuneflow.testing.searchers import ENDINGS, play
from tuneflow.trial import Failure, Report

SPACE = Space({"x": Float(0, 1)})
ENOUGH = 8


class Recorder:
    """A connection that does nothing but look."""

    def ask(self, events, seed):
        self.events, self.seed = list(events), seed
        return {}


def told(facts, *, limit=None, known=(), given=0, mode="min"):
    """Return the events that follow from facts."""
    history = History("loss", mode, 0, limit)
    recorder = Recorder()
    conversation = Conversation(
        Axes(SPACE), history, recorder, owner=None, given=given, known=known
    )
    for fact in facts:
        conversation.apply(fact)
    conversation.ask(0)
    return recorder.events


def last(facts, **how):
    """Return for each trial what it is for the library in the end."""
    found = {}
    for name, trial, value, *_ in told(facts, **how):
        found[trial] = "pending" if name == "began" else "failed" if value is None else value
    return found


def launched(number=0, x=0.5, **more):
    return Launched(number, 0, None, params={"x": x}, **more)


def reported(level, value, number=0):
    return Reported(number, Report(level, {"loss": value}))


def resumed(number=0, **more):
    return Launched(number, 1, None, start=1, **more)


def completed(count, level, value=1.0, first=0):
    """Return the facts of trials that each reported at one level, and paused."""
    for number in range(first, first + count):
        yield launched(number)
        yield reported(level, value, number)
        yield Closed(number, "paused")


class TestWithoutLevels:
    def test_a_trial_begins_with_the_seed_that_proposed_it(self):
        seed = ask_seed(History("loss", "min", 0), 0)
        assert told([launched()]) == [["began", 0, {"x": 0.5}, seed]]

    def test_a_given_point_and_a_late_draw_come_from_elsewhere(self):
        events = told([launched(), launched(1, late=True), launched(2)], given=1)
        assert [event[3] is None for event in events] == [True, True, False]

    def test_a_running_trial_is_pending_whatever_it_has_reported(self):
        assert last([launched(), reported(1, 3.0)]) == {0: "pending"}

    @pytest.mark.parametrize("status", ["paused", "completed", "stopped"])
    def test_a_trial_that_does_not_run_has_its_newest_usable_value(self, status):
        facts = [launched(), reported(1, 3.0), reported(2, 2.0), reported(3, math.nan)]
        assert last([*facts, Closed(0, status)]) == {0: 2.0}

    def test_what_is_to_be_large_is_told_as_a_loss(self):
        assert last([launched(), reported(1, 3.0), Closed(0, "paused")], mode="max") == {0: -3.0}

    def test_a_resumed_trial_keeps_its_result_until_there_is_a_new_one(self):
        facts = [launched(), reported(1, 3.0), Closed(0, "paused"), resumed(), reported(2, 1.0)]
        assert last(facts) == {0: 3.0}
        assert last([*facts, Closed(0, "paused")]) == {0: 1.0}

    @pytest.mark.parametrize("status", ["completed", "stopped", "failed", "lost"])
    def test_a_trial_that_ends_without_a_usable_value_has_failed(self, status):
        assert last([launched(), reported(1, math.nan), Closed(0, status)]) == {0: "failed"}

    def test_a_trial_that_pauses_without_a_usable_value_is_pending(self):
        assert last([launched(), Closed(0, "paused")]) == {0: "pending"}

    def test_a_trial_that_failed_has_failed_whatever_it_reported(self):
        failure = Failure("OOM", "no")
        assert last([launched(), reported(1, 3.0), Closed(0, "failed", failure)]) == {0: "failed"}

    def test_a_trial_that_waits_for_a_retry_is_pending(self):
        facts = [launched(), reported(1, 3.0), Closed(0, "lost", retry=True)]
        assert last(facts) == {0: "pending"}
        assert last([*facts, resumed()]) == {0: "pending"}
        assert last([*facts, Stopped(0, "enough")]) == {0: 3.0}

    def test_a_trial_that_dies_while_it_is_being_stopped_has_not_failed(self):
        facts = [launched(), reported(1, 3.0), Stopped(0, "enough"), Closed(0, "lost")]
        assert last(facts) == {0: 3.0}

    def test_a_failed_trial_that_is_tried_again_is_pending(self):
        facts = [launched(), Closed(0, "failed"), Opened(2, retry_failed=True), resumed()]
        assert last(facts) == {0: "pending"}

    def test_a_clone_is_pending_with_its_new_values(self):
        facts = [launched(), reported(1, 3.0), Closed(0, "paused")]
        clone = resumed(params={"x": 0.25}, source=1)
        assert told([*facts, clone])[-1] == ["began", 0, {"x": 0.25}, None]
        assert last([*facts, clone, Closed(0, "stopped")]) == {0: "failed"}

    def test_known_results_come_first(self):
        known = [{"params": {"x": 0.1}, "value": 7}, {"params": {"x": 0.2}, "value": 5}]
        events = told([launched()], known=known, mode="max")
        assert events[:2] == [["began", -1, {"x": 0.1}, None], ["told", -1, -7]]
        assert [event[1] for event in events] == [-1, -1, -2, -2, 0]


class TestWithLevels:
    def test_nothing_is_told_until_enough_trials_have_a_result_at_one_level(self):
        facts = [*completed(ENOUGH - 1, 1)]
        assert set(last(facts, limit=9).values()) == {"pending"}
        assert set(last([*facts, *completed(1, 1, first=7)], limit=9).values()) == {1.0}

    def test_a_running_trial_is_told_when_it_has_a_result_at_that_level(self):
        facts = [*completed(ENOUGH, 1), launched(8), reported(1, 5.0, 8)]
        assert last(facts, limit=9)[8] == 5.0

    def test_when_the_level_rises_all_are_told_what_they_have_or_would_have_there(self):
        facts = [*completed(ENOUGH + 1, 1, 4.0)]
        for number in range(ENOUGH):
            facts += [resumed(number), reported(3, 1.0 + number, number), Closed(number, "paused")]
        found = last(facts, limit=9)
        assert [found[number] for number in range(ENOUGH)] == [1.0 + n for n in range(ENOUGH)]
        # The others went from 4 to 4.5 in the median, so the last one is taken to do so too.
        assert found[ENOUGH] == 4.5

    def test_a_trial_that_ends_below_the_level_is_told_what_it_would_have(self):
        facts = [*completed(ENOUGH, 1, 4.0)]
        for number in range(ENOUGH):
            facts += [resumed(number), reported(3, 3.0, number), Closed(number, "paused")]
        late = [launched(8), reported(1, 6.0, 8)]
        assert last([*facts, *late], limit=9)[8] == "pending"
        for status in ("paused", "stopped"):
            assert last([*facts, *late, Closed(8, status)], limit=9)[8] == 5.0

    def test_a_running_trial_is_told_anew_when_the_level_rises(self):
        facts = [*completed(ENOUGH, 1, 4.0), launched(8), reported(1, 6.0, 8)]
        for number in range(ENOUGH):
            facts += [resumed(number), reported(3, 3.0, number)]
        assert last(facts, limit=9)[8] == 5.0

    def test_without_a_trial_that_has_both_levels_the_value_stands_as_it_is(self):
        facts = [launched(0), reported(2, 6.0, 0), Closed(0, "paused")]
        assert last([*facts, *completed(ENOUGH, 3, first=1)], limit=9)[0] == 6.0

    def test_a_trial_that_completes_early_is_at_the_maximum(self):
        facts = []
        for number in range(ENOUGH):
            facts += [launched(number), reported(number + 1, 2.0, number)]
            facts += [Closed(number, "completed")]
        assert set(last(facts, limit=99).values()) == {2.0}

    def test_a_failed_trial_stays_failed_when_the_level_rises(self):
        facts = [*completed(ENOUGH, 1)]
        facts += [launched(8), reported(1, 1.0, 8), reported(3, 1.0, 8), Closed(8, "failed")]
        for number in range(ENOUGH):
            facts += [resumed(number), reported(3, 1.0, number)]
        assert last(facts, limit=9)[8] == "failed"

    def test_a_clone_has_no_result_at_any_level(self):
        facts = [*completed(ENOUGH, 1), resumed(0, params={"x": 0.25}, source=1)]
        assert last(facts, limit=9)[0] == "pending"
        for number in range(1, ENOUGH):
            facts += [resumed(number), reported(3, 1.0, number)]
        assert set(last(facts, limit=9).values()) == {"pending", 1.0}  # and no level 3 yet

    @given(st.lists(st.sampled_from(ENDINGS), min_size=1, max_size=20), st.sampled_from([None, 2]))
    @settings(max_examples=60, deadline=None)
    def test_it_agrees_with_the_history(self, endings, limit):
        history = History("loss", "min", 0, limit)
        list(play(Random(), SPACE, history, endings, len(endings)))
        for number, state in last(history.facts, limit=limit).items():
            trial = history.trials[number]
            if state == "failed":
                is_silent = history.trial_loss(trial) == math.inf
                assert is_silent or trial.failure or trial.state.value == "failed"
            elif limit is None and state != "pending":
                # A trial that runs again may have reported since.
                assert state in [history.loss(report.metrics) for report in trial.reports]


class Mean(Model):
    """Proposes the mean of what it knows, moved by the seed."""

    def ask(self, seed):
        trials = [*self.known(), *self.pending()]
        return {
            own.path: own.low + (sum(t.values.get(own.path, 0) for t in trials) + seed / 7) % 1
            for own in self.parameters
        }


class Counter(Stateful):
    """Counts what it was asked and told."""

    def make(self):
        return {"asked": 0, "adopted": [], "results": {}}

    def propose(self, optimizer, seed):
        optimizer["asked"] += 1
        part = (optimizer["asked"] * 0.17 + len(optimizer["results"]) * 0.05) % 1
        values = {own.path: own.low + part * (own.high - own.low) for own in self.parameters}
        return optimizer["asked"], values

    def adopt(self, optimizer, values):
        optimizer["adopted"].append(dict(values))
        return -len(optimizer["adopted"])

    def learn(self, optimizer, token, loss):
        optimizer["results"][token] = loss


class TestStateful:
    def library(self, *parameters):
        return Counter(parameters or [Parameter("x", "float")], {}, 1)

    def test_asking_leaves_no_trace(self):
        library, other = self.library(), self.library()
        for seed in (5, 5, 6):
            assert library.ask(seed) == {"x": 0.17}
        for each in (library, other):
            each.began(0, {"x": 0.17}, 7)
            each.ask(8)
            each.told(0, 1.0)
            each.ask(9)
            each.began(1, {"x": 0.4}, None)
        assert library.optimizer == other.optimizer
        assert library.optimizer == {"asked": 1, "adopted": [{"x": 0.4}], "results": {1: 1.0}}

    def test_a_proposal_that_begins_is_the_optimizers_own(self):
        library = self.library()
        library.began(0, library.ask(5), 5)
        library.told(0, 2.0)
        assert library.optimizer == {"asked": 1, "adopted": [], "results": {1: 2.0}}

    def test_a_replay_leads_to_the_same_state(self):
        live, replayed = self.library(), self.library()
        for trial in range(6):
            values = live.ask(trial)
            for library in (live, replayed):
                library.began(trial, values, trial)
                library.told(trial, 1.0)
        assert replayed.optimizer == live.optimizer

    def test_a_proposal_that_is_older_than_a_result_is_made_again(self):
        live, replayed = self.library(), self.library()
        live.began(0, live.ask(0), 0)
        replayed.began(0, {"x": 0.17}, 0)
        live.ask(1)
        for library in (live, replayed):
            library.told(0, 1.0)
        values = replayed.ask(1)
        for library in (live, replayed):
            library.began(1, values, 1)
        assert live.optimizer == replayed.optimizer

    def test_other_values_are_adopted(self):
        library = self.library()
        library.began(0, {"x": 0.9}, None)
        library.ask(1)
        library.began(1, {"x": 0.8}, 1)
        assert library.optimizer["adopted"] == [{"x": 0.9}, {"x": 0.8}]

    def test_rounding_makes_no_other_values(self):
        library = self.library(Parameter("x", "float"), Parameter("y", "float", snaps=True))
        values = library.ask(0)
        library.began(0, {"x": values["x"] * (1 + 1e-12), "y": 0.0}, 0)
        assert library.optimizer["adopted"] == []

    def test_it_is_told_one_result_of_a_trial(self):
        library = self.library()
        library.began(0, library.ask(0), 0)
        for loss in (3.0, 2.0):
            library.told(0, loss)
        library.began(0, {"x": 0.17}, None)
        assert library.optimizer["results"] == {1: 3.0}

    def test_a_trial_with_new_values_has_a_new_place(self):
        library = self.library()
        library.began(0, library.ask(0), 0)
        library.began(0, {"x": 0.3}, None)
        library.told(0, 4.0)
        assert library.optimizer["results"] == {-1: 4.0}


@dataclass(frozen=True, kw_only=True)
class Fake(LibrarySearcher):
    """A searcher with a library of this module."""

    type: ClassVar[str] = "fake"
    library: ClassVar[str] = "fake"
    package: ClassVar[str] = "a-fake"
    made: ClassVar[Any] = Mean
    conditional: ClassVar[bool] = True

    width: float = 1.0

    def _library(self):
        return self.made


@dataclass(frozen=True, kw_only=True)
class FakeStateful(Fake):
    made: ClassVar[Any] = Counter


class TestModelsKeepTheLaws(SearcherSuite):
    repeats = True

    def make(self, **given):
        return Fake(**given)


class TestStatefulLibrariesKeepTheLaws(SearcherSuite):
    repeats = True

    def make(self, **given):
        return FakeStateful(**given)


@given(st.lists(st.sampled_from(ENDINGS), min_size=1, max_size=8), st.sampled_from([2, 9]))
@settings(max_examples=30, deadline=None)
def test_a_study_with_levels_that_is_resumed_goes_on_as_it_would_have(endings, limit):
    for searcher in (Fake(), FakeStateful()):
        live = History("loss", "min", 0, limit)
        for _ in range(4):
            list(play(searcher, SPACE, live, endings, 5))
            rebuilt = History("loss", "min", 0, limit)
            rebuilt.extend(live.facts)
            again = type(searcher)().suggest(SPACE, rebuilt)
            assert again == searcher.suggest(SPACE, live)


class Missing(Fake):
    _library = LibrarySearcher._library


class Broken(Model):
    def ask(self, seed):
        raise ZeroDivisionError("by zero")


class Nan(Model):
    def ask(self, seed):
        return {"x": math.nan}


class TestTheSearcher:
    def propose(self, searcher, space=SPACE):
        return searcher.suggest(space, History("loss", "min", 0))

    def test_a_space_without_choices_needs_no_library(self):
        assert self.propose(Missing(), Space({"x": Int(3, 3)})) == {"x": 3}

    def test_a_library_that_is_missing_is_named_before_any_trial(self):
        with pytest.raises(MissingDependencyError, match="a-fake"):
            Missing().prepare()

    @pytest.mark.parametrize(("library", "word"), [(Broken, "by zero"), (Nan, "nan")])
    def test_a_library_that_fails_is_a_clear_error(self, library, word):
        class Failing(Fake):
            made = library

        with pytest.raises(SearcherError, match=word):
            self.propose(Failing())

    def test_branches_are_refused_where_they_make_parameters_conditional(self):
        class Flat(Fake):
            conditional = False

        Flat().check(Space({"o": branch({"a": {}, "b": {}})}))
        Flat().check(Space({"o": branch({"a": {"x": Normal()}})}))
        with pytest.raises(SpecError, match="branches"):
            Flat().check(Space({"o": branch({"a": {"x": Normal()}, "b": {}})}))

    def test_an_event_that_fails_is_not_taken_in_twice(self):
        taken = []

        class Picky(Mean):
            def began(self, trial, values, seed):
                super().began(trial, values, seed)
                taken.append(trial)
                if len(taken) == 2:
                    raise OSError("once")

        class Searching(Fake):
            made = Picky

        searcher, history = Searching(), History("loss", "min", 0)
        for number in range(2):
            history.append(launched(number))
        with pytest.raises(SearcherError, match="once"):
            searcher.suggest(SPACE, history)
        searcher.suggest(SPACE, history)
        assert taken == [0, 1, 1]

    def test_its_options_are_its_own_fields(self):
        assert Fake(width=2).options == {"width": 2}

    def test_an_environment_is_written_and_read(self):
        where = {"python": "3.11", "requirements": ["a==1"]}
        searcher = build(Fake, {"environment": where}, "searcher")
        assert searcher.environment == Environment(python="3.11", requirements=("a==1",))
        assert searcher.to_json() == {"type": "fake", "environment": where}
        assert Fake(environment=Environment()).to_json() == {"type": "fake", "environment": {}}
