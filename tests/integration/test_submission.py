"""``tuneflow submit``, ``watch``, ``status`` and ``cancel`` on Dask clusters made of processes.

The objectives of most tests are those of `tests.trainer`: each step leaves a line in a file, and
the file 'limit' holds them up in the middle of a segment.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from contextlib import contextmanager

import pytest
from distributed import Client, SchedulerPlugin

import tuneflow
from tests import command, end_to_end
from tests.clusters import await_workers, cluster, scheduler, until, worker
from tests.command import url_of
from tests.end_to_end import (
    STUDY,
    assert_whole,
    computed,
    entries,
    finish,
    hold,
    let_go,
    outcomes,
    prepare_anywhere,
    resume,
    saved,
    steps,
    wait_for_entries,
)
from tests.lasting_cluster import lasting_cluster
from tests.storages import keys, objects, storage_of
from tuneflow.cli import main
from tuneflow.errors import StudyNotFoundError
from tuneflow.events import Opened
from tuneflow.last_place import LastPlace
from tuneflow.opened import OpenStudy
from tuneflow.remote import submission as remote
from tuneflow.remote.cancelling import driver_of
from tuneflow.remote.cluster import Cluster, ClusterAddress
from tuneflow.remote.code import Code
from tuneflow.remote.orders import SegmentOrder, driver_key
from tuneflow.remote.seen import check_seen
from tuneflow.remote.submission import ATTEMPT
from tuneflow.rounds import open_round
from tuneflow.study_file import load_study_file

pytestmark = pytest.mark.integration

ROUNDS = {
    "scheduler": {"type": "successive_halving", "max_resource": 9, "reduction_factor": 3},
    "round_size": "all",
}


@pytest.fixture(scope="module")
def shared():
    """The address of a cluster of two workers with two threads each, for tests that harm none."""
    with cluster(2, threads=2) as address:
        yield address


@pytest.fixture
def folder(tmp_path, storage):
    """A study file and its objective; nothing waits in it once the test is over."""
    prepare_anywhere(tmp_path)
    yield tmp_path
    (tmp_path / "limit").unlink(missing_ok=True)


def opened_at(folder):
    return OpenStudy.open(url_of(folder))


def submission(folder, address, *options):
    """Return the arguments that submit the study of a folder."""
    where = ("--address", address, "--storage", storage_of(folder))
    return ("submit", folder / "study.yaml", *where, "--json", *options)


def submit(folder, address, *options):
    """Submit the study in this process; return the exit code."""
    return main([str(argument) for argument in submission(folder, address, *options)])


@contextmanager
def attached(folder, address, *options, limit=None):
    """A process that watches the study, which is held after so many steps."""
    if limit is not None:
        hold(folder, limit)
    with end_to_end.driver(folder, *submission(folder, address, *options)) as started:
        if limit is not None:
            command.wait_until(lambda: len(steps(folder)) >= limit, started)
            assert "the study runs on" in started.stderr.readline()
            until(lambda: is_watched(address, folder))
        yield started


def is_watched(address, folder):
    """Return whether anybody waits for the driver to end."""
    key = driver_key(opened_at(folder).url, ATTEMPT)
    with Client(address, set_as_default=False) as client:
        wanting = client.run_on_scheduler(
            lambda dask_scheduler: [one.client_key for one in dask_scheduler.tasks[key].who_wants]
        )
    return len(wanting) > 1


def finished(folder):
    """Wait until the study has finished."""
    url = url_of(folder)
    until(lambda: tuneflow.load(url).state == "finished", seconds=60, pause=0.1)


def epochs(folder):
    return [f.epoch for f in opened_at(folder).history.facts if isinstance(f, Opened)]


def holder(address, folder):
    """Return the process of the worker that the study's driver is on."""
    key = driver_key(opened_at(folder).url, ATTEMPT)
    with Client(address, set_as_default=False) as client:
        [found] = until(lambda: [at for at, keys in client.processing().items() if key in keys])
        return client.run(os.getpid, workers=[found])[found]


def wait_for_steps(folder, count):
    until(lambda: len(steps(folder)) >= count)


def assert_nothing_twice(folder, before, done):
    """Make sure that what had a checkpoint or an outcome at some time was not computed again."""
    assert before.items() <= outcomes(url_of(folder)).items()
    counts = computed(folder)
    assert {step: counts[step] for step in done} == dict.fromkeys(done, 1)


