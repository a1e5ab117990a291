"""Retunes as Prefect flows, on a server that runs beside them."""

from __future__ import annotations

import os
import signal
from collections import Counter
from contextlib import contextmanager, suppress

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.events import emit_event
from prefect.exceptions import ObjectNotFound

import tuneflow
from tests.airflow_system import ROOT
from tests.clusters import cluster, process, until
from tests.end_to_end import hold, let_go, notes
from tests.prefect_retunes import LINE, NEW_DATA, RETUNE, Data, chooses
from tests.prefect_server import flow_runs, task_runs
from tuneflow.errors import SpecError, StudyConflictError
from tuneflow.prefect import report_drift, retune_flow
from tuneflow.prefect.failures import RoundFailedError
from tuneflow.prefect.retune_events import PROMOTED
from tuneflow.retune.line import Line
from tuneflow.retune.plan import make_plan
from tuneflow.retune.stages import begin
from tuneflow.space import Categorical, Float

pytestmark = pytest.mark.integration

FLOW = f"retune-{LINE}"


@pytest.fixture
def data(tmp_path, storage):
    folder = tmp_path / "data"
    folder.mkdir()
    return Data(folder, storage)


def retuning(data, train=None, **settings):
    """Return the flow of a retune."""
    more = {**RETUNE, "storage": data.storage, **settings}
    return retune_flow(train or chooses(data.folder), **more)


def log(storage):
    """Return the types of the records of the line."""
    return [record.type for record in Line.open(f"{storage}/{LINE}").log.records]


def champion(storage):
    return Line.open(f"{storage}/{LINE}").log.champion


def newest():
    """Return the newest run of the flow."""
    return flow_runs(FLOW)[-1]


def events(storage, name):
    """Return the payloads of the events of a line."""
    chosen = {"event": {"name": [name]}, "resource": {"id": [f"{storage}/{LINE}"]}}
    with get_client(sync_client=True) as client:
        answer = client.request("POST", "/events/filter", json={"filter": chosen})
    return [one["payload"] for one in answer.json()["events"]]


def page(flow_run_id):
    """Return the Markdown in which a flow run says what has become of its retune."""
    chosen = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]))
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=chosen)
    (said,) = [one.data for one in found if (one.key or "").endswith("-champion")]
    return said


@pytest.mark.usefixtures("no_prefect_api")
class TestRetunes:
    def test_a_champion_is_found_is_kept_and_is_replaced_as_the_data_say(self, storage, data):
        retune = retuning(data)
        data.come("b")
        first = retune()
        assert (first["promoted"], first["retune"]) == (True, 1)
        assert first["champion"]["config"]["option"] == "b"
        assert first["line"] == f"{storage}/{LINE}"
        until(lambda: events(storage, PROMOTED) == [first])

        second = retune()
        assert not second["promoted"]
        assert second["champion"]["config"]["option"] == "b"
        assert "own configuration" in second["reason"]

        data.come("c")
        third = retune()
        assert (third["promoted"], third["champion"]["config"]["option"]) == (True, "c")
        assert "paired t-test, 3 seeds" in third["reason"]
        assert log(storage) == ["began", "promoted", "began", "kept", "began", "promoted"]
        until(lambda: len(events(storage, PROMOTED)) == 2)
        said = page(newest().id)
        assert "There is a new champion" in said
        assert all(str(seed) in said for seed in third["champion"]["seeds"])

    def test_names_of_tasks_say_which_step_and_which_study_they_are_of(self, storage, data):
        retune = retuning(data)
        data.come("a")
        retune()
        data.come("b")
        retune()
        # The search tries the champion as well.
        trials = {"champion": 3, "search": 4, "challenger": 3}
        names = task_runs(newest().id, count=4 + 3 * 2 + 10)
        steps = {"begin", "prepare search", "prepare challenger", "judge"}
        assert steps <= names.keys()
        studies = names.keys() - steps
        for phase, count in trials.items():
            mine = {one for one in studies if one.startswith(f"{phase}: ")}
            assert {f"{phase}: search round 0", f"{phase}: schedule round 0"} <= mine
            assert sum(one.startswith(f"{phase}: trial ") for one in mine) == count
            studies -= mine
        assert not studies

    def test_a_study_that_was_tuned_before_gives_the_first_champion(self, storage, data):
        data.come("a")
        space = {"option": Categorical(("a", "b", "c")), "seed": 0, "day": "then"}
        options = {"metric": "loss", "mode": "min", "searcher": "grid", "progress": False}
        tuneflow.tune(chooses(data.folder), space=space, name=LINE, storage=storage, **options)
        data.come("c")
        assert retuning(data)()["champion"]["config"]["option"] == "c"
        first = Line.open(f"{storage}/{LINE}").log.records[0].champion
        assert (first.config["option"], first.retune) == ("a", 0)

    def test_the_version_of_the_data_is_in_the_configuration_and_in_the_records(
        self, storage, data
    ):
        data.come("a")
        said = retuning(data)(data_version="v7", trigger="by hand")["champion"]
        assert (said["config"]["day"], said["data_version"]) == ("v7", "v7")
        began = Line.open(f"{storage}/{LINE}").log.records[0].data
        assert (began["trigger"], began["run"]) == ("by hand", str(newest().id))

    def test_parameters_change_the_search_of_a_run(self, storage, data):
        data.come("a")
        space = {"option": {"type": "categorical", "choices": ["b", "c"]}}
        retune = retuning(data, searcher="random", trials=9)
        retune(trials=2, space=space, budget={"total_resource": 50})
        search = tuneflow.load(f"{storage}/{LINE}/retunes/000001/search")
        assert len(search.trials) == 2
        assert search.study.budget.total_resource == 50
        assert champion(storage).config["option"] in ("b", "c")


