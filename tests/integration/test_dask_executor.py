"""The Dask executor on real worker processes: streaming, stops, deaths, large data, Ctrl-C.

Objectives are defined inside functions, so that they travel to the workers by value. What they
wait for is a file that the test creates.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from contextlib import contextmanager

import dask
import psutil
import pytest
from distributed import Client, Security, default_client

import tuneflow
from tests.clusters import await_workers, is_alive, process, scheduler, until, worker
from tests.lasting_cluster import lasting_cluster
from tuneflow.errors import ClusterError, ObjectiveError, StorageError
from tuneflow.executors import dask_flight
from tuneflow.executors.base import Ended, Progress
from tuneflow.executors.dask import DaskExecutor
from tuneflow.executors.dask_cluster import connect
from tuneflow.executors.dask_flight import is_disconnected
from tuneflow.objective import PythonObjective, with_parameters
from tuneflow.trial import Segment
from tuneflow.worker import Job

pytestmark = pytest.mark.integration

PATIENCE = 20.0


@pytest.fixture
def job(storage):
    return Job(storage=f"{storage}/study", metric="loss")


@pytest.fixture
def gate(tmp_path):
    """A file that objectives wait for, and that a test touches."""
    return tmp_path / "gate"


@pytest.fixture
def notes(tmp_path):
    """A file that objectives write lines to."""
    path = tmp_path / "notes"
    path.touch()
    return path


@contextmanager
def opened(job, function, **settings):
    with DaskExecutor(**settings) as executor:
        executor.open(job, PythonObjective(function))
        yield executor


@pytest.fixture
def cluster(tmp_path):
    """The address of a cluster with one worker that has one thread."""
    with scheduler(tmp_path) as (address, _), worker(address):
        yield address


def follow(executor, want):
    """Wait for messages until ``want`` of them are there that satisfy a condition."""
    count, condition = want
    messages = []
    deadline = time.monotonic() + PATIENCE
    while sum(map(condition, messages)) < count:
        assert time.monotonic() < deadline, messages
        messages += executor.wait(1.0)
    return messages


def ends(count=1):
    return count, lambda message: isinstance(message, Ended)


def progress(count=1):
    return count, lambda message: isinstance(message, Progress)


def outcomes(messages):
    return [message.outcome for message in messages if isinstance(message, Ended)]


def segments(count, **params):
    return [Segment(number, 0, {"x": number, **params}) for number in range(count)]


def run(executor, todo):
    """Run segments, each as soon as there is a slot, and return all messages."""
    waiting, messages, ended = list(todo), [], 0
    while ended < len(todo):
        while waiting and len(todo) - len(waiting) - ended < executor.slots:
            executor.submit(waiting.pop(0))
        new = executor.wait(PATIENCE)
        assert new, f"nothing was said after {messages}"
        messages += new
        ended += len(outcomes(new))
    return messages


def note(notes, what):
    with notes.open("a") as file:
        file.write(f"{what}\n")


def quick():
    def train(config):
        yield {"loss": float(config["x"])}

    return train


def waiting(gate, notes):
    """An objective that reports, waits for the gate, and reports again."""

    def train(config):
        note(notes, os.getpid())
        yield {"loss": 1.0}
        while not gate.exists():
            time.sleep(0.01)
        yield {"loss": 0.5}

    return train


def endless(notes):
    def train(config):
        while True:
            note(notes, config["x"])
            yield {"loss": 1.0}
            time.sleep(0.01)

    return train


class TestRunning:
    def test_every_segment_ends_once_with_all_its_reports(self, job):
        with opened(job, quick()) as executor:
            messages = run(executor, segments(50))
        ended = outcomes(messages)
        assert sorted(outcome.key for outcome in ended) == [(n, 0) for n in range(50)]
        assert {o.status for o in ended} == {"completed"}, ended[0]
        assert all(o.reports[0].metrics == {"loss": float(o.trial)} for o in ended)

    def test_progress_comes_before_the_end_and_never_after(self, job):
        with opened(job, quick()) as executor:
            messages = run(executor, segments(50))
        over = set()
        for message in messages:
            if isinstance(message, Ended):
                over.add(message.outcome.key)
            else:
                assert (message.trial, message.segment) not in over
        assert sum(isinstance(message, Progress) for message in messages) == 50

    def test_a_report_arrives_while_its_trial_is_running(self, job, gate, notes):
        with opened(job, waiting(gate, notes), workers=1) as executor:
            executor.submit(Segment(0, 0, {}))
            (first,) = follow(executor, progress())
            assert first.report.metrics == {"loss": 1.0}
            assert executor.wait(0.05) == []
            gate.touch()
            (outcome,) = outcomes(follow(executor, ends()))
        assert [report.metrics["loss"] for report in outcome.reports] == [1.0, 0.5]

    def test_a_live_segment_is_not_submitted_twice(self, job, gate, notes):
        with opened(job, waiting(gate, notes)) as executor:
            executor.submit(Segment(0, 0, {}))
            executor.submit(Segment(0, 0, {}))
            follow(executor, progress())
            gate.touch()
            assert len(outcomes(follow(executor, ends()))) == 1
            assert executor.wait(0.2) == []
        assert len(notes.read_text().splitlines()) == 1

    def test_a_continued_trial_goes_back_to_the_worker_that_keeps_it(self, job, notes):
        def train(config):
            note(notes, config["x"])
            for step in range(3):
                yield {"loss": 1 / (1 + step)}

        with opened(job, train) as executor:
            first = [Segment(n, 0, {"x": n}, until=1) for n in range(2)]
            paused = outcomes(run(executor, first))
            assert {outcome.status for outcome in paused} == {"paused"}
            for outcome in paused:
                again = Segment(outcome.trial, 1, {"x": outcome.trial}, until=2)
                (second,) = outcomes(run(executor, [again]))
                assert second.worker == outcome.worker
                assert second.reports[-1].resource == 2
        assert sorted(notes.read_text().split()) == ["0", "1"]

    @pytest.mark.local("a file is where its folder should be")
    def test_a_storage_that_fails_on_every_worker_is_an_error_and_no_loss(self, tmp_path):
        (tmp_path / "study").write_text("a file where the study's folder should be")
        job = Job(storage=(tmp_path / "study").as_uri(), metric="loss")
        with (
            opened(job, quick(), workers=1) as executor,
            pytest.raises(StorageError, match=r"trial 0 cannot run on tcp://.*: cannot "),
        ):
            run(executor, segments(1))

    def test_an_objective_that_cannot_be_loaded_fails_its_segments_with_a_sentence(self, job):
        class Broken:
            def __reduce__(self):
                return __import__, ("a_module_that_is_missing",)

        broken = Broken()

        def train(config):
            return broken

        with opened(job, train, workers=1) as executor:
            (outcome,) = outcomes(run(executor, segments(1)))
        assert outcome.status == "failed"
        assert outcome.failure.kind == "ObjectiveError"
        assert "a_module_that_is_missing" in outcome.failure.message

    def test_an_objective_that_cannot_be_pickled_is_refused_at_open(self, job):
        lock = threading.Lock()

        def train(config):
            return lock

        executor = DaskExecutor(workers=1)
        with pytest.raises(ObjectiveError, match=r"cannot be sent to the workers.*lock"):
            executor.open(job, PythonObjective(train))


class TestStopping:
    def test_a_running_trial_stops_at_its_next_report_and_others_go_on(self, job, notes):
        with opened(job, endless(notes)) as executor:
            for segment in segments(2):
                executor.submit(segment)
            seen = follow(executor, progress(4))
            while {m.trial for m in seen if isinstance(m, Progress)} != {0, 1}:
                seen += executor.wait(PATIENCE)
            executor.cancel(0, 0)
            after = follow(executor, ends())
            (outcome,) = outcomes(after)
            assert (outcome.trial, outcome.status) == (0, "stopped")
            follow(executor, (1, lambda m: isinstance(m, Progress) and m.trial == 1))
            executor.cancel(1, 0)
            (other,) = outcomes(follow(executor, ends()))
            assert (other.trial, other.status) == (1, "stopped")

    def test_a_segment_that_waits_for_a_slot_is_taken_back(self, job, gate, notes):
        with opened(job, waiting(gate, notes), workers=1) as executor:
            for segment in segments(2):
                executor.submit(segment)
            executor.cancel(1, 0)
            (withdrawn,) = outcomes(follow(executor, ends()))
            gate.touch()
            (other,) = outcomes(follow(executor, ends()))
        assert (withdrawn.trial, withdrawn.status, withdrawn.reports) == (1, "stopped", ())
        assert (other.trial, other.status) == (0, "completed")
        assert len(notes.read_text().splitlines()) == 1

    def test_a_segment_that_was_taken_back_from_a_worker_does_not_occupy_it(self, job, gate, notes):
        forever, until_gate = endless(notes), waiting(gate, notes)

        def train(config):
            return forever(config) if config["x"] == 1 else until_gate(config)

        with opened(job, train, workers=1, parallel=2) as executor:
            first, second, third = segments(3)
            executor.submit(first)
            follow(executor, progress())
            executor.submit(second)
            executor.cancel(1, 0)
            (withdrawn,) = outcomes(follow(executor, ends()))
            gate.touch()
            executor.submit(third)
            ended = outcomes(follow(executor, ends(2)))
        assert (withdrawn.trial, withdrawn.status, withdrawn.reports) == (1, "stopped", ())
        assert [(outcome.trial, outcome.status) for outcome in ended] == [
            (0, "completed"),
            (2, "completed"),
        ]

    def test_stopping_what_has_ended_does_nothing(self, job):
        with opened(job, quick(), workers=1) as executor:
            run(executor, segments(1))
            executor.cancel(0, 0)
            executor.cancel(7, 3)
            assert executor.wait(0.1) == []


class TestDeaths:
    def test_a_killed_worker_s_segment_runs_again_and_ends_once(self, job, gate, notes):
        with opened(job, waiting(gate, notes)) as executor:
            executor.submit(Segment(0, 0, {}))
            follow(executor, progress())
            os.kill(int(notes.read_text()), signal.SIGKILL)
            follow(executor, progress())
            gate.touch()
            (outcome,) = outcomes(follow(executor, ends()))
            assert executor.wait(0.2) == []
        assert outcome.status == "completed"
        assert [report.resource for report in outcome.reports] == [1, 2]
        assert len(set(notes.read_text().split())) == 2

    @pytest.mark.parametrize("resources", [{}, {"memory": "100MB"}])
    def test_a_trial_that_kills_its_workers_is_lost_and_the_others_are_not(self, job, resources):
        def train(config):
            if config["x"] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            yield {"loss": 1.0}

        with opened(job, train, resources=resources) as executor:
            ended = {outcome.trial: outcome for outcome in outcomes(run(executor, segments(4)))}
            assert ended[0].status == "lost"
            assert ended[0].failure.kind == "lost"
            assert "4 workers" in ended[0].failure.message
            later = outcomes(run(executor, [Segment(9, 0, {"x": 9})]))
        assert {ended[number].status for number in (1, 2, 3)} == {"completed"}
        assert later[0].status == "completed"

    def test_data_that_died_with_its_only_worker_is_sent_again(self, job, gate, notes):
        base = waiting(gate, notes)

        def train(config, data):
            assert len(data) == 3_000_000
            yield from base(config)

        bound = with_parameters(train, data=os.urandom(3_000_000))
        with opened(job, bound, workers=1) as executor:
            executor.submit(Segment(0, 0, {}))
            follow(executor, progress())
            os.kill(int(notes.read_text()), signal.SIGKILL)
            follow(executor, progress())
            gate.touch()
            (outcome,) = outcomes(follow(executor, ends()))
        assert outcome.status == "completed"
        assert len(notes.read_text().splitlines()) == 2

    def test_a_segment_that_is_to_stop_does_not_run_again(self, job, gate, notes):
        with opened(job, waiting(gate, notes)) as executor:
            executor.submit(Segment(0, 0, {}))
            follow(executor, progress())
            executor.cancel(0, 0)
            os.kill(int(notes.read_text()), signal.SIGKILL)
            (outcome,) = outcomes(follow(executor, ends()))
            assert executor.wait(0.2) == []
        assert outcome.status == "stopped"
        assert len(notes.read_text().split()) == 1


def some(gate, notes):
    """An objective that notes its number, and waits for the gate or kills its worker on demand."""

    def train(config):
        note(notes, config["x"])
        if config.get("kills"):
            os.kill(os.getpid(), signal.SIGKILL)
        while config.get("waits") and not gate.exists() and not tuneflow.preempted():
            time.sleep(0.01)
        yield {"loss": 1.0}

    return train


class TestShortSegments:
    """What is special where segments are short: several wait for each slot, and share a task."""

    @pytest.fixture(autouse=True)
    def _short(self, storages, monkeypatch):
        """Those whose outcomes go to a server count as short as well, however busy it is."""
        if storages.kind != "file":
            monkeypatch.setattr(dask_flight, "_AHEAD", 5.0)

    @contextmanager
    def opened(self, job, gate, notes, **settings):
        with opened(job, some(gate, notes), **settings) as executor:
            run(executor, segments(8))
            assert executor.slots > settings.get("workers", 2)
            notes.write_text("")
            yield executor

    def test_each_runs_and_ends_once(self, job, gate, notes):
        with self.opened(job, gate, notes) as executor:
            ended = outcomes(run(executor, [Segment(n, 0, {"x": n}) for n in range(10, 110)]))
        assert sorted(outcome.trial for outcome in ended) == list(range(10, 110))
        assert sorted(map(int, notes.read_text().split())) == list(range(10, 110))

    def test_what_waits_behind_a_long_one_moves_to_a_free_slot(self, job, gate, notes):
        with self.opened(job, gate, notes) as executor:
            executor.submit(Segment(10, 0, {"x": 10, "waits": True}))
            for number in range(11, 19):
                executor.submit(Segment(number, 0, {"x": number}))
            others = outcomes(follow(executor, ends(8)))
            gate.touch()
            (last,) = outcomes(follow(executor, ends()))
        assert sorted(outcome.trial for outcome in others) == list(range(11, 19))
        assert {outcome.status for outcome in [*others, last]} == {"completed"}
        assert last.trial == 10

    def test_one_that_waits_in_a_task_never_begins_when_it_is_stopped(self, job, gate, notes):
        with self.opened(job, gate, notes, workers=1) as executor:
            executor.submit(Segment(10, 0, {"x": 10, "waits": True}))
            for number in (11, 12):
                executor.submit(Segment(number, 0, {"x": number}))
            assert executor.wait(0.0) == []
            until(lambda: notes.read_text() or executor.wait(0.01))
            executor.cancel(11, 0)
            (stopped,) = outcomes(follow(executor, ends()))
            gate.touch()
            ended = outcomes(follow(executor, ends(2)))
        assert (stopped.trial, stopped.status, stopped.reports) == (11, "stopped", ())
        assert {outcome.trial: outcome.status for outcome in ended} == {
            10: "completed",
            12: "completed",
        }
        assert notes.read_text().split() == ["10", "12"]

    def test_one_that_waits_in_a_task_never_begins_when_the_driver_goes(self, job, gate, notes):
        with self.opened(job, gate, notes, workers=1) as executor:
            for number in range(10, 14):
                executor.submit(Segment(number, 0, {"x": number, "waits": number == 10}))
            assert executor.wait(0.0) == []
            until(lambda: notes.read_text() or executor.wait(0.01))
            executor.preempt(PATIENCE)
            executor.close(abandon=True)
        assert notes.read_text().split() == ["10"]

    def test_one_that_kills_its_worker_is_lost_and_those_in_its_task_are_not(
        self, job, gate, notes
    ):
        with self.opened(job, gate, notes) as executor:
            todo = [Segment(n, 0, {"x": n, "kills": n == 12}) for n in range(10, 20)]
            ended = {outcome.trial: outcome for outcome in outcomes(run(executor, todo))}
        assert ended.pop(12).status == "lost"
        assert {outcome.status for outcome in ended.values()} == {"completed"}
        assert len(ended) == 9


class TestData:
    @pytest.mark.parametrize("size", [1_000, 20_000_000])
    def test_data_is_unpickled_once_in_each_process(self, job, notes, size):
        def load(content):
            note(notes, os.getpid())
            return content

        class Data:
            def __reduce__(self):
                return load, (b"x" * size,)

        def train(config, data):
            yield {"loss": float(len(data))}

        with opened(job, with_parameters(train, data=Data())) as executor:
            ended = outcomes(run(executor, segments(30)))
        assert {outcome.reports[0].metrics["loss"] for outcome in ended} == {size}
        pids = notes.read_text().splitlines()
        assert len(pids) == len(set(pids)) <= 2

    def test_data_stays_on_its_workers_when_dask_takes_copies_away(self, job, notes):
        def load(content):
            note(notes, os.getpid())
            return Data(content)

        class Data:
            # It says so each time it is unpickled, also when one worker hands it to another.
            def __init__(self, content):
                self.content = content

            def __reduce__(self):
                return load, (self.content,)

        def train(config, data):
            yield {"loss": float(len(data.content))}

        manager = "distributed.scheduler.active-memory-manager"
        with (
            dask.config.set({f"{manager}.start": True, f"{manager}.interval": "20ms"}),
            opened(job, with_parameters(train, data=Data(b"x" * 3_000_000))) as executor,
        ):
            run(executor, segments(10))
            until(lambda: all(len(held) == 1 for held in executor._client.who_has().values()))
            ended = outcomes(run(executor, [Segment(n, 0, {}) for n in range(10, 20)]))
        assert {outcome.status for outcome in ended} == {"completed"}
        assert {outcome.worker for outcome in ended} == {"worker-0", "worker-1"}
        pids = notes.read_text().splitlines()
        assert len(pids) == len(set(pids)) == 2

    def test_workers_drop_the_data_of_a_study_that_is_over(self, job, cluster):
        def kept():
            from tuneflow.executors.dask_shipment import _kept

            return len(_kept)

        with opened(job, quick(), address=cluster) as executor:
            run(executor, segments(1))
            assert list(executor._client.run(kept).values()) == [1]
        with Client(cluster, set_as_default=False) as client:
            assert list(client.run(kept).values()) == [0]


WITHOUT_TUNEFLOW = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "tuneflow":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
"""


