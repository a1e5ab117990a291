"""Checkpoints that are stored while their trial goes on; storage that is as slow as a test says."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import tuneflow
from tests.objectives import Runner, levels, losses, script, until_true
from tuneflow import saving
from tuneflow.checkpoints import Checkpoints
from tuneflow.driving import job_of
from tuneflow.errors import SpecError, StorageError
from tuneflow.objective import PythonObjective
from tuneflow.objective.session import TrialStopped, checkpoint, current_trial, report
from tuneflow.objective.warm import warm_trials
from tuneflow.saving import Saver, snapshot
from tuneflow.store import Store
from tuneflow.trial import Segment, checkpoint_ref, outcome_path
from tuneflow.worker import Control

PATIENCE = 20.0


@pytest.fixture(autouse=True)
def nothing_warm():
    yield
    warm_trials.clear()


@pytest.fixture
def runner(tmp_path):
    return Runner(tmp_path, background=True, grace=5.0)


class SlowStore(Store):
    """A store in which a checkpoint's manifest is written only once the gate is open.

    Attributes:
        gate: lets manifests through.
        begun: the manifests that were to be written so far.
        at_once: the most that there were at a time.
        on_begin: called before each.
    """

    def __init__(self, url):
        super().__init__(url)
        self.gate = threading.Event()
        self.begun = []
        self.at_once = 0
        self.on_begin = lambda: None
        self._now = 0

    def create(self, path, data):
        if "/checkpoints/" not in path:
            return super().create(path, data)
        self._now += 1
        self.at_once = max(self.at_once, self._now)
        self.begun.append(path)
        self.on_begin()
        if not self.gate.wait(PATIENCE):
            raise AssertionError("nobody opened the gate")
        self._now -= 1
        return super().create(path, data)


@pytest.fixture
def store(runner):
    slow = SlowStore(runner.job.storage)
    yield slow
    slow.gate.set()


class Running:
    """A segment that runs in a thread."""

    def __init__(self, runner, objective, segment, **options):
        self.outcomes = []
        self.errors = []
        self._thread = threading.Thread(
            target=self._run, args=(runner, objective, segment), kwargs=options
        )
        self._thread.start()

    def _run(self, runner, objective, segment, **options):
        try:
            self.outcomes.append(runner.run(objective, segment, **options))
        except Exception as error:  # noqa: BLE001 - it is raised where the test waits
            self.errors.append(error)

    def end(self):
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        if self.errors:
            raise self.errors[0]
        return self.outcomes[0]


def write(value):
    return lambda folder: (folder / "value").write_text(str(value))


def counting(config):
    """Count up from the checkpoint, saving the count at each report."""
    path = checkpoint()
    value = int((path / "value").read_text()) if path else 0
    while value < config.get("end", 100):
        value += 1
        yield {"loss": value}, write(value)


def saved_value(runner, ref, tmp_path, name="value"):
    target = tmp_path / ref.replace("/", "-")
    Checkpoints(Store(runner.job.storage)).restore(ref, target)
    return (target / name).read_text()


def test_the_trial_goes_on_while_its_checkpoint_is_stored(runner, store):
    def train(config):
        yield 1, write(1)
        store.gate.set()
        yield 2

    outcome = runner.run(PythonObjective(train), Segment(0, 0, {}), store=store)
    assert losses(outcome.reports) == [1, 2]
    assert [r.checkpoint for r in outcome.reports] == [checkpoint_ref(0, 0, 1), None]


def test_in_step_it_waits_until_its_checkpoint_is_stored(runner, tmp_path):
    runner.configure(background=False)
    there = []

    def train(config):
        yield 1, write(1)
        there.append(Store(runner.job.storage).exists(checkpoint_ref(0, 0, 1)))

    runner.run(PythonObjective(train), Segment(0, 0, {}))
    assert there == [True]


def test_reports_count_in_order_once_what_is_before_them_is_stored(runner, store):
    told_before = []

    def train(config):
        yield 1
        yield 2, write(2)
        yield 3
        yield 4
        until_true(lambda: store.begun)
        told_before.extend(levels(runner.emitted))
        store.gate.set()

    outcome = runner.run(PythonObjective(train), Segment(0, 0, {}), store=store)
    assert told_before == [1]
    assert levels(runner.emitted) == [1, 2, 3, 4]
    assert tuple(runner.emitted) == outcome.reports


def test_reports_are_told_by_the_worker_s_own_thread_as_soon_as_they_count(runner, store):
    tellers = []
    told = threading.Event()

    def emit(said):
        tellers.append(threading.get_ident())
        told.set()

    def train(config):
        yield 1, write(1)
        store.gate.set()
        # It computes on, and is not asked for anything meanwhile.
        assert told.wait(PATIENCE)

    outcome = runner.run(PythonObjective(train), Segment(0, 0, {}), store=store, emit=emit)
    assert outcome.status == "completed"
    assert tellers == [threading.get_ident()]


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_one_is_stored_at_a_time_and_one_waits(runner, store, tmp_path, isolation):
    steps = tmp_path / "steps"
    steps.touch()
    ahead = []

    def train(config):
        for value in range(1, 7):

            def save(folder, value=value):
                with steps.open("a") as file:
                    # This one, and those before it that are not stored yet.
                    file.write(f"{len(list(folder.parent.iterdir()))}\n")

            report(loss=value, checkpoint=save)

    def look():
        ahead.append(len(steps.read_text().splitlines()) - len(store.begun))

    store.on_begin = look
    store.gate.set()
    runner.configure(isolation=isolation)
    outcome = runner.run(PythonObjective(train), Segment(0, 0, {}), store=store)
    assert store.begun == [checkpoint_ref(0, 0, level) for level in range(1, 7)]
    assert store.at_once == 1
    assert max(ahead) <= saving.AT_ONCE - 1
    assert max(map(int, steps.read_text().split())) <= saving.AT_ONCE
    assert all(r.checkpoint for r in outcome.reports)


def test_a_trial_that_waits_for_room_is_stopped_without_waiting_for_it(runner, store):
    ended = threading.Event()

    def train(config):
        try:
            yield from counting(config)
        finally:
            ended.set()

    running = Running(runner, PythonObjective(train), Segment(0, 0, {}), store=store)
    until_true(lambda: store.begun)
    runner.control.stop()
    assert ended.wait(PATIENCE)
    assert runner.emitted == []
    store.gate.set()
    outcome = running.end()
    assert outcome.status == "stopped"
    assert 1 <= len(outcome.reports) <= saving.AT_ONCE
    assert tuple(runner.emitted) == outcome.reports


def completed(config):
    yield 1, write(1)
    yield 2


def failed(config):
    yield from completed(config)
    raise RuntimeError("diverged")


def hanging(config):
    yield from completed(config)
    threading.Event().wait()


@pytest.mark.parametrize(
    ("status", "objective", "limits", "isolation"),
    [
        ("paused", counting, {"until": 2}, "thread"),
        ("paused", counting, {"until": 2}, "process"),
        ("completed", completed, {}, "thread"),
        ("completed", completed, {}, "process"),
        ("failed", failed, {}, "thread"),
        ("failed", failed, {}, "process"),
        ("failed", hanging, {"timeout": 1.0}, "thread"),
    ],
)
def test_all_is_stored_and_told_before_the_outcome(runner, status, objective, limits, isolation):
    known = []

    class Watched(SlowStore):
        def create(self, path, data):
            if path == outcome_path(0, 0):
                known.extend(levels(runner.emitted))
            super().create(path, data)

    store = Watched(runner.job.storage)
    runner.configure(timeout=limits.get("timeout"), isolation=isolation)
    segment = Segment(0, 0, {}, until=limits.get("until"))
    running = Running(runner, PythonObjective(objective), segment, store=store)
    until_true(lambda: store.begun)
    assert not store.exists(outcome_path(0, 0))
    store.gate.set()
    outcome = running.end()
    assert outcome.status == status
    assert known == levels(outcome.reports) == [1, 2]
    assert store.exists(checkpoint_ref(0, 0, 1))


def test_an_abandoned_segment_does_not_wait_for_what_is_being_stored(runner, store):
    running = Running(runner, PythonObjective(counting), Segment(0, 0, {}), store=store)
    until_true(lambda: store.begun)
    runner.control.abandon()
    assert running.end() is None
    assert not store.gate.is_set()
    assert runner.emitted == []


def test_it_can_be_abandoned_while_its_end_waits_for_the_last_checkpoint(runner, store):
    segment = Segment(0, 0, {}, until=1)
    running = Running(runner, PythonObjective(counting), segment, store=store)
    until_true(lambda: store.begun)
    runner.control.abandon()
    assert running.end() is None
    assert not store.exists(outcome_path(0, 0))


class BrokenStore(SlowStore):
    """A store that cannot keep the manifest of one level."""

    def __init__(self, url, level, error):
        super().__init__(url)
        self.gate.set()
        self.error = error
        self.ref = checkpoint_ref(0, 0, level)

    def create(self, path, data):
        if path == self.ref:
            raise self.error
        return super().create(path, data)


def test_a_storage_that_fails_ends_the_trial_and_the_segment_can_be_run_again(runner):
    ended = threading.Event()

    def train(config):
        try:
            yield from counting(config)
        finally:
            ended.set()

    broken = BrokenStore(runner.job.storage, 3, StorageError("the storage is away"))
    segment = Segment(0, 0, {}, until=6)
    with pytest.raises(StorageError, match="the storage is away"):
        runner.run(PythonObjective(train), segment, store=broken)
    assert ended.wait(PATIENCE)
    assert levels(runner.emitted) == [1, 2]
    assert not broken.exists(outcome_path(0, 0))
    starts = []

    def again(config):
        starts.append(current_trial().start)
        yield from counting(config)

    outcome = runner.run(PythonObjective(again), segment)
    assert starts == [2]
    assert losses(outcome.reports) == [1, 2, 3, 4, 5, 6]


def test_a_storage_that_fails_ends_a_trial_that_computes(runner):
    runner.configure(isolation="process")
    broken = BrokenStore(runner.job.storage, 1, StorageError("the storage is away"))

    def train(config):
        yield 1, write(1)
        threading.Event().wait()

    with pytest.raises(StorageError):
        runner.run(PythonObjective(train), Segment(0, 0, {}), store=broken)


def test_a_checkpoint_that_cannot_be_one_fails_the_trial_and_nothing_after_it_counts(runner):
    error = SpecError("checkpoint", "no such name can be stored")
    broken = BrokenStore(runner.job.storage, 2, error)
    outcome = runner.run(PythonObjective(counting), Segment(0, 0, {}, until=4), store=broken)
    assert (outcome.status, outcome.failure.kind) == ("failed", "SpecError")
    assert levels(outcome.reports) == levels(runner.emitted) == [1]
    assert warm_trials.take(runner.job.storage, 0) is None


def test_what_is_no_checkpoint_fails_the_trial_before_it_goes_on(runner, tmp_path):
    (tmp_path / "link").symlink_to("/etc")
    went_on = []

    def train(config):
        report(loss=1, checkpoint=tmp_path)
        went_on.append(1)

    outcome = runner.run(PythonObjective(train), Segment(0, 0, {}))
    assert outcome.failure.kind == "SpecError"
    assert went_on == []


@pytest.mark.parametrize("isolation", ["thread", "process"])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_path_of_the_user_s_own_is_stored_as_it_was_when_reported(
    runner, store, tmp_path, isolation, kind
):
    own = tmp_path / "own"
    own.mkdir()
    moved_on = tmp_path / "moved-on"

    def train(config):
        state = own / "value"
        for step in ("first", "second"):
            state.write_text(step)
            report(loss=1, checkpoint=state if kind == "file" else own)
        state.write_text("third")
        moved_on.touch()

    runner.configure(isolation=isolation)
    running = Running(runner, PythonObjective(train), Segment(0, 0, {}), store=store)
    until_true(lambda: store.begun)
    store.gate.set()
    outcome = running.end()
    assert moved_on.exists()
    found = [saved_value(runner, r.checkpoint, tmp_path) for r in outcome.reports]
    assert found == ["first", "second"]
    assert (own / "value").read_text() == "third"


def test_a_trial_may_change_its_own_files_while_they_are_stored(runner, tmp_path, monkeypatch):
    """What torch's asynchronous saving forgot: pytorch/pytorch#144657."""
    state = tmp_path / "state"
    changed = threading.Event()
    save = Checkpoints.save

    def save_late(self, *args, **options):
        assert changed.wait(PATIENCE)
        return save(self, *args, **options)

    def train(config):
        state.write_text("good")
        report(loss=1, checkpoint=state)
        state.write_text("torn")
        changed.set()

    monkeypatch.setattr(Checkpoints, "save", save_late)
    outcome = runner.run(PythonObjective(train), Segment(0, 0, {}))
    assert outcome.status == "completed"
    assert saved_value(runner, outcome.reports[0].checkpoint, tmp_path, "state") == "good"