class TestDetached:
    def test_a_study_goes_on_without_the_process_that_submitted_it(self, shared, folder):
        hold(folder, 5)
        done = command.tuneflow(*submission(folder, shared, "--detach"), cwd=folder)
        assert done.returncode == 0, done.stderr
        let_go(folder)
        finished(folder)
        assert_whole(url_of(folder))

    def test_it_says_where_the_study_is_and_how_to_look_at_it(self, shared, folder, capsys):
        main(
            [
                "submit",
                f"{folder}/study.yaml",
                "--address",
                shared,
                "--detach",
                "--storage",
                storage_of(folder),
            ]
        )
        said = capsys.readouterr()
        assert said.err == f"the study runs on the Dask cluster at {shared}\n"
        url = opened_at(folder).url
        assert f"study: {url}\n" in said.out
        for name in ("watch", "status", "cancel"):
            assert f"  tuneflow {name} {url}\n" in said.out
        finished(folder)

    def test_its_json_is_for_programs(self, shared, folder, capsys):
        hold(folder, 3)
        assert submit(folder, shared, "--detach") == 0
        document = json.loads(capsys.readouterr().out)
        assert document["url"] == opened_at(folder).url
        assert (document["address"], document["state"]) == (shared, "begun")

    def test_the_place_is_kept_for_a_resume(self, shared, folder):
        with (folder / "study.yaml").open("a") as file:
            file.write("executor: inline\n")
        submit(folder, shared, "--detach", "--set", "executor.isolation=process")
        place = LastPlace.recall(opened_at(folder).store)
        assert place.folder == str(folder)
        assert place.executor["address"] == shared
        assert place.executor["isolation"] == "process"
        finished(folder)

    def test_one_that_waits_in_the_middle_of_a_round_has_begun(self, shared, folder):
        prepare_anywhere(folder, **ROUNDS)
        hold(folder, 3)
        with end_to_end.driver(folder, "run", "study.yaml", "--no-progress") as first:
            command.wait_until(lambda: len(steps(folder)) >= 3, first)
            first.kill()
        before = entries(url_of(folder))
        assert submit(folder, shared, "--detach") == 0
        assert entries(url_of(folder)) == before
        let_go(folder)
        finished(folder)
        assert_whole(url_of(folder))


class TestAttached:
    def test_it_ends_as_a_run_does(self, shared, folder, capsys):
        assert submit(folder, shared) == 0
        document = json.loads(capsys.readouterr().out)
        assert (document["state"], document["reason"]) == ("finished", "all 9 trials are done")
        assert document["executor"]["address"] == shared
        assert_whole(url_of(folder))

    def test_failed_trials_are_exit_code_3_and_can_be_tried_again(self, shared, folder, capsys):
        prepare_anywhere(folder, objective="train.py:breaks", scheduler="fifo", trials=3)
        (folder / "broken").touch()
        assert submit(folder, shared) == 3
        assert "the data is not there" in capsys.readouterr().err
        (folder / "broken").unlink()
        assert submit(folder, shared, "--retry-failed") == 0
        assert Counter(trial for trial, _, _ in steps(folder)) == {0: 1, 1: 2, 2: 1}

    def test_a_client_that_is_killed_takes_nothing_with_it(self, shared, folder):
        with attached(folder, shared, limit=9) as started:
            started.kill()
            started.wait()
            let_go(folder)
            finished(folder)
        assert epochs(folder) == [1]
        assert_whole(url_of(folder))

    def test_ctrl_c_ends_the_watching_only_and_says_so(self, shared, folder):
        with attached(folder, shared, limit=9) as started:
            started.send_signal(signal.SIGINT)
            said = finish(started, 130)
        assert said.splitlines()[-1] == f"no longer watching; the study goes on at {shared}"
        assert "tuneflow resume" not in said
        let_go(folder)
        finished(folder)
        assert epochs(folder) == [1]

    def test_a_study_that_is_submitted_again_is_left_to_its_driver(self, shared, folder, capsys):
        hold(folder, 5)
        assert submit(folder, shared, "--detach") == 0
        assert submit(folder, shared, "--detach") == 0
        *_, document = capsys.readouterr().out.split("\n}\n")[:-1]
        assert json.loads(f"{document}}}")["state"] == "attached"
        let_go(folder)
        assert submit(folder, shared) == 0
        assert epochs(folder) == [1]

    def test_a_finished_study_is_not_run_again(self, shared, folder):
        assert submit(folder, shared) == 0
        before, count = entries(url_of(folder)), len(steps(folder))
        assert submit(folder, shared) == 0
        assert (entries(url_of(folder)), len(steps(folder))) == (before, count)