@pytest.mark.usefixtures("no_prefect_api")
class TestGoingOn:
    def test_a_run_that_is_repeated_after_its_verdict_trains_nothing(self, storage, data):
        data.come("a")
        retune = retuning(data)
        first, trained = retune(run="monday"), data.trained
        assert retune(run="monday") == first
        assert data.trained == trained
        assert log(storage) == ["began", "promoted"]

    def test_a_retune_that_failed_leaves_the_champion_and_is_gone_on_with(self, storage, data):
        told = []
        retune = retuning(data, on_failure=[lambda flow, run, state: told.append(state.message)])
        data.come("a")
        retune(run="first", data_version="v1")
        data.come("nothing")
        with pytest.raises(RoundFailedError, match="there are no data"):
            retune(run="second", data_version="v2")
        assert log(storage) == ["began", "promoted", "began", "failed"]
        assert champion(storage).config["option"] == "a"
        (message,) = told
        assert "all 3 trials of this round failed" in message
        assert "The retune has failed" in page(newest().id)

        data.come("a")
        assert not retune(run="second")["promoted"]
        assert log(storage)[-2:] == ["failed", "kept"]
        assert champion(storage).data_version == "v2", "the run is about the data it began with"

    def test_the_next_run_is_not_held_up_by_one_that_failed(self, storage, data):
        retune = retuning(data)
        data.come("nothing")
        with pytest.raises(RoundFailedError):
            retune()
        data.come("b")
        assert retune()["promoted"]
        assert log(storage) == ["began", "failed", "began", "promoted"]

    def test_a_flow_that_is_retried_goes_on_with_its_retune(self, storage, data):
        data.come("nothing")
        train = chooses(data.folder)

        def recovers(config):
            if len(notes(data.folder)) >= 3:
                data.come("a")
            return train(config)

        assert retuning(data, recovers, retries=1)()["promoted"]
        assert log(storage) == ["began", "failed", "promoted"]

    def test_a_champion_that_fails_with_every_seed_gives_way_where_that_is_wanted(
        self, storage, data
    ):
        data.come("a")
        retuning(data)()
        data.come("b")
        train = chooses(data.folder)

        def breaks(config):
            if config["option"] == "a":
                raise RuntimeError("no such option any more")
            return train(config)

        with pytest.raises(RoundFailedError, match="no such option"):
            retuning(data, breaks)()
        said = retuning(data, breaks, replace_unmeasured=True)()
        assert (said["promoted"], said["champion"]["config"]["option"]) == (True, "b")

    def test_a_newer_retune_overtakes_a_run_which_then_leaves_the_champion(self, storage, data):
        data.come("a")
        retuning(data)()
        train, line = chooses(data.folder), f"{storage}/{LINE}"

        def overtaken(config):
            if config["option"] == "c" and len(log(storage)) == 3:
                spec = {**SPEC, "space": {"option": Categorical(("a", "b")).to_json()}}
                begin(line, make_plan(spec, {"seeds": 3}), run="newer")
            return train(config)

        data.come("c")
        with pytest.raises(StudyConflictError, match=r"overtaken by retune 3 \(run newer\)"):
            retuning(data, overtaken)()
        assert log(storage) == ["began", "promoted", "began", "began"]
        assert champion(storage).config["option"] == "a"


SPEC = {
    "objective": {"callable": "train"},
    "metric": "loss",
    "mode": "min",
    "searcher": "grid",
    "scheduler": None,
    "budget": None,
}


@pytest.mark.usefixtures("no_prefect_api")
class TestBadInput:
    """All of it is said in one sentence, before a trial has run."""

    def refused(self, data, **settings):
        trained = data.trained
        with pytest.raises(SpecError) as error:
            retuning(data, **settings)()
        assert data.trained == trained
        assert str(error.value) in newest().state.message
        return str(error.value)

    @pytest.fixture(autouse=True)
    def _known(self, data):
        data.come("a")
        retuning(data)()

    def test_a_history_of_another_metric(self, data):
        assert "loss" in self.refused(data, metric="accuracy")

    def test_a_history_of_another_mode(self, data):
        assert "min" in self.refused(data, mode="max")

    def test_a_space_that_shares_no_parameter(self, data, storage):
        said = self.refused(data, space={"rate": Float(0, 1)}, searcher="random", trials=3)
        assert "share" in said
        assert log(storage) == ["began", "promoted"]