def test_without_room_for_a_copy_the_trial_waits_until_it_is_stored(runner, tmp_path, monkeypatch):
    def full(source, target):
        target.mkdir(parents=True)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, "snapshot", full)
    state = tmp_path / "state"
    there = []

    def train(config):
        for step in (1, 2):
            state.write_text(str(step))
            report(loss=step, checkpoint=state)
            there.append(Store(runner.job.storage).exists(checkpoint_ref(0, 0, step)))

    outcome = runner.run(PythonObjective(train), Segment(0, 0, {}))
    assert there == [True, True]
    found = [saved_value(runner, r.checkpoint, tmp_path, "state") for r in outcome.reports]
    assert found == ["1", "2"]


COUNTING = """
import json, os, pathlib, shutil
restore = os.environ.get("TUNEFLOW_RESTORE_DIR")
value = int(pathlib.Path(restore, "value").read_text()) if restore else 0
while value < 4:
    value += 1
    folder = pathlib.Path(os.environ["TUNEFLOW_CHECKPOINT_DIR"], str(value))
    folder.mkdir()
    (folder / "value").write_text(str(value))
    print(json.dumps({"loss": value, "checkpoint": str(value)}))
"""


def test_checkpoints_of_a_command_are_stored_while_it_runs(runner, store, tmp_path):
    segment = Segment(0, 0, {"lr": 1})
    running = Running(runner, script(tmp_path, COUNTING), segment, store=store)
    until_true(lambda: store.begun)
    assert runner.emitted == []
    store.gate.set()
    outcome = running.end()
    assert (outcome.status, losses(outcome.reports)) == ("completed", [1, 2, 3, 4])
    found = [saved_value(runner, r.checkpoint, tmp_path) for r in outcome.reports]
    assert found == ["1", "2", "3", "4"]


