"""Trials that remain get more, on workers that are processes and declare GPUs that are not there.

Objectives are defined inside functions, so that they travel to the workers by value.
"""

from __future__ import annotations

import os
from itertools import accumulate
from pathlib import Path

import pytest
from distributed import Client

import tuneflow
from tests.clusters import await_workers, scheduler, worker
from tuneflow.errors import ClusterError
from tuneflow.events import Launched
from tuneflow.executors.dask import DaskExecutor
from tuneflow.executors.placement import Request
from tuneflow.objective import PythonObjective
from tuneflow.opened import OpenStudy
from tuneflow.outcomes import stored_outcomes
from tuneflow.prefect.runner import demands_on
from tuneflow.remote.cluster import Cluster, ClusterAddress
from tuneflow.remote.code import Code
from tuneflow.remote.orders import SegmentOrder
from tuneflow.rounds import open_round
from tuneflow.schedulers import ASHA, FIFO, ResourceChanging, SuccessiveHalving
from tuneflow.spec import study_from_json
from tuneflow.store import Store
from tuneflow.trial import Segment
from tuneflow.worker import Job

pytestmark = pytest.mark.integration

HALVING = SuccessiveHalving(max_resource=4, reduction_factor=2)
"""Rungs at 1, 2 and 4."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The address of a cluster with one worker of four GPUs and one of two."""
    with scheduler(tmp_path_factory.mktemp("cluster")) as (address, _):
        large = {**os.environ, "CUDA_VISIBLE_DEVICES": "0,1,2,3"}
        small = {**os.environ, "CUDA_VISIBLE_DEVICES": "4,5"}
        with (
            worker(address, "--nthreads", "4", "--resources", "GPU=4", env=large),
            worker(address, "--nthreads", "2", "--resources", "GPU=2", env=small),
        ):
            await_workers(address, 2)
            yield address


