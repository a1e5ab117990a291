"""A storage that ignores the condition of create-only writes: nothing goes on there."""

from __future__ import annotations

import shutil
import uuid

import pytest

import tuneflow
from tests.airflow_operators import Stages
from tests.clusters import cluster as dask_cluster
from tests.command import error_of
from tests.command import tuneflow as command
from tests.meddling import Meddling
from tests.servers import ignoring_server
from tuneflow.airflow.versions import AirflowException
from tuneflow.errors import StorageError
from tuneflow.opened import OpenStudy
from tuneflow.retune.local import retune
from tuneflow.rounds import open_round
from tuneflow.store import Store

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("impatient")]

STUDY = {
    "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}},
    "metric": "loss",
    "mode": "min",
    "trials": 3,
    "searcher": "random",
}
UNSAFE = "is unsafe for commits: it ignores create-only writes"


@pytest.fixture(scope="module")
def ignoring():
    """A real server that answers such writes as if all were well."""
    if shutil.which("npm") is None:
        pytest.skip("npm is missing (apt-get install nodejs npm), and that server comes from it")
    with ignoring_server() as server, pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION"):
            patch.delenv(name, raising=False)
        for name, value in server.env.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture
def url(ignoring):
    """A place there; nothing is left of what was tried."""
    made = ignoring.new_url()
    yield made
    assert Store(made).list() == []


def train(config):
    return config["x"]


class TestRealServer:
    def test_is_one_that_two_drivers_could_both_commit_to(self, ignoring):
        store = Store(ignoring.new_url())
        store.create("journal/1", b"mine")
        store.create("journal/1", b"theirs")
        assert store.get("journal/1") == b"theirs"
        store.delete(["journal/1"])

    def test_is_refused_by_tune(self, url):
        with pytest.raises(StorageError, match=UNSAFE):
            tuneflow.tune(train, storage=url, progress=False, **STUDY)

    def test_is_refused_by_ask_and_tell(self, url):
        with pytest.raises(StorageError, match=UNSAFE):
            tuneflow.create_study(storage=url, name="asked", **STUDY)

    def test_is_refused_by_retune(self, url):
        settings = {key: value for key, value in STUDY.items() if key != "searcher"}
        with pytest.raises(StorageError, match=UNSAFE):
            retune(train, storage=url, name="line", seeds=3, progress=False, **settings)

    def test_is_refused_by_submit(self, url):
        with dask_cluster(1) as address, pytest.raises(StorageError, match=UNSAFE):
            tuneflow.submit(train, storage=url, name="sent", address=address, **STUDY)

    def test_is_refused_by_the_command(self, url, tmp_path):
        (tmp_path / "train.py").write_text("def train(config):\n    return config['x']\n")
        (tmp_path / "study.yaml").write_text(
            "name: run\nobjective: train.py:train\nmetric: loss\nmode: min\ntrials: 3\n"
            "space: {x: {type: float, low: 0.0, high: 1.0}}\n"
        )
        done = command("run", "study.yaml", "--storage", url, cwd=tmp_path)
        assert UNSAFE in error_of(done)
        assert done.returncode == StorageError.exit_code

    def test_is_refused_by_the_tasks_of_airflow(self, url):
        stages = Stages(storage=url)
        with pytest.raises(AirflowException, match=UNSAFE):
            stages.execute(stages.search())


class TestLostLater:
    """A study that was begun where the condition counted, and is gone on with where not."""

    @pytest.fixture
    def begun(self, meddling, s3_url):
        study = tuneflow.create_study(storage=s3_url, name=f"s{uuid.uuid4().hex}", **STUDY)
        study.tell(study.ask(), 0.5)
        meddling.strip_condition = True
        return study.url

    def test_is_refused_by_ask_and_tell(self, begun, s3_url):
        with pytest.raises(StorageError, match=UNSAFE):
            tuneflow.create_study(storage=s3_url, name=begun.rpartition("/")[2], **STUDY)

    def test_is_refused_by_resume(self, meddling, s3_url):
        def interrupt(history, facts):
            raise KeyboardInterrupt

        settings = {"storage": s3_url, "name": "run", "progress": False, **STUDY}
        with pytest.raises(KeyboardInterrupt):
            tuneflow.tune(train, observers=[interrupt], **settings)
        meddling.strip_condition = True
        with pytest.raises(StorageError, match=UNSAFE):
            tuneflow.resume(f"{s3_url}/run", train, progress=False)

    def test_is_refused_by_the_next_round(self, meddling, s3_url):
        Stages(storage=s3_url).begin()
        meddling.strip_condition = True
        opened = OpenStudy.open(f"{s3_url}/study")
        with pytest.raises(StorageError, match=UNSAFE):
            open_round(opened, opened.rounds)

    def test_can_still_be_looked_at(self, begun):
        assert len(tuneflow.load(begun).trials) == 1


def test_a_server_that_does_not_know_the_condition_is_refused_too(meddling: Meddling, s3_url):
    meddling.puts_answered_by = (501, "<Error><Code>NotImplemented</Code></Error>")
    with pytest.raises(StorageError, match="it does not support create-only writes"):
        tuneflow.tune(train, storage=s3_url, progress=False, **STUDY)
    assert meddling.count("PUT") == 1