def test_a_command_is_ended_before_its_last_checkpoint_is_stored(runner, store, tmp_path):
    ended = tmp_path / "ended"
    text = (
        "import json, os, pathlib, signal, sys, time\n"
        f"signal.signal(15, lambda *_: (pathlib.Path({str(ended)!r}).touch(), sys.exit()))\n"
        "pathlib.Path(os.environ['TUNEFLOW_CHECKPOINT_DIR'], 'value').write_text('1')\n"
        'print(json.dumps({"loss": 1, "checkpoint": "value"}))\n'
        "time.sleep(60)\n"
    )
    segment = Segment(0, 0, {"lr": 1}, until=1)
    running = Running(runner, script(tmp_path, text), segment, store=store)
    until_true(ended.exists)
    store.gate.set()
    outcome = running.end()
    assert outcome.status == "paused"
    assert saved_value(runner, outcome.reports[0].checkpoint, tmp_path) == "1"


class Crash(BaseException):
    """Ends a run as a lost machine would."""


def test_a_run_after_a_crash_goes_on_from_the_newest_that_is_stored(runner, store, monkeypatch):
    """It also tells what was stored and not told yet."""
    add = Saver.add_checkpoint

    def open_at_3(self, reports, source, **options):
        add(self, reports, source, **options)
        if reports[-1].resource == 3:
            store.gate.set()

    def crash(said):
        until_true(lambda: store.exists(checkpoint_ref(0, 0, 3)))
        raise Crash

    def train(config):
        yield 1, write(1)
        yield 2
        yield 3, write(3)

    segment = Segment(0, 0, {}, until=6)
    monkeypatch.setattr(Saver, "add_checkpoint", open_at_3)
    with pytest.raises(Crash):
        runner.run(PythonObjective(train), segment, store=store, emit=crash)
    starts = []

    def again(config):
        starts.append(current_trial().start)
        yield from counting(config)

    outcome = runner.run(PythonObjective(again), segment)
    assert starts == [3]
    assert losses(outcome.reports) == [1, 2, 3, 4, 5, 6]
    assert tuple(runner.emitted) == outcome.reports


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_a_warm_trial_goes_on_once_all_of_it_is_stored(runner, isolation, tmp_path):
    starts = tmp_path / "starts"

    def train(config):
        with starts.open("a") as file:
            file.write("x")
        yield from counting(config)

    runner.configure(isolation=isolation)
    objective = PythonObjective(train)
    ref, start, seen = None, 0, []
    for number, until in enumerate((2, 5, 6)):
        segment = Segment(0, number, {}, start=start, until=until, checkpoint=ref)
        outcome = runner.run(objective, segment)
        assert outcome.status == "paused"
        seen += losses(outcome.reports)
        ref, start = outcome.reports[-1].checkpoint, until
    assert seen == [1, 2, 3, 4, 5, 6]
    assert starts.read_text() == "x"