class TestIsolation:
    def test_a_trial_in_a_process_of_its_own_may_crash_without_harm(self, job, notes):
        def train(config):
            note(notes, os.getpid())
            if config["x"] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            yield {"loss": 1.0}

        with opened(job, train, isolation="process") as executor:
            family = {child.pid for child in psutil.Process().children(recursive=True)}
            ended = {outcome.trial: outcome for outcome in outcomes(run(executor, segments(3)))}
            still = {child.pid for child in psutil.Process().children(recursive=True)}
        assert [ended[number].status for number in range(3)] == ["failed", "completed", "completed"]
        assert ended[0].failure.kind == "signal"
        assert not family & {int(pid) for pid in notes.read_text().split()}
        assert family <= still

    def test_a_timeout_ends_it_wherever_it_is(self, job, gate, notes):
        settings = {"isolation": "process", "timeout": 2.0, "workers": 1}
        with opened(job, waiting(gate, notes), **settings) as executor:
            (outcome,) = outcomes(run(executor, segments(1)))
        assert (outcome.status, outcome.failure.kind) == ("failed", "timeout")

    def test_each_trial_sees_only_the_devices_that_it_was_lent(self, job, tmp_path, notes, gate):
        def train(config):
            note(notes, os.environ["CUDA_VISIBLE_DEVICES"])
            yield {"loss": 1.0}
            while not gate.exists():
                time.sleep(0.01)

        options = ("--resources", "GPU=3", "--nthreads", "3")
        env = {**os.environ, "CUDA_VISIBLE_DEVICES": "4,5,6"}
        settings = {"isolation": "process", "resources": {"gpu": 1}}
        with (
            scheduler(tmp_path) as (address, _),
            worker(address, *options, env=env),
            opened(job, train, address=address, **settings) as executor,
        ):
            assert executor.slots == 3
            for segment in segments(3):
                executor.submit(segment)
            follow(executor, progress(3))
            gate.touch()
            follow(executor, ends(3))
        assert sorted(notes.read_text().split()) == ["4", "5", "6"]

    def test_local_workers_share_the_devices_of_the_machine(self, job, notes, monkeypatch):
        def train(config):
            note(notes, os.environ["CUDA_VISIBLE_DEVICES"])
            yield {"loss": 1.0}

        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
        with opened(job, train, resources={"gpu": 0.5}, threads_per_worker=2) as executor:
            assert executor.slots == 4
            run(executor, segments(8))
        assert set(notes.read_text().split()) == {"0", "1"}


