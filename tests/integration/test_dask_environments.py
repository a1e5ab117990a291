"""Studies on clusters as people have them: adaptive, with TLS, with GPUs, made by a batch system.

Objectives are defined inside functions, so that they travel to the workers by value. What they
wait for is a file that the test creates.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import re
import shlex
import signal
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

import tuneflow
from tests import end_to_end, stand_ins, trainer
from tests.certificates import make_certificates
from tests.clusters import await_workers, cluster, scheduler, until, worker
from tests.end_to_end import assert_whole, hold, prepare_anywhere, resume
from tests.storages import storage_of
from tests.trainer import note
from tuneflow.cli import main
from tuneflow.driving import drive
from tuneflow.errors import ClusterError
from tuneflow.events import Launched
from tuneflow.executors.base import Ended, Progress
from tuneflow.executors.dask import DaskExecutor
from tuneflow.executors.inline import InlineExecutor
from tuneflow.executors.placement import Request
from tuneflow.last_place import LastPlace
from tuneflow.objective import PythonObjective
from tuneflow.opened import OpenStudy
from tuneflow.preemption import GRACE
from tuneflow.remote.cluster import Cluster, ClusterAddress
from tuneflow.remote.code import Code
from tuneflow.remote.orders import DriverOrder, SegmentOrder
from tuneflow.rounds import open_round
from tuneflow.spec import study_from_json
from tuneflow.trial import Segment
from tuneflow.worker import Job

pytestmark = pytest.mark.integration

LEVELS = 3

KILLS = 4
"""One more worker than Dask lets die with the same task."""


def new_study(storage, **more):
    spec = {
        "name": "study",
        "objective": {"callable": "train"},
        "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}},
        "metric": "loss",
        "mode": "min",
        "searcher": "random",
        "scheduler": {"type": "fifo", "max_resource": LEVELS},
        "trials": 2,
        **more,
    }
    return OpenStudy.create(study_from_json(spec), storage)


def driver(opened, train, **more):
    return DriverOrder(opened.url, Code.of(train, Path()), **more)


def segment(opened, train, trial, **more):
    return SegmentOrder(opened.url, trial, 0, Code.of(train, Path()), **more)


def learning(folder):
    """An objective that saves each level, and waits in its second one until it may go on."""

    def train(config):
        import tuneflow

        number, saved = tuneflow.current_trial().number, tuneflow.checkpoint()
        done = int((saved / "level").read_text()) if saved else 0
        for level in range(done + 1, LEVELS + 1):
            note(folder / "steps", number, level, os.getpid())
            while level == 2 and not (folder / f"go-{number}").exists():
                time.sleep(0.01)
            yield {"loss": config["x"] / level}, saver(level)

    def saver(level):
        return lambda folder: (folder / "level").write_text(str(level))

    return train


def steps(folder):
    """Return what was computed, in order: trial, level and process."""
    path = folder / "steps"
    lines = path.read_text().splitlines() if path.exists() else []
    return [tuple(map(int, line.split())) for line in lines]


def computed(folder):
    return Counter((trial, level) for trial, level, _ in steps(folder))


def are_held(folder, url, *trials):
    """Return whether trials of `learning` wait at their second level, with the first one saved."""
    done, kept = computed(folder), end_to_end.saved(url)
    return all(done[trial, 2] and (trial, 1) in kept for trial in trials)


def let_go(folder, *trials):
    for trial in trials:
        (folder / f"go-{trial}").touch()


def refreshed(opened):
    opened.refresh()
    return opened.history


def launches(history):
    return [(fact.trial, fact.segment) for fact in history.facts if isinstance(fact, Launched)]


@contextmanager
def adaptive(minimum, maximum, threads=1):
    """A cluster whose workers, one process each, join and leave as there is work for them."""
    with LocalCluster(
        n_workers=minimum,
        threads_per_worker=threads,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        silence_logs=50,
    ) as made:
        made.adapt(minimum=minimum, maximum=maximum, interval="100ms", target_duration="500ms")
        yield made.scheduler_address


class Watch:
    """Looks at a cluster, and retires its workers."""

    def __init__(self, client):
        self._client = client

    def workers(self):
        return set(self._client.nthreads())

    def holding(self, key):
        """Return the worker that has a task."""
        found = self._client.processing()
        return next((worker for worker, keys in found.items() if key in keys), None)

    def of_process(self, pid):
        """Return the worker that is a process."""
        found = self._client.run(os.getpid, on_error="ignore")
        return next(worker for worker, its in found.items() if its == pid)

    def busy(self, folder):
        """Return the worker, of those that there are, that has computed the newest step."""
        found = self._client.run(os.getpid, on_error="ignore")
        workers = {pid: worker for worker, pid in found.items()}
        return next((workers[pid] for *_, pid in steps(folder)[::-1] if pid in workers), None)

    def kill(self, worker):
        """Kill -9 a worker's process; return whether there is one."""
        found = self._client.run(os.getpid, workers=[worker], on_error="ignore").get(worker)
        if found is not None:
            os.kill(found, signal.SIGKILL)
        return found is not None

    def retire(self, worker):
        """Retire a worker; return whether it went."""
        return worker in self._client.retire_workers([worker])


