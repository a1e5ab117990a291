"""Writes that the storage has done, and whose answers never arrive."""

from __future__ import annotations

import threading

import pytest

import tuneflow
from tests import trainer
from tests.end_to_end import reported, steps
from tests.meddling import Fault
from tuneflow.events import Closed, Opened

pytestmark = pytest.mark.integration

ASHA = {"type": "asha", "max_resource": 4, "reduction_factor": 2}
STUDIES = {
    "streaming": {"scheduler": ASHA, "trials": 5},
    "rounds": {"scheduler": ASHA, "trials": 5, "round_size": 2},
}
WRITES = {
    "commits": "/journal/",
    "outcomes": "/segments/",
    "manifests": "/checkpoints/",
    "all": "/study/",
}


@pytest.fixture
def expected(study, tmp_path):
    """Returns what a kind of study comes to when no answer is lost."""

    def run(kind):
        result = study(tmp_path / "expected", STUDIES[kind])
        (study.folder / "steps").unlink()
        return result

    return run


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Runs a study whose steps are noted in this test's folder."""
    folder = tmp_path / "steps"
    folder.mkdir()
    monkeypatch.setattr(trainer, "HERE", folder)

    def run(storage, spec, executor="inline"):
        return tuneflow.tune(
            "tests.trainer:train",
            space={"rate": {"type": "float", "low": 0.1, "high": 0.9}},
            metric="loss",
            mode="min",
            name="study",
            storage=storage,
            executor=executor,
            progress=False,
            **spec,
        )

    run.folder = folder
    return run


@pytest.fixture
def lossy(meddling, s3_url):
    """Has the first answer to each write of a kind lost; call it for the storage's URL."""

    def lose(write):
        meddling.choose = losing_once(WRITES[write])
        return s3_url

    yield lose
    assert meddling.met


def losing_once(pattern):
    """Return what loses the first answer to each write to a key of a kind."""
    lost, lock = set(), threading.Lock()

    def choose(request):
        with lock:
            if not request.startswith("PUT") or pattern not in request or request in lost:
                return None
            lost.add(request)
            return Fault(reset="after")

    return choose


def facts(result):
    return [fact for fact in result.history.facts if not isinstance(fact, Opened)]


def closed(result):
    return [fact for fact in result.history.facts if isinstance(fact, Closed)]


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("kind", STUDIES)
def test_a_write_whose_answer_is_lost_counts_once(kind, write, study, lossy, expected):
    result = study(lossy(write), STUDIES[kind])
    assert set(reported(result).values()) == {1}
    assert len(steps(study.folder)) == len({step[:2] for step in steps(study.folder)})
    assert facts(result) == facts(expected(kind))


def test_nor_does_one_of_a_worker_make_a_segment_run_twice(study, lossy):
    result = study(lossy("all"), STUDIES["streaming"], "dask")
    assert {fact.status for fact in closed(result)} == {"paused"}
    assert set(reported(result).values()) == {1}
    assert result.state == "finished"
    assert len(result.trials) == 5