def test_told_to_stop_while_it_computes_it_stops_at_its_next_report(runner, store):
    computing, go_on = threading.Event(), threading.Event()

    def train(config):
        try:
            report(loss=1, checkpoint=write(1))
            computing.set()
            go_on.wait(PATIENCE)
            report(loss=2, checkpoint=write(2))
            report(loss=3)
        except TrialStopped:
            store.gate.set()
            raise

    running = Running(runner, PythonObjective(train), Segment(0, 0, {}), store=store)
    assert computing.wait(PATIENCE)
    runner.control.stop()
    go_on.set()
    outcome = running.end()
    assert (outcome.status, levels(outcome.reports)) == ("stopped", [1, 2])


def test_before_it_began_it_can_be_abandoned(runner):
    control = Control()
    control.abandon()
    assert runner.run(PythonObjective(counting), Segment(0, 0, {}), control=control) is None


class TestASnapshot:
    def test_is_a_folder_with_the_same_files(self, tmp_path):
        source = tmp_path / "source"
        (source / "deep").mkdir(parents=True)
        (source / "deep" / "a").write_bytes(b"x" * 3_000_000)
        (source / "empty").touch()
        (source / "link").symlink_to("deep")
        snapshot(source, tmp_path / "new" / "copy")
        found = {
            str(path.relative_to(tmp_path / "new" / "copy")): path.read_bytes()
            for path in (tmp_path / "new" / "copy").rglob("*")
            if path.is_file()
        }
        big = b"x" * 3_000_000
        assert found == {"deep/a": big, "empty": b"", "link/a": big}

    def test_of_one_file_is_a_folder_with_that_file(self, tmp_path):
        (tmp_path / "model.pt").write_text("weights")
        snapshot(tmp_path / "model.pt", tmp_path / "copy")
        assert [path.name for path in (tmp_path / "copy").iterdir()] == ["model.pt"]

    def test_is_made_where_the_kernel_cannot_copy(self, tmp_path, monkeypatch):
        def refuse(*_):
            raise OSError(18, "Invalid cross-device link")

        monkeypatch.setattr("os.copy_file_range", refuse)
        (tmp_path / "file").write_text("content")
        snapshot(tmp_path / "file", tmp_path / "copy")
        assert Path(tmp_path / "copy" / "file").read_text() == "content"

    def test_refuses_what_no_checkpoint_can_hold(self, tmp_path):
        (tmp_path / "source").mkdir()
        (tmp_path / "source" / "out").symlink_to("/etc")
        with pytest.raises(SpecError, match="leads out of the checkpoint"):
            snapshot(tmp_path / "source", tmp_path / "copy")


def test_a_study_says_when_its_checkpoints_are_saved(tmp_path):
    def train(config):
        for level in range(1, 6):
            yield {"loss": level}, write(level)

    result = tuneflow.tune(
        train,
        space={"x": tuneflow.space.uniform(0, 1)},
        metric="loss",
        mode="min",
        trials=1,
        storage=str(tmp_path),
        name="study",
        checkpoints={"every": 2, "seconds": 3600, "background": False},
        progress=False,
    )
    saved = [report.resource for report in result.trials[0].reports if report.checkpoint]
    assert saved == [2, 4]
    assert not job_of(result.opened).background
    assert job_of(result.opened).checkpoint_seconds == 3600


def test_where_nothing_is_said_each_is_saved_and_in_the_background(tmp_path):
    result = tuneflow.tune(
        lambda config: config["x"],
        space={"x": tuneflow.space.uniform(0, 1)},
        metric="loss",
        mode="min",
        trials=1,
        storage=str(tmp_path),
        progress=False,
    )
    job = job_of(result.opened)
    assert (job.checkpoint_every, job.checkpoint_seconds, job.background) == (1, None, True)