@contextmanager
def watching(address):
    with Client(address, set_as_default=False) as client:
        yield Watch(client)


class TestAdaptiveClusters:
    def test_a_cluster_without_a_worker_starts_one_for_a_driver(self, tmp_path, storage):
        opened = new_study(storage)
        let_go(tmp_path, 0, 1)
        with (
            adaptive(0, 2) as address,
            Cluster(ClusterAddress(address), Request()) as connection,
        ):
            answer = connection.result(connection.submit(driver(opened, learning(tmp_path))))
        assert answer["state"] == "finished"

    def test_workers_join_and_leave_while_a_driver_runs(self, tmp_path, storage):
        opened = new_study(storage, trials=3)
        with (
            adaptive(0, 3) as address,
            Cluster(ClusterAddress(address), None) as connection,
            watching(address) as watch,
        ):
            given = driver(opened, learning(tmp_path), settings={"parallel": 3})
            future = connection.submit(given)
            until(lambda: len({pid for _, level, pid in steps(tmp_path) if level == 2}) == 3)
            assert len(watch.workers()) == 3
            let_go(tmp_path, 0, 1)
            until(lambda: len(watch.workers()) < 3)
            assert not future.done()
            let_go(tmp_path, 2)
            assert connection.result(future)["state"] == "finished"
            future.release()
            until(lambda: not watch.workers())
        history = refreshed(opened)
        assert history.epoch == 1
        assert history.counts["completed"] == 3
        assert len(set(launches(history))) == len(launches(history))

    def test_a_cluster_that_starts_none_in_time_is_one_sentence(self, tmp_path):
        with scheduler(tmp_path) as (address, _):
            with pytest.raises(ClusterError, match="has no worker; start one with"):
                Cluster(ClusterAddress(address, timeout=0.5), Request())
            # What asked for a worker is not left behind.
            with Client(address, set_as_default=False) as client:
                until(lambda: not client.run_on_scheduler(_tasks))

    def test_a_stage_of_orders_has_a_worker_started_for_each(self, tmp_path, storage):
        opened = new_study(storage, trials=3, round_size="all")
        open_round(opened, 0)
        with (
            adaptive(0, 3) as address,
            Cluster(ClusterAddress(address), Request()) as connection,
        ):
            given = [segment(opened, learning(tmp_path), trial) for trial in range(3)]
            futures = [connection.submit(one) for one in given]
            until(lambda: len({pid for _, level, pid in steps(tmp_path) if level == 2}) == 3)
            let_go(tmp_path, 0, 1, 2)
            assert {connection.result(f)["status"] for f in futures} == {"paused"}

    def test_any_number_of_drivers_may_be_killed_while_the_study_gets_on(self, tmp_path, storage):
        opened = new_study(storage, trials=KILLS + 1, max_concurrent=1)
        with (
            # A trial whose driver is gone keeps its thread until its next report.
            adaptive(2, 3, threads=2) as address,
            Cluster(ClusterAddress(address), Request()) as connection,
            watching(address) as watch,
        ):
            future = connection.submit(given := driver(opened, learning(tmp_path)))
            for trial in range(KILLS):
                let_go(tmp_path, trial)
                until(lambda: are_held(tmp_path, opened.url, trial + 1))  # noqa: B023
                assert watch.kill(until(lambda: watch.holding(given.key)))
                until(lambda: refreshed(opened).epoch == trial + 2)  # noqa: B023
            let_go(tmp_path, KILLS)
            assert connection.result(future)["state"] == "finished"
        history = refreshed(opened)
        assert history.epoch == KILLS + 1
        assert sorted(launches(history)) == [(trial, 0) for trial in range(KILLS + 1)]
        assert history.counts["completed"] == KILLS + 1
        assert {computed(tmp_path)[trial, 1] for trial in range(KILLS + 1)} == {1}


