"""The fast schedulers answer as slow ones do that are written straight from the papers."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from tuneflow.events import Closed, Launched, Reported
from tuneflow.schedulers import ASHA, MedianStopping, Resume, Stop
from tuneflow.testing.world import Fate, World, fates
from tuneflow.trial import TrialState

ETAS = st.sampled_from([2, 3, 1.5, 2.5])
WORLDS = {"trials": 14, "seed": 3}


def loss_of(report):
    value = report.metrics.get("loss", math.nan)
    return value if math.isfinite(value) else math.inf


class Rungs:
    """Every result at each rung of each bracket, as plain lists that are sorted when asked."""

    def __init__(self, scheduler, facts):
        self.scheduler = scheduler
        self.rungs = defaultdict(dict)
        self.rejected = []
        self.bracket, self.highest, self.latest = {}, {}, {}
        for arrival, fact in enumerate(facts):
            if isinstance(fact, Launched) and fact.trial not in self.bracket:
                self.bracket[fact.trial], self.highest[fact.trial] = fact.bracket, -1
                self.latest[fact.trial] = (0, math.inf, 0)
            elif isinstance(fact, Reported):
                report = fact.report
                self.latest[fact.trial] = (report.resource, loss_of(report), arrival)
                if scheduler.variant == "stopping":
                    self.record(fact.trial)
            elif isinstance(fact, Closed) and not fact.retry:
                if fact.status not in ("failed", "lost"):
                    self.record(fact.trial)
                else:
                    goal = max(self.highest[fact.trial] + 1, self.bracket[fact.trial])
                    self.rungs[self.bracket[fact.trial], goal][fact.trial] = (
                        math.inf,
                        arrival,
                        fact.trial,
                    )

    def record(self, trial):
        level, loss, arrival = self.latest[trial]
        passed = [k for k, rung in enumerate(self.scheduler.levels) if rung <= level]
        if not passed or passed[-1] <= self.highest[trial] or passed[-1] < self.bracket[trial]:
            return
        self.highest[trial] = passed[-1]
        rung = self.bracket[trial], passed[-1]
        self.rungs[rung][trial] = (loss, arrival, trial)
        top = self.top(rung)
        if top and trial not in top and passed[-1] < len(self.scheduler.levels) - 1:
            self.rejected.append(trial)

    def top(self, rung):
        results = sorted(self.rungs[rung].values())
        count = math.floor(len(results) / Fraction(str(self.scheduler.reduction_factor)))
        return [trial for _, _, trial in results[:count]]


def promotion(world, scheduler, history):
    """Return what Algorithm 2 of the ASHA paper promotes."""
    rungs = Rungs(scheduler, history.facts)
    for k in range(len(scheduler.levels) - 2, -1, -1):
        for bracket in range(scheduler.brackets):
            for trial in rungs.top((bracket, k)):
                loss = rungs.rungs[bracket, k][trial][0]
                stands = history.trials[trial].state is TrialState.PAUSED
                is_here = rungs.highest[trial] == k and trial not in history.retries
                if stands and is_here and loss < math.inf:
                    return Resume(trial, scheduler.levels[k + 1])
    return None


@settings(deadline=None, max_examples=60)
@given(fates(), ETAS, st.integers(1, 20), st.integers(1, 3))
def test_asha_promotes_whom_algorithm_2_promotes(fate, eta, slots, brackets):
    scheduler = ASHA(max_resource=9, reduction_factor=eta, brackets=brackets)
    world = World(scheduler, fate, slots=slots, **WORLDS)
    facts = world.run().facts
    replayed = world.study.history()
    for count, decision in world.watched.answers:
        replayed.extend(facts[len(replayed.facts) : count])
        found = decision if isinstance(decision, Resume) else None
        assert found == promotion(world, scheduler, replayed)


@settings(deadline=None, max_examples=60)
@given(fates(), ETAS, st.integers(1, 20), st.integers(1, 3))
def test_stopping_asha_stops_whom_a_sorted_list_would_stop(fate, eta, slots, brackets):
    scheduler = ASHA(max_resource=9, reduction_factor=eta, brackets=brackets, variant="stopping")
    world = World(scheduler, fate, slots=slots, **WORLDS)
    facts = world.run().facts
    replayed = world.study.history()
    for count, decision in world.watched.answers:
        replayed.extend(facts[len(replayed.facts) : count])
        stopped = [
            trial
            for trial in Rungs(scheduler, replayed.facts).rejected
            if not replayed.trials[trial].state.is_final and replayed.trials[trial].stopping is None
        ]
        assert (decision.trial if isinstance(decision, Stop) else None) == (
            stopped[0] if stopped else None
        )


def median_rejects(rule, facts, trial):
    """Say whether the newest report of a trial is strictly worse than Vizier's median."""
    curves, complete, levels = defaultdict(list), [], {}
    for fact in facts:
        if isinstance(fact, Reported):
            levels[fact.trial] = fact.report.resource
            if loss_of(fact.report) < math.inf:
                curves[fact.trial].append((fact.report.resource, loss_of(fact.report)))
        elif isinstance(fact, Closed):
            is_done = fact.status == "paused" and levels[fact.trial] >= rule.max_resource
            if fact.status == "completed" or is_done:
                complete.append(fact.trial)
    step = levels[trial]
    averages = []
    for other in complete:
        values = [loss for level, loss in curves[other] if level <= step]
        if values:
            averages.append(math.fsum(values) / len(values))
    if len(averages) < rule.min_samples or not rule.min_resource <= step < rule.max_resource:
        return False
    best = min(loss for _, loss in curves[trial])
    return best > statistics.median(averages)


@settings(deadline=None, max_examples=60)
@given(fates(), st.integers(1, 20), st.integers(1, 4), st.integers(1, 3))
def test_median_stops_whom_the_formula_stops(fate, slots, min_samples, min_resource):
    # Whole numbers, so that both ways to add them up give the same sum.
    whole = [Fate(f.which, f.deed, float(round(f.value))) for f in fate]
    rule = MedianStopping(max_resource=7, min_samples=min_samples, min_resource=min_resource)
    world = World(rule, whole, slots=slots, **WORLDS)
    facts = world.run().facts
    expected, pending = [], set()
    replayed = world.study.history()
    for count, decision in world.watched.answers:
        for fact in facts[len(replayed.facts) : count]:
            replayed.append(fact)
            is_judged = isinstance(fact, Reported) and loss_of(fact.report) < math.inf
            if is_judged and median_rejects(rule, replayed.facts, fact.trial):
                expected.append(fact.trial)
        pending = [
            trial
            for trial in expected
            if not replayed.trials[trial].state.is_final and replayed.trials[trial].stopping is None
        ]
        assert (decision.trial if isinstance(decision, Stop) else None) == (
            pending[0] if pending else None
        )