class TestClusters:
    def test_segments_run_on_a_cluster_that_is_left_running(self, job, cluster):
        for _ in range(2):
            with opened(job, quick(), address=cluster) as executor:
                (outcome,) = outcomes(run(executor, segments(1)))
                assert outcome.status == "completed"

    def test_a_client_may_be_given_and_is_left_as_it_was(self, job, cluster):
        with Client(cluster, set_as_default=False) as client:
            with opened(job, quick(), address=client) as executor:
                run(executor, segments(1))
            assert client.submit(int, "7").result() == 7

    def test_a_cluster_that_wants_certificates_gets_them(self, job, tmp_path):
        security = Security.temporary()
        files = {"ca": security.tls_ca_file, "cert": security.tls_client_cert}
        files["key"] = security.tls_client_key
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        ca, cert, key = (str(tmp_path / name) for name in files)
        tls = ("--tls-ca-file", ca, "--tls-cert", cert, "--tls-key", key, "--protocol", "tls")
        given = {"tls_ca_file": ca, "tls_cert_file": cert, "tls_key_file": key}
        with (
            scheduler(tmp_path, *tls) as (address, _),
            worker(address, *tls),
            opened(job, quick(), address=address, **given) as executor,
        ):
            (outcome,) = outcomes(run(executor, segments(1)))
        assert address.startswith("tls://")
        assert outcome.status == "completed"

    def test_the_executor_never_becomes_dask_s_default_client(self, job):
        with opened(job, quick(), workers=1), pytest.raises(ValueError, match="No client"):
            default_client()

    def test_a_worker_that_joins_adds_a_slot_and_one_that_leaves_takes_it(self, job, cluster):
        with opened(job, quick(), address=cluster) as executor:
            assert executor.slots == 1
            with worker(cluster):
                until(lambda: executor.wait(0.05) or executor.slots == 2)
                ended = outcomes(run(executor, segments(10)))
                assert len({outcome.worker for outcome in ended}) == 2
                both = executor.slots
            until(lambda: executor.wait(0.05) or executor.slots == both // 2)

    def test_an_unreachable_scheduler_is_one_sentence(self, tmp_path):
        script = tmp_path / "driver.py"
        script.write_text(
            "from tuneflow.errors import ClusterError\n"
            "from tuneflow.executors.dask import DaskExecutor\n"
            "from tuneflow.worker import Job\n"
            "try:\n"
            "    executor = DaskExecutor('tcp://127.0.0.1:9', connect_timeout=0.5)\n"
            "    executor.open(Job('memory://', 'loss'), None)\n"
            "except ClusterError as error:\n"
            "    print(error)\n"
        )
        began = time.monotonic()
        with process(str(script), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as driver:
            out, noise = driver.communicate(timeout=PATIENCE)
        assert time.monotonic() - began < 8
        assert out.startswith("no Dask scheduler answers at tcp://127.0.0.1:9 within 0.5 s")
        assert len(out.splitlines()) == 1
        assert noise == ""

    def test_a_cluster_without_workers_is_refused(self, job, tmp_path):
        with scheduler(tmp_path) as (address, _):
            executor = DaskExecutor(address, connect_timeout=0.5)
            with pytest.raises(ClusterError, match="has no worker; start one with"):
                executor.open(job, PythonObjective(quick()))

    def test_work_may_wait_for_workers_where_that_is_wanted(self, job, tmp_path):
        with (
            scheduler(tmp_path) as (address, _),
            opened(job, quick(), address=address, parallel=3) as executor,
        ):
            assert executor.slots == 3
            executor.submit(segments(1)[0])
            with worker(address):
                (outcome,) = outcomes(follow(executor, ends()))
        assert outcome.status == "completed"

    @pytest.mark.parametrize(
        ("resources", "said"),
        [
            ({"gpu": 1}, "1 thread, 1 GPU"),
            ({"cpu": 4}, "4 threads"),
            ({"memory": "100TB"}, "1e[+]05 GB"),
        ],
    )
    def test_what_no_worker_can_give_is_refused(self, job, cluster, resources, said):
        executor = DaskExecutor(cluster, resources=resources)
        with pytest.raises(ClusterError, match=f"no worker can give a trial .*{said}.* has 1 thr"):
            executor.open(job, PythonObjective(quick()))

    def test_a_declared_gpu_is_shared_by_its_fractions(self, job, tmp_path):
        options = ("--resources", "GPU=1", "--nthreads", "4", "--name", "gpu")
        with (
            scheduler(tmp_path) as (address, _),
            worker(address, *options),
            worker(address),
            DaskExecutor(address, resources={"gpu": 0.5}) as executor,
        ):
            await_workers(address, 2)
            executor.open(job, PythonObjective(quick()))
            assert executor.slots == 2
            ended = outcomes(run(executor, segments(6)))
        assert {outcome.worker for outcome in ended} == {"gpu"}

    @pytest.mark.parametrize(
        ("preload", "said"),
        [
            (
                WITHOUT_TUNEFLOW,
                r"cannot run tuneflow.*No module named 'tuneflow'.*: pip install 'tuneflow",
            ),
            (
                "import platform; platform.python_version_tuple = lambda: ('3', '1', '0')",
                "has python 3.1, and this process has 3.11; install the same version on both",
            ),
        ],
    )
    def test_workers_that_differ_are_refused(self, job, tmp_path, preload, said):
        script = tmp_path / "preload.py"
        script.write_text(preload)
        with (
            scheduler(tmp_path) as (address, _),
            worker(address, "--preload", str(script)),
            pytest.raises(ClusterError, match=said),
        ):
            DaskExecutor(address).open(job, PythonObjective(quick()))

    def test_a_scheduler_that_goes_away_ends_the_wait(self, job, tmp_path, gate, notes):
        with (
            scheduler(tmp_path) as (address, started),
            worker(address),
            opened(job, waiting(gate, notes), address=address) as executor,
        ):
            executor.submit(Segment(0, 0, {}))
            follow(executor, progress())
            started.kill()
            with pytest.raises(ClusterError, match="connection to the Dask scheduler"):
                follow(executor, ends())
            gate.touch()

    def test_a_scheduler_that_was_away_while_nothing_ran_is_noticed(self, job, tmp_path):
        """Nobody would hear what trials say that begin at the new one."""
        with (
            lasting_cluster(tmp_path, workers=1, threads=1) as lasting,
            opened(job, quick(), address=lasting.address) as executor,
        ):
            lasting.restart()
            with pytest.raises(ClusterError, match="connection to the Dask scheduler"):
                run(executor, segments(1))

    def test_a_client_without_its_connection_stays_so_and_can_be_closed_at_any_time(
        self, cluster, caplog
    ):
        client = connect(cluster, 10, None)
        future = client.submit(time.sleep, 60)
        client.loop.add_callback(client.scheduler_comm.comm.abort)
        until(future.cancelled)
        assert is_disconnected(future)
        assert client.status != "running"
        client.close(timeout=5)
        assert client.status == "closed"
        assert not [record for record in caplog.records if record.levelname == "ERROR"]

    def test_a_lost_connection_is_told_from_a_task_that_was_taken_back(self, cluster):
        with Client(cluster, set_as_default=False) as client:
            taken, lost = (client.submit(time.sleep, 60, pure=False) for _ in range(2))
            taken.cancel()
            until(taken.cancelled)
            client.loop.add_callback(client.scheduler_comm.comm.abort)
            # It is connected again before anybody looks.
            until(lambda: lost.cancelled() and client.status == "running")
            assert [is_disconnected(future) for future in (taken, lost)] == [False, True]


DRIVER = """
import os, sys, time
from tuneflow.executors.dask import DaskExecutor
from tuneflow.objective import PythonObjective
from tuneflow.trial import Segment
from tuneflow.worker import Job

def train(config):
    while True:
        yield {"loss": float(os.getpid())}
        time.sleep(0.01)

try:
    with DaskExecutor() as executor:
        executor.open(Job(storage=sys.argv[1], metric="loss"), PythonObjective(train))
        executor.submit(Segment(0, 0, {}))
        executor.submit(Segment(1, 0, {}))
        pids = set()
        while len(pids) < 2:
            pids |= {int(message.report.metrics["loss"]) for message in executor.wait(10)}
        print(*pids, flush=True)
        while True:
            executor.wait(None)
except KeyboardInterrupt:
    print("stopped", flush=True)
    sys.exit(130)
"""


class TestCtrlC:
    """The driver's script has no ``if __name__ == "__main__"``: workers must not run it again."""

    @pytest.fixture
    def driver(self, tmp_path, job):
        script = tmp_path / "driver.py"
        script.write_text(DRIVER)
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with process(str(script), job.storage, **pipes) as started:
            yield started

    def test_it_ends_the_driver_and_everything_it_started(self, driver):
        workers = [int(pid) for pid in driver.stdout.readline().split()]
        family = psutil.Process(driver.pid).children(recursive=True)
        assert set(workers) <= {child.pid for child in family}
        os.killpg(driver.pid, signal.SIGINT)
        out, noise = driver.communicate(timeout=PATIENCE)
        assert driver.returncode == 130
        assert out == "stopped\n"
        assert noise == ""
        psutil.wait_procs(family, timeout=PATIENCE)
        assert [child for child in family if is_alive(child)] == []

    def test_it_may_come_while_the_workers_start(self, tmp_path, job):
        script = tmp_path / "driver.py"
        script.write_text(DRIVER)
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with process(str(script), job.storage, **pipes) as driver:
            started = psutil.Process(driver.pid)
            # The resource tracker of multiprocessing comes first.
            family = until(lambda: [*started.children()] if len(started.children()) > 1 else None)
            os.killpg(driver.pid, signal.SIGINT)
            out, noise = driver.communicate(timeout=PATIENCE)
            assert (driver.returncode, out, noise) == (130, "stopped\n", "")
            until(lambda: not any(map(is_alive, family)))

    def test_workers_end_with_a_driver_that_is_killed(self, driver):
        assert driver.stdout.readline()
        family = psutil.Process(driver.pid).children(recursive=True)
        driver.kill()
        until(lambda: not any(map(is_alive, family)))
