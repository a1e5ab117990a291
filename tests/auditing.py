"""What must be true of a study at each moment, whatever has happened to it."""

from __future__ import annotations

from collections import Counter

from tuneflow.checkpoints import Checkpoints
from tuneflow.events import Closed, Launched, Reported, decode, encode
from tuneflow.journal import Journal
from tuneflow.outcomes import stored_outcomes
from tuneflow.store import Store
from tuneflow.trial import TrialState


class Audit:
    """Reads a study's journal as anybody can, and compares it with what everybody thinks.

    Args:
        study: the study.
        url: its storage.
        slots: how many segments each driver may have running.

    Attributes:
        drivers: those that are alive, the newest one last.
        runs: the runs of segments that have not ended.
        history: what the journal says.
        wrong: what went wrong where nobody could be told at once.
    """

    def __init__(self, study, url, slots):
        self.study, self.url, self.slots = study, url, slots
        self.drivers, self.runs = [], []
        self.history = study.history()
        self.wrong = []
        self._journal = Journal(Store(url))
        self._unchecked = 0
        self._outcomes = {}

    def expect(self, condition, problem):
        if not condition:
            self.wrong.append(problem)

    def audit(self):
        """Read the journal as anybody can, and compare it with what everybody thinks."""
        assert self.wrong == [], self.wrong
        self._read()
        new, self._unchecked = self.history.facts[self._unchecked :], len(self.history.facts)
        self._check_drivers()
        self._check_counts()
        self._check_limits()
        self._check_outcomes(new)

    def _read(self):
        for entry in self._journal.read():
            self.history.extend(entry.facts)

    def is_committed(self, segment):
        """Return whether a segment was launched as far as the journal knows."""
        self._read()
        trials = self.history.trials
        return segment.trial < len(trials) and trials[segment.trial].segment >= segment.segment

    def replay(self):
        """Read the whole journal again, and make sure that it says what it said."""
        store = Store(self.url)
        facts = [fact for entry in Journal(store).read() for fact in entry.facts]
        lines = list(map(encode, self.history.facts))
        assert list(map(encode, facts)) == lines
        again = self.study.history()
        again.extend(decode(line) for line in lines)
        assert [repr(trial) for trial in again.trials] == list(map(repr, self.history.trials))
        self._check_levels()
        self._check_launches()
        self.check_checkpoints()
        stored = stored_outcomes(store, self._outcomes)
        assert list(map(repr, stored)) == list(map(repr, self._outcomes.values()))
        return again

    def _check_drivers(self):
        """Whoever waits has committed all that it knows."""
        for driver in self.drivers:
            if driver.opened is not None:
                known = driver.opened.history.facts
                ours = self.history.facts[: len(known)]
                assert list(map(encode, known)) == list(map(encode, ours))
                is_newest = driver.opened.history.epoch == self.history.epoch
                if is_newest and not self.study.in_rounds:
                    assert len(known) == len(self.history.facts), "the newest driver knows all"

    def _check_counts(self):
        history = self.history
        states = Counter(trial.state for trial in history.trials)
        assert states == +history.counts
        assert sum(states.values()) == len(history.trials)
        assert states[TrialState.RUNNING] == len(history.running) == len([*history.open_segments()])

    def _check_limits(self):
        history, study = self.history, self.study
        if study.trial_limit is not None:
            assert len(history.trials) <= study.trial_limit
        if not study.in_rounds:
            assert len(history.running) <= min(self.slots, study.max_concurrent or self.slots)
        total = study.budget.total_resource
        if total is not None and study.scheduler.limit is not None:
            assert history.spent <= total

    def _check_outcomes(self, facts):
        """What a segment leaves behind is in the history, every level of it."""
        closed = [fact.trial for fact in facts if isinstance(fact, Closed)]
        for number in dict.fromkeys(closed):
            trial = self.history.trials[number]
            segments = range(trial.since, trial.segment + (number not in self.history.running))
            known = {report.resource for report in trial.reports}
            for outcome in stored_outcomes(Store(self.url), [(number, s) for s in segments]):
                first = self._outcomes.setdefault(outcome.key, outcome)
                assert repr(outcome) == repr(first), "an outcome is stored once"
                missing = [r.resource for r in outcome.reports if r.resource not in known]
                assert missing == [], f"{outcome.key} reported {missing}, which nobody knows"

    def _check_levels(self):
        """Each level counts once, none is left out, and it stands on all the levels before it."""
        level = Counter()
        for fact in self.history.facts:
            if isinstance(fact, Launched) and fact.source is not None:
                level[fact.trial] = fact.start
            elif isinstance(fact, Reported):
                level[fact.trial] += 1
                assert fact.report.resource == level[fact.trial]
                assert fact.report.metrics["steps"] == fact.report.resource

    def _check_launches(self):
        """Segments are launched once, from what was reported before, which is there to be had."""
        saved = {None: 0}
        segments = Counter()
        for fact in self.history.facts:
            if isinstance(fact, Reported) and fact.report.checkpoint:
                saved[fact.report.checkpoint] = fact.report.resource
            elif isinstance(fact, Launched):
                assert fact.segment == segments[fact.trial]
                segments[fact.trial] += 1
                assert saved[fact.checkpoint] == fact.start

    def check_checkpoints(self):
        """Whoever may go on can: its newest checkpoint is there."""
        self._read()
        checkpoints = Checkpoints(Store(self.url))
        for trial in self.history.trials:
            is_settled = trial.state in (TrialState.COMPLETED, TrialState.STOPPED)
            if trial.checkpoint is not None and not is_settled:
                assert checkpoints.load(trial.checkpoint).resource == trial.checkpoint_resource