def slow(folder):
    """An objective that takes a moment for each of its levels, and saves it."""

    def train(config):
        time.sleep(0.1)
        for event in trainer.learn({"rate": config["x"]}, folder):
            yield event
            time.sleep(0.1)

    return train


def _tasks(dask_scheduler):
    return list(dask_scheduler.tasks)


class TestRetiredWorkers:
    """A worker that is retired is gone at once; what it computes goes on elsewhere."""

    @contextmanager
    def three(self, tmp_path):
        """A cluster of three workers, a connection, and a watch."""
        with (
            cluster(3, threads=2) as address,
            Cluster(ClusterAddress(address), Request()) as connection,
            watching(address) as watch,
        ):
            yield connection, watch

    def test_a_trial_goes_on_elsewhere_from_its_checkpoint(self, tmp_path, storage):
        opened = new_study(storage)
        with self.three(tmp_path) as (connection, watch):
            future = connection.submit(given := driver(opened, learning(tmp_path)))
            until(lambda: are_held(tmp_path, opened.url, 0, 1))
            at = {trial: watch.of_process(pid) for trial, level, pid in steps(tmp_path)}
            moved = next(trial for trial in at if at[trial] != watch.holding(given.key))
            assert watch.retire(at[moved])
            until(lambda: computed(tmp_path)[moved, 2] == 2)
            let_go(tmp_path, 0, 1)
            assert connection.result(future)["state"] == "finished"
        history = refreshed(opened)
        assert computed(tmp_path)[moved, 1] == 1
        assert computed(tmp_path)[1 - moved, 2] == 1
        assert sorted(launches(history)) == [(0, 0), (1, 0)]
        assert history.counts["completed"] == 2

    def test_an_order_goes_on_elsewhere_from_its_checkpoint(self, tmp_path, storage):
        opened = new_study(storage, round_size="all")
        open_round(opened, 0)
        with self.three(tmp_path) as (connection, watch):
            future = connection.submit(given := segment(opened, learning(tmp_path), 0))
            for count in (1, 2):
                until(lambda: computed(tmp_path)[0, 2] == count)  # noqa: B023
                until(lambda: are_held(tmp_path, opened.url, 0))
                assert watch.retire(watch.holding(given.key))
            until(lambda: computed(tmp_path)[0, 2] == 3)
            let_go(tmp_path, 0)
            assert connection.result(future)["status"] == "paused"
        assert computed(tmp_path)[0, 1] == 1

    def test_the_driver_moves_and_takes_over(self, tmp_path, storage):
        opened = new_study(storage)
        with self.three(tmp_path) as (connection, watch):
            future = connection.submit(given := driver(opened, learning(tmp_path)))
            until(lambda: are_held(tmp_path, opened.url, 0, 1))
            before = refreshed(opened).facts
            assert watch.retire(watch.holding(given.key))
            until(lambda: refreshed(opened).epoch == 2)
            let_go(tmp_path, 0, 1)
            assert connection.result(future)["state"] == "finished"
        history = refreshed(opened)
        assert history.facts[: len(before)] == before
        assert sorted(launches(history)) == [(0, 0), (1, 0)]
        assert history.counts["completed"] == 2
        assert {computed(tmp_path)[trial, 1] for trial in (0, 1)} == {1}

    def test_whoever_goes_the_journal_of_rounds_is_that_of_one_undisturbed_run(
        self, tmp_path, storage
    ):
        halving = {"type": "successive_halving", "max_resource": 9, "reduction_factor": 3}
        rounds = {"scheduler": halving, "trials": None, "round_size": "all"}
        calm, stormy = tmp_path / "calm", tmp_path / "stormy"
        calm.mkdir()
        stormy.mkdir()
        expected, opened = (new_study(f"{storage}/{it.name}", **rounds) for it in (calm, stormy))
        objective, place = PythonObjective(slow(calm)), LastPlace(str(tmp_path))
        drive(expected, objective, InlineExecutor(), place=place)
        with self.three(stormy) as (connection, watch):
            future = connection.submit(driver(opened, slow(stormy), settings={"parallel": 4}))
            for harm in (watch.kill, watch.retire, watch.kill):
                until(lambda: len(watch.workers()) > 1)
                # Not one that is being started: Dask itself bears that badly.
                until(lambda: (it := watch.busy(stormy)) and harm(it), pause=0.5)  # noqa: B023
            assert connection.result(future)["state"] == "finished"
        assert end_to_end.entries(opened.url) == end_to_end.entries(expected.url)


