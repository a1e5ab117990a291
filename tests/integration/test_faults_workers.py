"""Workers, drivers and the scheduler that are killed again and again while a study runs.

Trials note their steps in a file, and wait in the middle of one while another file says so. So
each kill comes in the middle of a segment, however fast the machine is.
"""

from __future__ import annotations

import os
import random
import signal
from contextlib import ExitStack, contextmanager

import psutil
import pytest

from tests.clusters import await_workers, scheduler, until, worker
from tests.end_to_end import (
    INLINE,
    assert_whole,
    await_saved,
    computed,
    driver,
    entries,
    finish,
    hold,
    let_go,
    on,
    outcomes,
    prepare,
    run,
    saved,
    steps,
)
from tests.lasting_cluster import lasting_cluster
from tuneflow.events import Closed

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

KILLS = 6
CLUSTER_IS_AWAY = 4
LEVELS = {"min_resource": 3, "max_resource": 9, "reduction_factor": 3}
MODES = {
    "streaming": {"scheduler": {"type": "asha", **LEVELS}},
    "rounds": {"scheduler": {"type": "successive_halving", **LEVELS}, "round_size": "all"},
}
MORTALS = ("driver", "both", "scheduler", "worker", "driver", "scheduler", "both")


class Workers:
    """A cluster of worker processes, of which there are always as many, whoever kills them.

    Args:
        folder: where they put what they need.
        with_nanny: whether it is a nanny that starts a new one, or somebody else.
    """

    COUNT = 2

    def __init__(self, folder, *, with_nanny):
        self._folder = folder
        self._option = "--nanny" if with_nanny else "--no-nanny"
        self._with_nanny = with_nanny

    @contextmanager
    def started(self):
        """Start them; they are gone afterwards."""
        with ExitStack() as self._stack:
            self.address, _ = self._stack.enter_context(scheduler(self._folder))
            for _ in range(self.COUNT):
                self._start()
            await_workers(self.address, self.COUNT)
            yield self

    def _start(self):
        options = (self._option, "--local-directory", self._folder)
        self._stack.enter_context(worker(self.address, *options))

    def kill(self, pid):
        """Kill one, and have another one take its place."""
        os.kill(pid, signal.SIGKILL)
        if not self._with_nanny:
            self._start()


class Progress:
    """Lets a study in a folder go on bit by bit, and knows whom to kill in between.

    Nobody dies twice at the same level of the same trial: what workers die of each time is the
    fault of a trial, and no accident.
    """

    def __init__(self, folder, url, seed):
        self._folder = folder
        self._url = url
        self._rng = random.Random(seed)
        self._died = set()
        self._known = []
        hold(folder, 0)

    def go_on(self, started):
        """Let some more steps be made; return whether the study is still under way."""
        limit = len(steps(self._folder)) + self._rng.randrange(1, 4)
        hold(self._folder, limit)
        until(lambda: len(steps(self._folder)) >= limit or started.poll() is not None)
        return started.poll() is None

    def victim(self):
        """Return a worker that is in the middle of a step, or None."""
        await_saved(self._folder, self._url)
        safe, made = saved(self._url), steps(self._folder)
        self._known.append((len(made), safe, outcomes(self._url)))
        at = {trial: (level, pid) for trial, level, pid in made}
        able = [
            (trial, level, pid)
            for trial, (level, pid) in sorted(at.items())
            if (trial, level) not in safe | self._died and psutil.pid_exists(pid)
        ]
        if not able:
            return None
        trial, level, pid = self._rng.choice(able)
        self._died.add((trial, level))
        return pid

    def assert_nothing_again(self):
        """Make sure that what was known at each kill stood: outcomes, and steps that were saved."""
        made, stored = steps(self._folder), outcomes(self._url)
        for count, safe, before in self._known:
            assert stored.items() >= before.items()
            assert not {step[:2] for step in made[count:]} & safe


@pytest.mark.parametrize("with_nanny", [True, False], ids=["nanny", "no nanny"])
@pytest.mark.parametrize("mode", MODES)
def test_workers_that_are_killed_again_and_again_cost_the_step_they_are_at(
    mode, with_nanny, tmp_path
):
    folder, kills = tmp_path / "study", 0
    url = prepare(folder, **MODES[mode])
    progress = Progress(folder, url, mode)
    with (
        Workers(tmp_path, with_nanny=with_nanny).started() as workers,
        driver(folder, "run", "study.yaml", *on(workers.address)) as started,
    ):
        while kills < KILLS and progress.go_on(started):
            if (victim := progress.victim()) is not None:
                workers.kill(victim)
                kills += 1
        let_go(folder)
        finish(started)
    progress.assert_nothing_again()
    again = computed(folder)
    assert kills == KILLS
    assert again.total() - len(again) <= KILLS, "each cost one step"
    closed = ends(assert_whole(url))
    assert closed == {"paused"}, "none was lost"
    if mode == "rounds":
        assert entries(url) == undisturbed(tmp_path)


def ends(result):
    """Return how segments ended."""
    return {fact.status for fact in result.history.facts if isinstance(fact, Closed)}


def undisturbed(tmp_path):
    """Return the journal of the study in rounds as it is when nothing goes wrong."""
    url = prepare(tmp_path / "undisturbed", **MODES["rounds"])
    assert run(tmp_path / "undisturbed", *INLINE) == 0
    return entries(url)


@pytest.mark.parametrize("mode", MODES)
def test_all_that_takes_part_may_die_again_and_again(mode, tmp_path):
    """The driver, a worker, both at once, and the scheduler with all workers."""
    folder = tmp_path / "study"
    url = prepare(folder, **MODES[mode])
    progress = Progress(folder, url, mode)
    start = ("run", "study.yaml")
    with lasting_cluster(tmp_path, workers=2, threads=1) as cluster:
        for who in MORTALS:
            before = launching(cluster)
            with driver(folder, *start, *on(cluster.address)) as started:
                # Trials of drivers that are gone may still make steps: this one is to be at work.
                until(lambda: launching(cluster) - before or started.poll() is not None)  # noqa: B023
                assert progress.go_on(started)
                kill(who, started, progress, cluster)
            start = ("resume", url)
        let_go(folder)
        with driver(folder, "resume", url, *on(cluster.address)) as started:
            finish(started)
    progress.assert_nothing_again()
    assert ends(assert_whole(url)) == {"paused"}
    if mode == "rounds":
        assert entries(url) == undisturbed(tmp_path)


def launching(cluster):
    """Return what the drivers that have tasks on a cluster put into the keys of these."""
    keys = [key for keys in cluster.tasks().values() for key in keys]
    return {key.split("-")[-2] for key in keys if key.startswith("tuneflow-")}


def kill(who, started, progress, cluster):
    """Kill who is to die; a driver that lives on without its scheduler says so."""
    victim = progress.victim()
    if who in ("worker", "both") and victim is not None:
        os.kill(victim, signal.SIGKILL)
    if who == "scheduler":
        cluster.restart()
        said = finish(started, CLUSTER_IS_AWAY)
        assert "connection to the Dask scheduler" in said
    if who in ("driver", "both"):
        started.kill()
        started.wait()
    if who == "worker":
        progress.go_on(started)
        started.kill()
        started.wait()
