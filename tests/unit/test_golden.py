"""Decisions stay what they were: golden journals are replayed, decided again and played again."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.golden.make import FOLDER, play, studies
from tuneflow.events import (
    Closed,
    Elapsed,
    Opened,
    Reported,
    decode,
    encode,
)
from tuneflow.study import decide
from tuneflow.trial import TrialState

ROOT = Path(__file__).parents[2]
CASES = [pytest.param(name, study, id=name) for name, study in studies()]


def golden(name):
    return (FOLDER / f"{name}.jsonl").read_text().splitlines()


@pytest.mark.parametrize(("name", "study"), CASES)
def test_the_study_still_makes_the_same_journal(name, study):
    assert [encode(fact) for fact in play(study)] == golden(name)


@pytest.mark.parametrize(("name", "study"), CASES)
def test_what_happened_leads_to_the_same_decisions(name, study):
    facts = [decode(line) for line in golden(name)]
    history = study.history()
    slots = math.inf if study.in_rounds else 4
    while len(history.facts) < len(facts):
        fact = facts[len(history.facts)]
        if isinstance(fact, Reported | Closed | Opened | Elapsed):
            history.append(fact)
        else:
            first = len(history.facts)
            assert decide(study, history, slots) == facts[first : len(history.facts)]
    assert [encode(fact) for fact in history.facts] == golden(name)
    assert history.state == "finished"


@pytest.mark.parametrize(("name", "study"), CASES)
def test_every_golden_study_meets_trouble_and_finds_a_best_trial(name, study):
    history = study.history()
    history.extend(map(decode, golden(name)))
    assert any(isinstance(fact, Closed) and fact.retry for fact in history.facts)
    assert history.best() is not None
    assert not history.counts[TrialState.RUNNING]


def test_nothing_depends_on_the_order_of_sets():
    script = "from tests.golden import make\nfor n, s in make.studies(): print(n, make.play(s))"
    outputs = set()
    for seed in ("0", "1", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            check=True,
        )
        outputs.add(done.stdout)
    assert len(outputs) == 1