class TestDeaths:
    def test_a_driver_that_is_killed_with_its_worker_moves_to_another(self, folder):
        with (
            lasting_cluster(folder, workers=3, threads=2) as dask,
            attached(folder, dask.address, limit=9) as started,
        ):
            wait_for_entries(url_of(folder), 3, started)
            before, done = outcomes(url_of(folder)), saved(url_of(folder))
            assert before
            os.kill(holder(dask.address, folder), signal.SIGKILL)
            let_go(folder)
            finish(started)
        assert epochs(folder) == [1, 2]
        assert_nothing_twice(folder, before, done)
        assert_whole(url_of(folder))

    def test_it_does_so_when_nobody_watches(self, folder):
        with lasting_cluster(folder, workers=3, threads=2) as dask:
            hold(folder, 9)
            submit(folder, dask.address, "--detach")
            until(lambda: outcomes(url_of(folder)))
            before, done = outcomes(url_of(folder)), saved(url_of(folder))
            os.kill(holder(dask.address, folder), signal.SIGKILL)
            let_go(folder)
            finished(folder)
        assert epochs(folder) == [1, 2]
        assert_nothing_twice(folder, before, done)
        assert_whole(url_of(folder))

    def test_one_who_watches_orders_it_again_when_the_scheduler_is_back(self, folder):
        with (
            lasting_cluster(folder, workers=2, threads=2) as dask,
            attached(folder, dask.address, limit=9) as started,
        ):
            before, done = outcomes(url_of(folder)), saved(url_of(folder))
            dask.kill()
            let_go(folder)
            dask.start()
            said = finish(started)
        gone = f"the Dask scheduler at {dask.address} is gone; the study goes on when it is back"
        assert said.splitlines().count(gone) == 1
        assert "distributed" not in said
        assert_nothing_twice(folder, before, done)
        assert_whole(url_of(folder))

    def test_submitting_again_goes_on_after_the_scheduler_was_lost(self, folder):
        with lasting_cluster(folder, workers=2, threads=2) as dask:
            hold(folder, 9)
            submit(folder, dask.address, "--detach")
            wait_for_steps(folder, 9)
            dask.restart()
            let_go(folder)
            assert submit(folder, dask.address) == 0
        assert epochs(folder) == [1, 2]
        assert_whole(url_of(folder))


class TestTwoDrivers:
    def test_one_elsewhere_fences_the_submitted_one(self, shared, folder):
        with (
            attached(folder, shared, limit=9) as first,
            end_to_end.driver(
                folder, "resume", url_of(folder), "--executor", "inline", "--no-progress"
            ) as second,
        ):
            until(lambda: len(epochs(folder)) == 2)
            let_go(folder)
            said = finish(first, 5)
            finish(second)
        url = opened_at(folder).url
        assert f"another driver has taken over {url}" in said
        assert said.splitlines()[-1].endswith(f"tuneflow watch {url}")
        assert_whole(url_of(folder))

    def test_a_submitted_one_fences_one_elsewhere(self, shared, folder):
        hold(folder, 5)
        with end_to_end.driver(folder, "run", "study.yaml", "--no-progress") as first:
            command.wait_until(lambda: len(steps(folder)) >= 5, first)
            assert submit(folder, shared, "--detach") == 0
            let_go(folder)
            assert "another driver" in finish(first, 5)
        finished(folder)
        assert_whole(url_of(folder))


