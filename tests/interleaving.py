"""A study whose drivers and workers are the real ones, and go on only when they are told to.

Each driver and each run of a segment is an actor with a store of its own that may fail. What they
say to each other waits until it is delivered, once or twice, or is forgotten.
"""

from __future__ import annotations

import itertools
import json

from tests.actors import Actor
from tests.auditing import Audit
from tests.places import open_study
from tuneflow import rounds, stream
from tuneflow.collecting.collector import Collector
from tuneflow.errors import StorageError, StudyConflictError
from tuneflow.executors.base import Ended, Executor, Progress
from tuneflow.interrupt import Interrupts
from tuneflow.job import Job
from tuneflow.objective import stream as objective_stream
from tuneflow.retention import Needs
from tuneflow.store import Store
from tuneflow.testing.faulty_store import FaultyStore, PowerCut
from tuneflow.trial import Failure, Outcome, outcome_path
from tuneflow.worker import Control, run_segment

NATURAL_END = 5
"""The level at which an objective ends by itself where no scheduler has a maximum."""


class Run(objective_stream.Stream):
    """One run of one segment: the real worker, and an objective that does what it is told."""

    def __init__(self, world, executor, segment):
        self.world, self.executor, self.segment = world, executor, segment
        self.store = FaultyStore(world.url)
        self.control = Control()
        self.outcome = None
        self.unheard = []
        self.has_begun = self.is_zombie = False
        self.level = self.steps = 0
        self._told = ("report", 0.0, True)
        self.actor = Actor(self._work)

    # What the machine does with it.

    def act(self, *told):
        """Let the objective do something, up to where it waits for the next such thing."""
        if not self.has_begun:
            self.has_begun = True
            self.actor.go_on()
        if not self.actor.is_over:
            self._told = told
            self.actor.go_on()
        if self.actor.is_over:
            self._conclude()

    def die(self):
        """End as the process of a worker does that is killed."""
        if self.has_begun and not self.actor.is_over:
            self._told = ("die",)
            self.actor.go_on()
        self.is_zombie = True
        self.world.runs.remove(self)

    def _conclude(self):
        self.world.runs.remove(self)
        error = self.actor.error
        if not isinstance(error, None | StorageError | PowerCut):
            raise error
        if self.is_zombie:
            return
        failure = self.outcome.failure if self.outcome else None
        self.world.expect(
            failure is None or failure.kind != "CheckpointCorruptError",
            f"{self.segment.key}: {failure}",
        )
        if self.outcome is not None:
            self.unheard.append(Ended(self.outcome))
            self.executor.over.append(self)
        elif self.control.requested == "preempt" and error is None:
            self.executor.launch(self.segment)
        elif error is not None:
            self.executor.lose(self)

    # What it does itself.

    def _work(self):
        self.outcome = run_segment(
            self.world.job,
            self,
            self.segment,
            emit=self._emit,
            control=self.control,
            worker="somewhere",
            store=self.store,
        )

    def _emit(self, report):
        self.unheard.append(Progress(*self.segment.key, report))

    # The objective.

    name, env, timeout = "scripted", {}, None

    def open(self, context):
        self.world.expect(
            not Store(self.world.url).exists(outcome_path(*self.segment.key)),
            f"segment {self.segment.key} is finished and runs again",
        )
        self.steps = json.loads((context.restore / "state").read_text()) if context.restore else 0
        self.level = context.start
        return self

    def isolated(self):
        return self

    # Its stream.

    def next(self, timeout=None):
        self.actor.pause()
        deed, *details = self._told
        if deed == "die":
            raise PowerCut
        if deed == "fail":
            return objective_stream.Ended(Failure("ValueError", "it was told to"))
        if deed == "complete" or self.level >= self.end:
            return objective_stream.Ended()
        return self._report(*details)

    @property
    def end(self):
        return self.segment.max_resource or NATURAL_END

    def _report(self, loss, is_saved):
        self.level, self.steps = self.level + 1, self.steps + 1
        metrics = {"steps": self.steps} if loss is None else {"steps": self.steps, "loss": loss}
        path = None
        if is_saved:
            path = self.world.new_folder()
            (path / "state").write_text(json.dumps(self.steps))
        return objective_stream.RawReport(self.level, metrics, path)

    def interrupt(self):
        pass

    def close(self, grace):
        return True

    def hint(self, metric):
        return "it is told to"


