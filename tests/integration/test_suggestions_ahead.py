"""A searcher that takes seconds, on real clusters: nobody waits for it, and nothing is lost."""

from __future__ import annotations

import json
import os

import pytest

import tuneflow
from tests import end_to_end
from tests.clusters import alive, cluster, family, until
from tests.end_to_end import LOCAL, assert_whole, driver, finish, held, let_go
from tuneflow.events import Launched
from tuneflow.rng import generator
from tuneflow.searchers.base import sampled

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("storage")]

PACKAGE = '''
import time
from dataclasses import dataclass
from typing import ClassVar

from tuneflow.searchers import Random


@dataclass(frozen=True, kw_only=True)
class Slow(Random):
    """Takes its time."""

    type: ClassVar[str] = "slow"

    seconds: float
    fails_at: int | None = None

    @property
    def ahead(self):
        return True

    def propose(self, space, history, rng):
        if self.fails_at is not None and len(history.trials) >= self.fails_at:
            raise ZeroDivisionError("in the library")
        time.sleep(self.seconds)
        return super().propose(space, history, rng)
'''
RESTS = """

def rests(config):
    time.sleep(0.7)
    yield from train(config)
"""
ENTRY_POINT = "[tuneflow.searchers]\nslow = slow_searcher:Slow\n"


@pytest.fixture(autouse=True)
def package(tmp_path, monkeypatch):
    """An installed package with the searcher, for this process and all that it starts."""
    site = tmp_path / "site-packages"
    info = site / "slow_searcher-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "slow_searcher.py").write_text(PACKAGE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: slow-searcher\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINT)
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))


def prepare(folder, trials, **searcher):
    """Write study.yaml, whose trials take most of a second; return the study's URL."""
    url = end_to_end.prepare(
        folder,
        objective="train.py:rests",
        scheduler={"type": "fifo", "max_resource": 2},
        searcher={"type": "slow", **searcher},
        trials=trials,
    )
    with (folder / "train.py").open("a") as train:
        train.write(RESTS)
    return url


def launches(url):
    """Return the launches of new trials in a stored study."""
    facts = tuneflow.load(url).history.facts
    return [fact for fact in facts if isinstance(fact, Launched) and fact.segment == 0]


def assert_drawn(url):
    """Assert that each configuration is what the journal says: proposed, or drawn late."""
    result = tuneflow.load(url)
    space, searcher = result.study.space, result.study.searcher
    history = result.study.history()
    own = []
    for fact in result.history.facts:
        if isinstance(fact, Launched) and fact.segment == 0:
            if fact.late:
                assert fact.params == searcher.late(space, history)
            else:
                own.append((fact.trial, fact.params))
        history.append(fact)
    known = {}
    for number in range(len(result.trials)):
        drawn = space.build(sampled(generator(result.study.seed, "suggest", number)))
        known[json.dumps(drawn)] = number
    made_for = [known[json.dumps(params)] for _, params in own]
    assert len(set(made_for)) == len(made_for)
    assert all(made <= trial for made, (trial, _) in zip(made_for, own, strict=True))


def test_trials_go_on_while_the_searcher_thinks(tmp_path):
    url = prepare(tmp_path, trials=24, seconds=3.0)
    with driver(tmp_path, "run", "study.yaml", *LOCAL) as started:
        finish(started)
    late = [fact.late for fact in launches(url)]
    assert len(late) == 24
    assert not late[0]
    assert any(late)
    assert tuneflow.load(url).history.late == sum(late)
    assert_drawn(url)
    assert_whole(url, trials=24)


def test_a_killed_driver_is_followed_by_one_that_knows_everything(tmp_path):
    url = prepare(tmp_path, trials=20, seconds=0.3)
    with held(tmp_path, "run", "study.yaml", *LOCAL, limit=17) as started:
        children = family(started.pid)
        started.kill()
        until(lambda: not alive(children))
    before = launches(url)
    let_go(tmp_path)
    with driver(tmp_path, "resume", url) as resumed:
        finish(resumed)
    assert launches(url)[: len(before)] == before
    assert_drawn(url)
    assert_whole(url, trials=20)


def test_a_driver_on_the_cluster_makes_proposals_ahead_too(tmp_path):
    url = prepare(tmp_path, trials=16, seconds=2.0)
    with cluster() as address:
        with driver(tmp_path, "submit", "study.yaml", "--address", address) as started:
            finish(started)
        assert_drawn(url)
        assert tuneflow.load(url).history.late > 0


def test_a_searcher_that_fails_ends_the_command_with_its_error(tmp_path):
    prepare(tmp_path, trials=30, seconds=0.0, fails_at=5)
    with driver(tmp_path, "run", "study.yaml", *LOCAL) as started:
        _, said = started.communicate(timeout=60)
    assert started.returncode != 0
    assert "in the library" in said