class TestCancel:
    def test_it_leaves_a_study_that_goes_on_where_it_was(self, shared, folder, capsys):
        with attached(folder, shared, limit=9) as started:
            assert main(["cancel", url_of(folder)]) == 0
            assert "was cancelled" in finish(started, 130)
        assert "has ended; go on with it" in capsys.readouterr().out
        opened = opened_at(folder)
        assert opened.history.halted == "interrupted"
        before, done = outcomes(url_of(folder)), saved(url_of(folder))
        let_go(folder)
        assert resume(url_of(folder), "--executor", "inline") == 0
        assert_nothing_twice(folder, before, done)
        assert_whole(url_of(folder))

    def test_it_can_be_submitted_again(self, shared, folder):
        hold(folder, 5)
        submit(folder, shared, "--detach")
        assert main(["cancel", url_of(folder)]) == 0
        let_go(folder)
        assert submit(folder, shared) == 0
        assert epochs(folder) == [1, 2]

    def test_there_may_be_nothing_to_cancel(self, shared, folder, capsys):
        submit(folder, shared)
        capsys.readouterr()
        for _ in range(2):
            assert main(["cancel", url_of(folder), "--json"]) == 0
            document = json.loads(capsys.readouterr().out)
            assert document["cancelled"] == {"drivers": 0, "trials": 0, "still_running": []}
        assert main(["cancel", url_of(folder)]) == 0
        assert capsys.readouterr().out.startswith("nothing to cancel: the Dask cluster at ")

    def test_the_trials_that_an_orchestrator_has_ordered_end_too(self, shared, folder, capsys):
        prepare_anywhere(folder, **ROUNDS)
        hold(folder, 1)
        spec = {**STUDY, **ROUNDS, "name": "example"}
        opened = OpenStudy.create(tuneflow.spec.study_from_json(spec), storage_of(folder))
        open_round(opened, 0)
        code = Code.of("train.py:train", folder)
        with Cluster(ClusterAddress(shared), None) as connection:
            for trial in range(9):
                connection.submit(SegmentOrder(opened.url, trial, 0, code))
            wait_for_steps(folder, 1)
        command_line = ["cancel", opened.url, "--address", shared, "--json"]
        assert main(command_line) == 0
        assert json.loads(capsys.readouterr().out)["cancelled"]["trials"] == 9
        assert main(command_line) == 0
        assert json.loads(capsys.readouterr().out)["cancelled"]["trials"] == 0

    def test_a_study_that_never_was_on_dask_asks_for_the_address(self, folder, capsys):
        assert end_to_end.run(folder, "--executor", "inline", "--set", "trials=1") == 0
        assert main(["cancel", url_of(folder)]) == 2
        assert "does not say which Dask cluster it ran on" in capsys.readouterr().err

    def test_an_unreachable_cluster_is_one_sentence(self, shared, folder, capsys):
        submit(folder, shared)
        address = "tcp://127.0.0.1:1"
        with lasting_place(folder, address):
            assert main(["cancel", url_of(folder)]) == 4
        assert f"no Dask scheduler answers at {address} within" in capsys.readouterr().err


@contextmanager
def lasting_place(folder, address):
    """Have a study say that it ran at another address."""
    store = opened_at(folder).store
    place = LastPlace.recall(store)
    executor = {"type": "dask", "address": address, "connect_timeout": 0.3}
    LastPlace(place.folder, executor).remember(store)
    yield
    place.remember(store)


class TestStatus:
    def test_it_says_where_the_study_runs_and_whether_its_driver_lives(
        self, shared, folder, capsys
    ):
        hold(folder, 5)
        submit(folder, shared, "--detach")
        capsys.readouterr()
        main(["status", url_of(folder), "--driver"])
        said = capsys.readouterr().out
        assert f"dask {shared}" in said
        assert "on the Dask worker tcp://" in said
        main(["cancel", url_of(folder)])
        main(["status", url_of(folder), "--driver"])
        assert f"none on the Dask cluster at {shared}" in capsys.readouterr().out

    def test_it_does_not_wait_for_a_cluster_that_is_gone(self, shared, folder, capsys):
        submit(folder, shared)
        capsys.readouterr()
        with lasting_place(folder, "tcp://127.0.0.1:1"):
            assert main(["status", url_of(folder), "--json"]) == 0
            assert "driver" not in json.loads(capsys.readouterr().out)
            assert main(["status", url_of(folder), "--json", "--driver"]) == 0
        assert json.loads(capsys.readouterr().out)["driver"].startswith("not known: no Dask")


PACKAGE = {
    "__init__.py": "",
    "training.py": (
        "from pathlib import Path\n"
        "from mine.numbers_of import offset\n"
        "DATA = Path(__file__).with_name('data.txt')\n"
        "def train(config):\n    return config['rate'] + offset() + float(DATA.read_text())\n"
    ),
    "numbers_of.py": "def offset():\n    return 0.0\n",
    "data.txt": "10",
}