def training():
    """Return an objective that reports what it occupies and how many devices it sees."""

    def train(config):
        import os

        import tuneflow

        folder = tuneflow.checkpoint()
        begin = int((folder / "level").read_text()) if folder else 0
        for level in range(begin + 1, 5):
            tuneflow.report(
                loss=config["x"] / level,
                gpus=tuneflow.current_trial().resources["gpu"],
                visible=len(os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")),
                checkpoint=lambda into, level=level: (into / "level").write_text(str(level)),
            )

    return train


def tune(storage, cluster, scheduler, train=None, resources=None, **more):
    return tuneflow.tune(
        train or training(),
        space={"x": tuneflow.space.uniform(0, 1)},
        metric="loss",
        mode="min",
        searcher="random",
        scheduler=scheduler,
        resources={"gpu": 1} if resources is None else resources,
        storage=storage,
        name="study",
        progress=False,
        executor=DaskExecutor(cluster, isolation="process"),
        **more,
    )


def by_level(history, name):
    """Return what was reported under a name at each level."""
    found = {}
    for trial in history.trials:
        for report in trial.reports:
            found.setdefault(report.resource, set()).add(report.metrics[name])
    return found


class TestSharing:
    def test_those_that_a_rung_lets_through_see_more_devices(self, storage, cluster):
        rule = ResourceChanging(HALVING, total={"gpu": 4})
        result = tune(storage, cluster, rule, trials=4)
        assert result.state == "finished"
        assert not result.failed
        assert by_level(result.history, "gpus") == {1: {1}, 2: {2}, 3: {4}, 4: {4}}
        assert by_level(result.history, "visible") == {1: {1}, 2: {2}, 3: {4}, 4: {4}}

    def test_it_is_so_after_a_resume_too(self, storage, cluster):
        def interrupt(history, facts):
            if any(trial.resources for trial in history.running.values()):
                raise RuntimeError("the driver dies")

        rule, train = ResourceChanging(HALVING, total={"gpu": 4}), training()
        with pytest.raises(RuntimeError, match="the driver dies"):
            tune(storage, cluster, rule, train, trials=4, observers=[interrupt])
        left = OpenStudy.open(f"{storage}/study").history
        assert [trial.resources for trial in left.running.values()] == [{"gpu": 2}, {"gpu": 2}]
        executor = DaskExecutor(cluster, isolation="process")
        result = tuneflow.resume(f"{storage}/study", train, executor=executor, progress=False)
        assert result.state == "finished"
        assert by_level(result.history, "gpus") == {1: {1}, 2: {2}, 3: {4}, 4: {4}}
        assert by_level(result.history, "visible") == {1: {1}, 2: {2}, 3: {4}, 4: {4}}

    def test_cores_are_never_promised_twice(self, storage, cluster):
        rule = ResourceChanging(FIFO(max_resource=4), total={"cpu": 6}, most={"cpu": 4}, interval=1)
        result = tune(storage, cluster, rule, resources={}, trials=8)
        assert result.state == "finished"
        launches = [fact for fact in result.history.facts if isinstance(fact, Launched)]
        outcomes = stored_outcomes(Store(result.url), [(f.trial, f.segment) for f in launches])
        changes = []
        for fact, outcome in zip(launches, outcomes, strict=True):
            cores = (fact.resources or {"cpu": 1})["cpu"]
            changes += [(outcome.started, cores), (outcome.ended, -cores)]
        held = list(accumulate(change for _, change in sorted(changes)))
        assert max(held) <= 6
        assert max(change for _, change in changes) > 1


class TestWhatNoWorkerHas:
    def test_it_is_said_before_any_trial_runs(self, storage, cluster):
        rule = ResourceChanging(ASHA(max_resource=4), total={"gpu": 8})
        with pytest.raises(ClusterError) as caught:
            tune(storage, cluster, rule, trials=4)
        assert "no worker can give the trials that remain 1 thread, 8 GPU" in str(caught.value)
        assert "has 4 threads, 4 GPU" in str(caught.value)
        assert not OpenStudy.open(f"{storage}/study").history.trials

    def test_a_task_runner_asks_for_what_one_segment_occupies(self, cluster):
        with Client(cluster, set_as_default=False) as client:
            assert demands_on(client, Request(gpu=3), "trial 1") == {"GPU": 3}
            with pytest.raises(ClusterError, match="no worker can give trial 1 1 thread, 5 GPU"):
                demands_on(client, Request(gpu=5), "trial 1")

    def test_a_segment_is_named(self, storage, cluster):
        job = Job(storage=f"{storage}/study", metric="loss")
        with DaskExecutor(cluster) as executor:
            executor.open(job, PythonObjective(training()))
            with pytest.raises(ClusterError, match="no worker can give trial 3 1 thread, 5 GPU"):
                executor.submit(Segment(3, 0, {"x": 0.5}, resources={"gpu": 5}))


class TestSlots:
    def test_they_are_what_runs_and_what_fits_beside_it(self, storage, cluster):
        job = Job(storage=f"{storage}/study", metric="loss", resources={"gpu": 1})
        with DaskExecutor(cluster) as executor:
            executor.open(job, PythonObjective(training()))
            assert executor.slots == 6
            executor.submit(Segment(0, 0, {"x": 0.5}, until=1, resources={"gpu": 4}))
            executor.wait(0)
            # It has the four of one worker; the two of the other one are left.
            assert executor.slots == 3
            # What waits for room keeps it from others.
            executor.submit(Segment(1, 0, {"x": 0.5}, until=1, resources={"gpu": 3}))
            executor.submit(Segment(2, 0, {"x": 0.5}, until=1))
            assert executor.slots == 3
            ended = []
            while len(ended) < 3:
                ended += [m.outcome for m in executor.wait(20) if hasattr(m, "outcome")]
            assert {outcome.status for outcome in ended} == {"paused"}
            # What takes less does not overtake what waits.
            assert ended[0].trial == 0
            assert executor.slots >= 6


class TestOrders:
    @pytest.fixture
    def opened(self, storage):
        """A study in rounds of which the first is over: its second one is of larger trials."""
        spec = {
            "name": "study",
            "objective": {"callable": "train"},
            "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}},
            "metric": "loss",
            "mode": "min",
            "searcher": "random",
            "scheduler": {
                "type": "resource_changing",
                "base": HALVING.to_json(),
                "total": {"gpu": 4},
            },
            "trials": 4,
            "round_size": "all",
            "resources": {"gpu": 1},
        }
        return OpenStudy.create(study_from_json(spec), storage)

    def test_each_is_placed_by_what_its_segment_occupies(self, opened, cluster):
        code = Code.of(training(), Path())
        with Cluster(ClusterAddress(cluster), Request(gpu=1)) as connection:
            for number in range(3):
                current = open_round(opened, number)
                orders = [
                    SegmentOrder(
                        opened.url, *one.key, code, isolation="process", resources=one.resources
                    )
                    for one in current.segments
                ]
                for future in [connection.submit(order) for order in orders]:
                    connection.result(future)
            open_round(opened, 3)
        assert by_level(opened.history, "visible") == {1: {1}, 2: {2}, 3: {4}, 4: {4}}

    def test_one_that_no_worker_has_is_an_error_that_names_it(self, opened, cluster):
        code = Code.of(training(), Path())
        with Cluster(ClusterAddress(cluster), Request(gpu=1)) as connection:
            order = SegmentOrder(opened.url, 2, 0, code, resources={"gpu": 6})
            with pytest.raises(ClusterError, match="no worker can give trial 2 1 thread, 6 GPU"):
                connection.submit(order)