@contextmanager
def opened_executor(storage, train, **settings):
    job = Job(storage=f"{storage}/study", metric="loss")
    with DaskExecutor(**settings) as executor:
        executor.open(job, PythonObjective(train))
        yield executor


class Told:
    """What an executor has told so far."""

    def __init__(self, executor):
        self._executor = executor
        self._messages = []

    def until(self, condition):
        """Let the executor work until something is so; return it."""
        return until(lambda: self._hear() or condition(), seconds=60)

    def report(self, level):
        """Wait for the report of a level."""
        return self.until(lambda: next((r for r in self._reports() if r.resource == level), None))

    def outcome(self):
        """Wait for the end."""
        return self.until(lambda: next(self._outcomes(), None))

    def _hear(self):
        self._messages += self._executor.wait(0.05)

    def _reports(self):
        return (message.report for message in self._messages if isinstance(message, Progress))

    def _outcomes(self):
        return (message.outcome for message in self._messages if isinstance(message, Ended))


class TestLosses:
    """What counts as a loss: workers that died with a trial while it came no further."""

    def test_workers_that_are_retired_do_not_count(self, tmp_path, storage, monkeypatch):
        # The trial does not report in it, however long it is.
        monkeypatch.setenv(GRACE, "2")
        with (
            cluster(5) as address,
            watching(address) as watch,
            opened_executor(storage, learning(tmp_path), address=address) as executor,
        ):
            executor.submit(Segment(0, 0, {"x": 1.0}))
            told = Told(executor)
            for count in range(1, 5):
                told.until(lambda: computed(tmp_path)[0, 2] == count)  # noqa: B023
                told.until(lambda: are_held(tmp_path, f"{storage}/study", 0))
                assert watch.retire(watch.of_process(steps(tmp_path)[-1][2]))
            let_go(tmp_path, 0)
            outcome = told.outcome()
        assert outcome.status == "completed"
        assert computed(tmp_path)[0, 1] == 1

    def test_workers_that_die_do_not_while_the_trial_gets_on(self, storage):
        levels = 7

        def train(config):
            import tuneflow

            saved = tuneflow.checkpoint()
            done = int((saved / "level").read_text()) if saved else 0
            for level in range(done + 1, levels):
                yield {"pid": os.getpid(), "loss": 1 / level}, functools.partial(save, level)
                time.sleep(60)

        def save(level, folder):
            (folder / "level").write_text(str(level))

        with opened_executor(storage, train, workers=2) as executor:
            executor.submit(Segment(0, 0, {"x": 1.0}))
            told = Told(executor)
            for level in range(1, levels):
                os.kill(int(told.report(level).metrics["pid"]), signal.SIGKILL)
            outcome = told.outcome()
        assert outcome.status == "completed"
        assert [report.resource for report in outcome.reports] == list(range(1, levels))


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("tls") / "theirs")


@pytest.fixture(scope="module")
def address(ours, tmp_path_factory):
    """The address of a cluster of two workers that speaks TLS only."""
    folder = tmp_path_factory.mktemp("cluster")
    options = (*ours.options, "--local-directory", folder)
    with ExitStack() as stack:
        address, _ = stack.enter_context(scheduler(folder, *ours.options))
        for _ in range(2):
            stack.enter_context(worker(address, *options))
        yield address