class TestUpload:
    @pytest.fixture
    def package(self, folder):
        """A package that no worker has, and a study whose objective is in it."""
        project = folder / "project" / "mine"
        project.mkdir(parents=True)
        for name, text in PACKAGE.items():
            (project / name).write_text(text)
        self.study(folder, "first")
        return project

    @staticmethod
    def study(folder, name):
        more = {"name": name, "objective": "mine.training:train", "scheduler": "fifo", "trials": 4}
        prepare_anywhere(folder, **more)

    @staticmethod
    def values(folder, name):
        result = tuneflow.load(f"{storage_of(folder)}/{name}")
        return {round(result.value(t) - t.params["rate"], 6) for t in result.trials}

    def test_an_objective_in_a_package_can_be_imported(self, shared, folder, package):
        assert submit(folder, shared, "--upload", package) == 0
        assert self.values(folder, "first") == {10.0}

    def test_a_newer_version_takes_its_place(self, shared, folder, package):
        assert submit(folder, shared, "--upload", package) == 0
        (package / "numbers_of.py").write_text("def offset():\n    return 5.0\n")
        (package / "data.txt").write_text("20")
        self.study(folder, "second")
        assert submit(folder, shared, "--upload", package) == 0
        assert self.values(folder, "second") == {25.0}

    def test_a_file_brings_what_another_file_imports(self, shared, folder, package):
        (folder / "helping.py").write_text("def offset():\n    return 3.0\n")
        (folder / "train.py").write_text(
            "import helping\ndef train(config):\n    return config['rate'] + helping.offset()\n"
        )
        command.write(folder, **{**STUDY, "name": "third", "scheduler": "fifo", "trials": 2})
        # Workers do not see the folder of the file.
        elsewhere = folder / "elsewhere"
        elsewhere.mkdir()
        for name in ("helping.py", "train.py", "study.yaml"):
            (folder / name).rename(elsewhere / name)
        options = ("--storage", storage_of(folder), "--upload", elsewhere / "helping.py")
        arguments = ["submit", elsewhere / "study.yaml", "--address", shared, "--json", *options]
        assert main([str(argument) for argument in arguments]) == 0
        assert self.values(folder, "third") == {3.0}

    def test_a_worker_that_joins_later_has_it(self, folder, package):
        with scheduler(folder) as (address, _):
            with worker(address, "--local-directory", folder / "a"):
                assert submit(folder, address, "--upload", package) == 0
            with worker(address, "--local-directory", folder / "b"):
                await_workers(address, 1)
                self.study(folder, "second")
                assert submit(folder, address) == 0
        assert self.values(folder, "second") == {10.0}

    def test_without_it_the_missing_module_is_told_before_anything_runs(
        self, folder, package, capsys
    ):
        with cluster(1) as address:
            assert submit(folder, address, "--detach") == 2
        said = capsys.readouterr().err
        assert "has no module 'mine'" in said
        assert "bring it along with --upload" in said
        assert entries(f"{storage_of(folder)}/first") == {}


class TestBadInput:
    def test_an_unreachable_cluster_creates_nothing(self, folder, capsys):
        options = ("--set", "executor={type: dask, connect_timeout: 0.3}")
        assert submit(folder, "tcp://127.0.0.1:1", *options) == 4
        assert "no Dask scheduler answers at tcp://127.0.0.1:1 within 0.3 s" in said(capsys)
        assert keys(url_of(folder), "*") == []

    def test_a_cluster_without_workers_creates_nothing(self, folder, capsys):
        options = ("--set", "executor={type: dask, connect_timeout: 0.3}")
        with scheduler(folder) as (address, _):
            assert submit(folder, address, *options) == 4
        assert "has no worker; start one with: dask worker" in said(capsys)
        assert keys(url_of(folder), "*") == []

    def test_no_address_is_one_sentence(self, folder, capsys):
        assert main(["submit", f"{folder}/study.yaml"]) == 2
        assert "--address: it is not said which Dask cluster is meant" in said(capsys)

    def test_an_executor_of_another_kind_is_one_sentence(self, folder, capsys):
        assert submit(folder, "tcp://127.0.0.1:1", "--set", "executor=inline") == 2
        assert "executor: 'inline' is no Dask cluster; leave it out" in said(capsys)

    def test_a_mistake_in_the_file_is_told_first(self, folder, capsys):
        assert submit(folder, "tcp://127.0.0.1:1", "--set", "trails=3") == 2
        assert "did you mean 'trials'" in said(capsys)

    def test_a_storage_of_this_process_is_refused(self, shared, folder, capsys):
        assert submit(folder, shared, "--storage", "memory://here") == 2
        assert "seen by this process only; give one that all workers reach" in said(capsys)

    @pytest.mark.local("is about a folder")
    def test_a_folder_that_workers_do_not_see_is_one_sentence(self, shared, folder):
        with (
            Cluster(ClusterAddress(shared), None) as connection,
            pytest.raises(
                StudyNotFoundError, match=r"finds no study at file:///.*all workers reach"
            ),
        ):
            check_seen(connection, (folder / "nowhere").as_uri())

    def test_a_request_that_no_worker_can_meet_creates_nothing(self, shared, folder, capsys):
        assert submit(folder, shared, "--set", "resources.gpu=1") == 4
        assert "no worker can give a trial 1 thread, 1 GPU" in said(capsys)
        assert keys(url_of(folder), "*") == []