class Cluster(Executor):
    """The executor of one driver; it says what it is told to say."""

    def __init__(self, world, slots):
        self.world = world
        self.driver = None
        self.over = []
        self.inbox = []
        self.said = []
        self.live = {}
        self._slots = slots

    @property
    def slots(self):
        return self._slots

    def open(self, job, objective):
        pass

    def now(self):
        return self.world.clock

    def submit(self, segment):
        self.world.expect(
            self.world.is_committed(segment), f"{segment.key} is handed out and not committed"
        )
        if segment.key not in self.live:
            self.launch(segment)
        self.world.expect(
            not self.world.study.in_rounds or len(self.live) <= self._room(),
            f"{len(self.live)} segments of a round are under way at once",
        )

    def _room(self):
        return min(self._slots, self.world.study.max_concurrent or self._slots)

    def launch(self, segment):
        run = self.live[segment.key] = Run(self.world, self, segment)
        self.world.runs.append(run)

    def wait(self, timeout):
        self.driver.actor.pause()
        if self.driver.is_cut:
            raise PowerCut
        messages, self.inbox = self.inbox, []
        return messages

    def cancel(self, trial, segment):
        run = self.live.get((trial, segment))
        if run is None or run in self.over:
            return
        if run.has_begun:
            run.control.stop()
        else:
            self.world.runs.remove(run)
            run.unheard.append(Ended(Outcome(trial, segment, "stopped")))
            self.over.append(run)

    def close(self, *, abandon):
        pass

    def lose(self, run):
        """Say that the worker of a run went away; what it had to say is not heard any more."""
        outcome = Outcome(*run.segment.key, "lost", failure=Failure("lost", "it was told to be"))
        run.unheard = [Ended(outcome)]
        self.over.append(run)

    def deliver(self, run, count=None, is_twice=False):
        """Let the driver hear what a run has said first."""
        count = len(run.unheard) if count is None else count
        heard, run.unheard = run.unheard[:count], run.unheard[count:]
        self.said += heard
        is_over = any(isinstance(message, Ended) for message in heard)
        # In rounds the driver counts the ends; an executor says each once.
        self.inbox += heard + (heard if is_twice and not self.world.study.in_rounds else [])
        if is_over and self.live.pop(run.segment.key, None) and run in self.over:
            self.over.remove(run)


class Driver:
    """One driver, the real one, with a cluster of its own."""

    def __init__(self, world, slots, retry_failed):
        self.store = FaultyStore(world.url)
        self.interrupts = Interrupts()
        self.cluster = Cluster(world, slots)
        self.cluster.driver = self
        self.opened = None
        self.is_cut = False
        self._world = world
        self._retry_failed = retry_failed
        self.actor = Actor(self._work)

    def _work(self):
        study = self._world.study
        self.opened = open_study(study, self.store)
        drive = rounds.drive if study.in_rounds else stream.drive
        drive(
            self.opened,
            self.cluster,
            retry_failed=self._retry_failed,
            interrupts=self.interrupts,
        )

    def turn(self):
        """Let it take in what was delivered, and act on it."""
        self.actor.go_on()
        if self.actor.is_over:
            self._world.drivers.remove(self)
            for run in [run for run in self._world.runs if run.executor is self.cluster]:
                run.is_zombie = True
            expected = (PowerCut, StorageError, KeyboardInterrupt, StudyConflictError)
            if self.actor.error is not None and not isinstance(self.actor.error, expected):
                raise self.actor.error

    def cut(self):
        """Let it die as a process that is killed while it waits."""
        self.is_cut = True
        self.turn()


class World(Audit):
    """A study, its drivers and the runs of its segments, and what must be true of them.

    Args:
        study: the study.
        url: a storage in which there is nothing.
        folder: where checkpoints are written before they are stored.
        slots: how many segments a driver's cluster runs at once.
    """

    def __init__(self, study, url, folder, slots):
        super().__init__(study, url, slots)
        self.job = Job(storage=url, metric=study.metric, warm=0.0, grace=0.0)
        self.clock = 0.0
        self._folders = (folder / str(number) for number in itertools.count())

    def new_folder(self):
        folder = next(self._folders)
        folder.mkdir()
        return folder

    def open_driver(self, retry_failed=False):
        driver = Driver(self, self.slots, retry_failed)
        self.drivers.append(driver)
        driver.turn()

    def collect(self, driver, keep):
        """Remove what a driver, who may be an old one, does not need any more."""
        opened = driver.opened
        needs = Needs.of(opened.history, keep)
        # No save is under way while all actors pause.
        Collector(Store(self.url), safe=0.0).collect(needs, opened.journal.next_number)
        self.check_checkpoints()

    @property
    def live_runs(self):
        return [run for run in self.runs if not run.is_zombie]

    def hear_all(self):
        """Deliver everything to every driver, and let each take a turn."""
        for driver in list(self.drivers):
            cluster = driver.cluster
            for run in [*cluster.over, *cluster.live.values()]:
                cluster.deliver(run)
            driver.turn()

    def finish(self):
        """Go on without any mishap until the study is over."""
        for driver in self.drivers:
            driver.store.plan(None)
        for _ in range(400):
            self.audit()
            if self.history.state == "finished":
                break
            if not self.drivers:
                self.open_driver()
            for run in self.live_runs:
                run.store.plan(None)
                run.act("report", 1.0, True)
            self.hear_all()
        else:
            raise AssertionError(f"it does not end: {self.history.state}")
        self._check_end()

    def _check_end(self):
        self.audit()
        assert all(trial.state.is_final for trial in self.history.trials)
        before = Store(self.url).list("journal")
        self.open_driver()
        self.audit()
        assert Store(self.url).list("journal") == before, "a finished study is left as it is"

    def end(self):
        """End all actors."""
        for run in list(self.runs):
            run.die()
        for driver in list(self.drivers):
            driver.cut()