class TestCertificates:
    """A cluster lets in who has a certificate of its authority."""

    def test_a_driver_and_its_trials_run_there(self, address, ours, tmp_path, storage):
        opened = new_study(storage)
        let_go(tmp_path, 0, 1)
        where = ClusterAddress(address, timeout=30, **ours.settings)
        with Cluster(where, Request()) as connection:
            answer = connection.result(connection.submit(driver(opened, learning(tmp_path))))
        assert address.startswith("tls://")
        assert answer["state"] == "finished"

    def test_a_study_is_submitted_there_and_can_be_ended_by_its_url(
        self, address, ours, tmp_path, storage
    ):
        options = [f"--{name.replace('_', '-')}={file}" for name, file in ours.settings.items()]
        url = prepare_anywhere(tmp_path)
        hold(tmp_path, 3)
        given = (f"{tmp_path}/study.yaml", "--storage", storage_of(tmp_path), "--detach")
        assert main(["submit", *given, "--address", address, *options]) == 0
        until(lambda: len(steps(tmp_path)) >= 3)
        # Where the cluster is, and how to speak to it, is known beside the study.
        assert main(["cancel", url]) == 0
        end_to_end.let_go(tmp_path)
        assert resume(url) == 0
        assert_whole(url)

    def test_who_has_no_certificate_gets_one_sentence(self, address):
        with pytest.raises(ClusterError, match=r"asks for certificates; give tls_ca_file, tls_c"):
            Cluster(ClusterAddress(address), Request())

    @pytest.mark.parametrize("which", [("ca", "cert", "key"), ("cert", "key"), ("ca",)])
    def test_certificates_of_another_authority_are_one_sentence(self, address, ours, theirs, which):
        mixed = dataclasses.replace(ours, **{name: getattr(theirs, name) for name in which})
        with pytest.raises(ClusterError, match="closes the connection: it does not accept these"):
            Cluster(ClusterAddress(address, **mixed.settings), Request())

    def test_a_key_of_another_certificate_is_one_sentence(self, address, ours, theirs):
        mixed = dataclasses.replace(ours, key=theirs.key)
        with pytest.raises(ClusterError, match=r"the certificates for tls://.* cannot be used"):
            Cluster(ClusterAddress(address, **mixed.settings), Request())

    def test_a_missing_file_is_named(self, address, ours, tmp_path):
        lacking = dataclasses.replace(ours, cert=tmp_path / "nowhere.pem")
        with pytest.raises(ClusterError, match=r"the file .*nowhere.pem .* does not exist"):
            Cluster(ClusterAddress(address, **lacking.settings), Request())

    def test_an_address_without_tls_says_what_it_should_be(self, address, ours):
        plain = address.replace("tls://", "tcp://")
        with pytest.raises(ClusterError, match="its address is one of tls://"):
            Cluster(ClusterAddress(plain), Request())
        with pytest.raises(ClusterError, match="certificates are for tls:// addresses"):
            Cluster(ClusterAddress(plain, **ours.settings), Request())