@contextmanager
def elsewhere(data, *arguments):
    """A process that runs the flow or serves it."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "TESTED_FOLDER": str(data.folder),
        "TESTED_STORAGE": data.storage,
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
    }
    command = (ROOT / "tests" / "prefect_retunes.py", *arguments)
    with (
        (data.folder / "flow.log").open("w") as said,
        process(*command, env=environment, stdout=said, stderr=said) as started,
    ):
        yield started


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_after_kill_9_the_same_run_goes_on_and_trains_nothing_twice(storage, data):
    data.come("a")
    with elsewhere(data, "first") as flow:
        assert flow.wait(60) == 0
    before = len(notes(data.folder))
    data.come("b")
    # That is 3 seeds of the champion, the 4 trials of the search, and one of the challenger.
    hold(data.folder, before + 8)
    with elsewhere(data, "second") as flow:
        until(lambda: len(notes(data.folder)) >= before + 8 or flow.poll() is not None, 60)
        assert flow.poll() is None, (data.folder / "flow.log").read_text()
        os.kill(flow.pid, signal.SIGKILL)
        flow.wait()
    let_go(data.folder)
    # The search has trained one twice, as it tries the champion and then all options.
    finished = Counter(tuple(trial) for trial in notes(data.folder)[before : before + 7])
    assert log(storage) == ["began", "promoted", "began"]
    with elsewhere(data, "second") as flow:
        assert flow.wait(60) == 0
    assert log(storage) == ["began", "promoted", "began", "promoted"]
    assert champion(storage).config["option"] == "b"
    assert {trial: data.trained[trial] for trial in finished} == finished


def is_served():
    with get_client(sync_client=True) as client:
        return [one for one in client.read_deployments() if one.name == "retuned"]


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_a_metric_that_has_drifted_and_new_data_begin_a_retune(storage, data):
    data.come("a")
    metrics = data.folder / "metrics.jsonl"
    metrics.write_text('{"accuracy": 0.95}\n{"accuracy": 0.85}\n')
    look = {"metric": "accuracy", "below": 0.9, "storage": storage, "name": LINE}
    with elsewhere(data, "serve") as served:
        until(lambda: is_served() or served.poll() is not None, 60, 0.2)
        assert served.poll() is None, (data.folder / "flow.log").read_text()
        assert report_drift(metrics, **look)
        until(lambda: log(storage) == ["began", "promoted"], 60, 0.2)
        # The new champion has not had its day yet.
        assert report_drift(metrics, **look)
        emit_event(NEW_DATA, resource={"prefect.resource.id": "tests.data"})
        until(lambda: len(log(storage)) == 4, 60, 0.2)
    records = Line.open(f"{storage}/{LINE}").log.records
    assert [one.data["trigger"] for one in records if one.type == "began"] == ["drift", "event"]


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_trials_of_all_three_studies_run_on_a_dask_cluster(storage, data):
    with cluster(workers=2) as address:
        retune = retuning(data, task_runner=address)
        data.come("a")
        retune()
        data.come("b")
        assert retune()["champion"]["config"]["option"] == "b"
    processes = {int(pid) for (pid,) in notes(data.folder, "processes")}
    assert processes
    assert os.getpid() not in processes


EXAMPLES = {
    "retune-scanned-digits/weekly": ("0 2 * * 1", "tuneflow.metric.drifted"),
    "check-drift/hourly": ("0 * * * *", None),
    "deploy-champion/on-promotion": (None, PROMOTED),
}
"""The schedule of each deployment of the example, and the event that begins it."""


def examples():
    """Return the deployments of the example that there are, as above."""
    found = {}
    with get_client(sync_client=True) as client:
        for name in EXAMPLES:
            with suppress(ObjectNotFound):
                deployment = client.read_deployment_by_name(name)
                crons = [one.schedule.cron for one in deployment.schedules]
                made = client.request(
                    "GET", f"/automations/related-to/prefect.deployment.{deployment.id}"
                )
                expected = [event for one in made.json() for event in one["trigger"]["expect"]]
                found[name] = (*(crons or [None]), *(expected or [None]))
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_the_example_is_served_with_its_schedules_and_its_events(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TUNEFLOW_STORAGE": str(tmp_path)}
    script, log = ROOT / "flows" / "retune.py", tmp_path / "served.log"
    with (
        log.open("w") as said,
        process(script, "--serve", env=environment, stdout=said, stderr=said) as served,
    ):
        until(lambda: examples() == EXAMPLES or served.poll() is not None, 60, 0.2)
        assert served.poll() is None, log.read_text()