def said(capsys):
    return capsys.readouterr().err


class TestFromPython:
    def test_a_function_travels_and_its_result_is_waited_for(self, shared, storage):
        def train(config):
            for level in range(1, 4):
                yield {"loss": config["x"] / level}

        given = tuneflow.submit(
            train,
            space={"x": tuneflow.space.uniform(1, 2)},
            metric="loss",
            mode="min",
            name="python",
            storage=storage,
            address=shared,
            scheduler=tuneflow.schedulers.FIFO(max_resource=3),
            searcher="random",
            trials=3,
        )
        assert given.state == "begun"
        result = given.wait(progress=False)
        assert len(result.trials) == 3
        assert result.best_value == pytest.approx(result.best_config["x"] / 3)

    def test_it_can_be_cancelled(self, shared, tmp_path, storage):
        gate = tmp_path / "gate"

        def train(config):
            for level in range(1, 1000):
                yield {"loss": config["x"] / level}
                while level == 1 and not gate.exists():
                    time.sleep(0.01)

        given = tuneflow.submit(
            train,
            space={"x": tuneflow.space.uniform(1, 2)},
            metric="loss",
            mode="min",
            name="python",
            storage=storage,
            address=shared,
            searcher="random",
            trials=2,
            isolation="process",
        )
        assert given.cancel().drivers == 1
        assert tuneflow.load(given.url).history.halted == "interrupted"
        gate.touch()


class TestConnecting:
    def test_what_the_scheduler_says_to_all_in_that_moment_does_no_harm(self, tmp_path):
        class Talkative(SchedulerPlugin):
            name = "talkative"
            greeted = 0

            def add_client(self, scheduler, client):
                self.greeted += 1
                if self.greeted == 1:
                    said = {"op": "cancelled-keys", "keys": [], "reason": "", "msg": ""}
                    scheduler.loop.asyncio_loop.call_soon(scheduler.report, said)

        with scheduler(tmp_path) as (address, _), Client(address, set_as_default=False) as client:
            client.register_plugin(plugin := Talkative())
            began = time.monotonic()
            with Cluster(ClusterAddress(address), None) as connection:
                assert connection.states(["any"]) == {}
            assert time.monotonic() - began < 5
            greeted = client.run_on_scheduler(
                lambda dask_scheduler: dask_scheduler.plugins["talkative"].greeted
            )
        assert (plugin.greeted, greeted) == (0, 2)


class TestElastic:
    def test_a_cluster_without_a_worker_is_given_the_study_where_it_grows(self, folder):
        options = ("--set", "executor={type: dask, parallel: 2}")
        with scheduler(folder) as (address, _), attached(folder, address, *options) as started:
            until(lambda: objects(url_of(folder), "study.json"))
            with worker(address, "--local-directory", folder):
                finish(started)
        assert_whole(url_of(folder))

    def test_a_driver_that_waits_for_a_worker_can_be_cancelled(self, folder):
        file = load_study_file(folder / "study.yaml")
        with scheduler(folder) as (address, _):
            where = ClusterAddress(address)
            given = remote.submit(
                file.study,
                storage_of(folder),
                Code.of(file.study.objective, folder),
                where,
                place=LastPlace(str(folder)),
                how=remote.How(settings={"parallel": 1}),
                patience=0.1,
            )
            assert given.state == "waiting"
            with Cluster(where, None) as connection:
                assert driver_of(connection, given.url) == ""
            assert given.cancel().drivers == 1
            with Cluster(where, None) as connection:
                assert driver_of(connection, given.url) is None
        assert entries(url_of(folder)) == {}