class TestDevices:
    """Workers that declare GPUs; the devices themselves are names in an environment variable."""

    @contextmanager
    def workers(self, tmp_path, *devices, threads=4, gpu=1):
        """A connection's address; one worker for each list of devices that it sees."""
        with ExitStack() as stack:
            address, _ = stack.enter_context(scheduler(tmp_path))
            options = ("--nthreads", threads, "--resources", f"GPU={gpu}", "--no-nanny")
            for visible in devices:
                env = {**os.environ, "CUDA_VISIBLE_DEVICES": visible}
                options = (*options, "--local-directory", tmp_path)
                stack.enter_context(worker(address, *map(str, options), env=env))
            await_workers(address, len(devices))
            yield ClusterAddress(address)

    def drive(self, address, opened, train, request, **more):
        with Cluster(address, request) as connection:
            answer = connection.result(connection.submit(driver(opened, train, **more)))
        assert answer["state"] == "finished"

    def order(self, address, opened, train, request, **more):
        open_round(opened, 0)
        trials = range(len(opened.history.trials))
        with Cluster(address, request) as connection:
            given = [segment(opened, train, trial, **more) for trial in trials]
            futures = [connection.submit(one) for one in given]
            assert {connection.result(future)["status"] for future in futures} == {"completed"}

    @pytest.fixture(params=["drive", "order"])
    def run(self, request):
        """Runs a study's trials to their end: under a driver, or each as an order."""
        return getattr(self, request.param)

    def test_two_halves_share_a_device_and_never_more(self, tmp_path, storage, run):
        opened = new_study(storage, trials=6, resources={"gpu": 0.5}, round_size="all")
        with self.workers(tmp_path, "0", "1") as address:
            run(address, opened, holding(tmp_path), Request(gpu=0.5))
        assert most_at_once(tmp_path) == {"0": 2, "1": 2}

    def test_a_whole_device_has_one_trial_at_a_time(self, tmp_path, storage, run):
        opened = new_study(storage, trials=4, resources={"gpu": 1}, round_size="all")
        with self.workers(tmp_path, "0", "1") as address:
            run(address, opened, holding(tmp_path), Request(gpu=1))
        assert most_at_once(tmp_path) == {"0": 1, "1": 1}

    def test_a_worker_that_sees_the_devices_of_others_uses_its_own(self, tmp_path, storage, run):
        """So dask-cuda sets them: all devices of the machine, in another order for each worker."""
        opened = new_study(storage, trials=6, resources={"gpu": 0.5}, round_size="all")
        with self.workers(tmp_path, "0,1", "1,0") as address:
            run(address, opened, holding(tmp_path), Request(gpu=0.5), isolation="process")
        assert most_at_once(tmp_path) == {"0": 2, "1": 2}

    def test_a_worker_of_several_devices_lends_each_of_them(self, tmp_path, storage, run):
        opened = new_study(storage, trials=4, resources={"gpu": 1}, round_size="all")
        with self.workers(tmp_path, "3,5", gpu=2) as address:
            run(address, opened, holding(tmp_path), Request(gpu=1), isolation="process")
        assert most_at_once(tmp_path) == {"3": 1, "5": 1}


def holding(folder):
    """An objective that notes when it has which devices, and holds them for a moment."""

    def train(config):
        devices = os.environ["CUDA_VISIBLE_DEVICES"]
        note(folder / "devices", devices, 1)
        time.sleep(0.3)
        note(folder / "devices", devices, -1)
        return {"loss": config["x"]}

    return train


def most_at_once(folder):
    """Return how many trials had the same devices at the same time, at most."""
    changes = {}
    for line in (folder / "devices").read_text().splitlines():
        devices, change = line.split()
        changes.setdefault(devices, []).append(int(change))
    return {devices: max(itertools.accumulate(all_)) for devices, all_ in changes.items()}


DASK_PAGE = Path(__file__).parents[2] / "docs" / "dask.md"


class TestRecipes:
    """What docs/dask.md says of other people's clusters, with local ones in their place."""

    @pytest.mark.parametrize("heading", ["SLURM and other batch systems", "Kubernetes"])
    def test_the_recipe_makes_a_cluster_that_studies_can_be_submitted_to(
        self, heading, tmp_path, storage
    ):
        recipe = section(heading)
        names = dict(stand_ins.MODULES)
        exec(re.search(r"^```python\n(.*?)^```", recipe, re.DOTALL | re.MULTILINE)[1], names)
        url = prepare_anywhere(tmp_path)
        with names["cluster"] as made:
            given = {"study.yaml": f"{tmp_path}/study.yaml", "--storage": storage_of(tmp_path)}
            command = submitting(recipe, **given, **{"--address": made.scheduler_address})
            assert main(command) == 0
            until(lambda: tuneflow.load(url).state == "finished")
        assert_whole(url)


def section(heading):
    """Return what a page says below a heading."""
    return DASK_PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]


def submitting(recipe, **changes):
    """Return the arguments of the command that submits a study, some of them changed."""
    text = re.search(r"^    tuneflow (submit (?:.*\\\n)*.*)", recipe, re.MULTILINE)[1]
    words = shlex.split(text.replace("\\\n", " "))
    for option, value in changes.items():
        if not option.startswith("--"):
            words[words.index(option)] = value
        elif option in words:
            words[words.index(option) + 1] = value
        else:
            words += [option, value]
    return words
