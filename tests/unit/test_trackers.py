"""Trackers: what they are told, what their errors do, the JSON lines, and those of others."""

from __future__ import annotations

import importlib
import json
import logging
import re
from pathlib import Path

import pytest

import tuneflow
from tuneflow.cli import main
from tuneflow.errors import MissingDependencyError, SpecError, TrialsFailedError
from tuneflow.executors import InlineExecutor
from tuneflow.last_place import LastPlace
from tuneflow.opened import OpenStudy
from tuneflow.plugins import load
from tuneflow.store import Store
from tuneflow.trackers import JsonLines, Tracker


def train(config):
    for level in range(1, 5):
        yield {"loss": config["x"] / level, "gap": float("nan")}


def tune(storage, **changes):
    defaults = {
        "space": {"x": tuneflow.space.uniform(0, 1), "opt": {"nesterov": True}},
        "metric": "loss",
        "mode": "min",
        "name": "tracked",
        "searcher": "random",
        "scheduler": {"type": "asha", "max_resource": 4, "reduction_factor": 2},
        "trials": 6,
        "progress": False,
    }
    objective = changes.pop("train", train)
    return tuneflow.tune(objective, storage=storage, **{**defaults, **changes})


class Witness(Tracker):
    """Notes what it is told, and fails where it is asked to."""

    type = "witness"

    def __init__(self, failing="", error=None):
        self.calls = []
        self.facts = []
        self.before = None
        self.failing = failing
        self.error = error or ConnectionError("nobody answers")

    def open(self, study, url, history):
        self.before = list(history.facts)
        self._note("open")

    def __call__(self, history, facts):
        assert history.facts[-len(facts) :] == list(facts)
        self.facts += facts
        self._note("call")

    def close(self):
        self._note("close")

    def _note(self, what):
        self.calls.append(what)
        if what == self.failing:
            raise self.error


class Breaking(InlineExecutor):
    """Breaks down after so many waits, as an executor without a cluster does."""

    def __init__(self, waits):
        super().__init__()
        self.waits = waits

    def wait(self, timeout):
        self.waits -= 1
        if self.waits < 0:
            raise ConnectionError("the cluster is gone")
        return super().wait(timeout)


class Counting(InlineExecutor):
    """Counts how often it is opened."""

    opened = 0

    def open(self, job, objective):
        self.opened += 1
        super().open(job, objective)


def lines(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


class TestWhatATrackerIsTold:
    @pytest.mark.parametrize("round_size", [None, "all"])
    def test_every_fact_once_and_in_order(self, tmp_path, round_size):
        witness = Witness()
        result = tune(tmp_path, trackers=[witness], round_size=round_size)
        assert witness.before == []
        assert witness.facts == result.history.facts
        assert witness.calls == ["open", *["call"] * (len(witness.calls) - 2), "close"]

    @pytest.mark.parametrize("round_size", [None, 2])
    def test_a_resume_opens_it_with_the_past_and_tells_it_the_rest(self, tmp_path, round_size):
        with pytest.raises(ConnectionError):
            tune(tmp_path, executor=Breaking(7), round_size=round_size)
        witness = Witness()
        result = tuneflow.resume(
            tmp_path / "tracked", train, trackers=[witness], executor="inline", progress=False
        )
        assert witness.before
        assert witness.facts
        assert witness.before + witness.facts == result.history.facts

    def test_it_is_closed_when_the_driver_breaks_down(self, tmp_path):
        witness = Witness()
        with pytest.raises(ConnectionError):
            tune(tmp_path, trackers=[witness], executor=Breaking(3))
        assert witness.calls[-1] == "close"

    def test_a_study_that_is_finished_opens_none(self, tmp_path):
        tune(tmp_path)
        witness = Witness()
        tune(tmp_path, trackers=[witness])
        assert witness.calls == []


class TestErrors:
    @pytest.mark.parametrize("failing", ["open", "call", "close"])
    def test_one_is_logged_once_and_the_study_goes_on(self, tmp_path, caplog, failing):
        witness, other = Witness(failing), Witness()
        with caplog.at_level(logging.WARNING, logger="tuneflow"):
            result = tune(tmp_path, trackers=[witness, other])
        assert result.state == "finished"
        assert other.facts == result.history.facts
        assert [record.message for record in caplog.records] == [
            "the tracker 'witness' is dropped, the study goes on: ConnectionError: nobody answers"
        ]

    @pytest.mark.parametrize("failing", ["open", "call"])
    def test_a_tracker_that_is_dropped_is_told_nothing_more_and_is_closed(self, tmp_path, failing):
        witness = Witness(failing)
        tune(tmp_path, trackers=[witness])
        assert witness.calls == (
            ["open", "close"] if failing == "open" else ["open", "call", "close"]
        )

    @pytest.mark.parametrize(
        "error", [SpecError("tracker.run", "'x'"), MissingDependencyError("x")]
    )
    def test_what_the_user_must_mend_is_raised_before_anything_runs(self, tmp_path, error):
        executor, first = Counting(), Witness()
        with pytest.raises(type(error)):
            tune(tmp_path, trackers=[first, Witness("open", error)], executor=executor)
        assert executor.opened == 0
        assert first.calls == ["open", "close"]

    @pytest.mark.parametrize(
        ("trackers", "message"),
        [
            ("jsonl", "trackers: 'jsonl' is no list"),
            ([3], "trackers[0]: 3 is no tracker; write"),
            (["jsonll"], "tracker.type: there is no tracker 'jsonll'; did you mean 'jsonl'?"),
            (["jsonl"], "tracker.path: is needed and missing"),
            ([{"type": "jsonl", "pth": "x"}], "tracker.pth: unknown key; did you mean 'path'?"),
        ],
    )
    def test_what_is_no_tracker_is_said_before_the_study_exists(self, tmp_path, trackers, message):
        with pytest.raises(SpecError, match=re.escape(message)):
            tune(tmp_path, trackers=trackers)
        assert list(tmp_path.iterdir()) == []


class TestJsonLines:
    def test_each_trial_begins_reports_and_ends(self, tmp_path):
        path = tmp_path / "deep" / "log.jsonl"
        result = tune(tmp_path, trackers=[JsonLines(path)])
        for trial in result.trials:
            events = [line for line in lines(path) if line["trial"] == trial.number]
            first, *reports, last = events
            assert first == {
                "event": "start",
                "trial": trial.number,
                "bracket": 0,
                "params.x": trial.params["x"],
                "params.opt.nesterov": True,
            }
            assert [line["event"] for line in reports] == ["report"] * len(trial.reports)
            assert [line["resource"] for line in reports] == [r.resource for r in trial.reports]
            assert last == {
                "event": "end",
                "trial": trial.number,
                "state": trial.state.value,
                "resource": trial.resource,
                "reason": trial.stopping,
                "failure": None,
            }

    def test_a_metric_that_json_lacks_is_a_string(self, tmp_path):
        tune(tmp_path, trackers=[JsonLines(tmp_path / "log.jsonl")])
        reports = [line for line in lines(tmp_path / "log.jsonl") if line["event"] == "report"]
        assert reports[0]["metrics.gap"] == "NaN"

    def test_a_failed_trial_says_why(self, tmp_path):
        def broken(config):
            raise ValueError("no luck")

        with pytest.raises(TrialsFailedError):
            tune(tmp_path, train=broken, trials=1, trackers=[JsonLines(tmp_path / "log.jsonl")])
        last = lines(tmp_path / "log.jsonl")[-1]
        assert (last["state"], last["failure"]) == ("failed", "ValueError: no luck")

    def test_a_clone_names_the_trial_it_goes_on_from(self, tmp_path):
        def member(config):
            for _ in range(4):
                tuneflow.report(loss=config["x"], checkpoint=lambda folder: (folder / "x").touch())

        pbt = {"type": "pbt", "max_resource": 4, "synchronous": True}
        result = tune(
            tmp_path, train=member, scheduler=pbt, trackers=[JsonLines(tmp_path / "log.jsonl")]
        )
        clones = [line for line in lines(tmp_path / "log.jsonl") if line["event"] == "clone"]
        sources = [f.source for f in result.history.facts if getattr(f, "source", None) is not None]
        assert sources
        assert [line["source"] for line in clones] == sources
        assert all("params.x" in line for line in clones)

    @pytest.mark.parametrize("cut", [0, 1, 30, 5000])
    def test_a_resume_leaves_the_file_as_one_run_would(self, tmp_path, cut):
        """Whatever was lost at the end of the file, a torn line too, comes back once."""
        whole, resumed = tmp_path / "whole.jsonl", tmp_path / "resumed.jsonl"
        tune(tmp_path / "a", trackers=[JsonLines(whole)])
        with pytest.raises(ConnectionError):
            tune(tmp_path / "b", trackers=[JsonLines(resumed)], executor=Breaking(9))
        text = resumed.read_bytes()
        resumed.write_bytes(text[: max(len(text) - cut, 0)])
        tune(tmp_path / "b", trackers=[JsonLines(resumed)])
        assert resumed.read_bytes() == whole.read_bytes()

    def test_a_tracker_that_comes_late_gets_what_was_before(self, tmp_path):
        with pytest.raises(ConnectionError):
            tune(tmp_path, executor=Breaking(9))
        result = tune(tmp_path, trackers=[JsonLines(tmp_path / "log.jsonl")])
        starts = [line["trial"] for line in lines(tmp_path / "log.jsonl") if "bracket" in line]
        assert starts == [trial.number for trial in result.trials]

    @pytest.mark.parametrize("text", ["precious\n", "precious"])
    def test_a_file_of_something_else_is_left_alone(self, tmp_path, text):
        path = tmp_path / "log.jsonl"
        path.write_text(text)
        with pytest.raises(SpecError, match="holds something else than the lines of"):
            tune(tmp_path, trackers=[JsonLines(path)])
        assert path.read_text() == text


class TestWhereTheyAreNamed:
    @pytest.fixture
    def project(self, tmp_path, monkeypatch):
        """A folder with a study file, and another one to be in."""
        (tmp_path / "project").mkdir()
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "project" / "train.py").write_text("def train(config):\n    return config['x']")
        (tmp_path / "project" / "study.yaml").write_text(
            "objective: train.py:train\n"
            "space: {x: {type: float, low: 0, high: 1}}\n"
            "metric: loss\nmode: min\nsearcher: random\ntrials: 2\nstorage: results\n"
            "trackers: [{type: jsonl, path: log.jsonl}]\n"
        )
        monkeypatch.chdir(tmp_path / "elsewhere")
        return tmp_path / "project"

    def test_a_study_file_names_them_relative_to_itself(self, project):
        assert main(["run", str(project / "study.yaml"), "--no-progress"]) == 0
        assert [line["event"] for line in lines(project / "log.jsonl")].count("end") == 2

    def test_they_are_no_part_of_the_study(self, project):
        main(["run", str(project / "study.yaml"), "--no-progress"])
        spec = json.loads((project / "results" / "project" / "study.json").read_text())
        assert "trackers" not in spec

    @pytest.mark.parametrize("how", ["command", "python"])
    def test_a_resume_uses_those_it_had_last(self, project, how):
        url = self._halt(project)
        if how == "command":
            assert main(["resume", url, "--no-progress"]) == 0
        else:
            tuneflow.resume(url, progress=False)
        assert [line["event"] for line in lines(project / "log.jsonl")].count("end") == 4

    def test_a_resume_can_do_without(self, project):
        url = self._halt(project)
        before = (project / "log.jsonl").read_bytes()
        assert main(["resume", url, "--no-progress", "--set", "trackers=[]"]) == 0
        assert (project / "log.jsonl").read_bytes() == before
        assert LastPlace.recall(Store(url)).trackers == ()

    def test_validate_finds_one_that_cannot_be_made(self, project, capsys):
        setting = ["--set", "trackers=[jsonl]"]
        assert main(["validate", str(project / "study.yaml"), *setting]) == 2
        assert "tracker.path" in capsys.readouterr().err
        assert not (project / "log.jsonl").exists()

    def test_what_is_given_as_an_instance_is_not_remembered(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        given = [JsonLines(tmp_path / "a.jsonl"), {"type": "jsonl", "path": "b.jsonl"}]
        url = tune(tmp_path, trackers=given).url
        assert LastPlace.recall(Store(url)).trackers == ({"type": "jsonl", "path": "b.jsonl"},)

    def _halt(self, project):
        """Run the study to a halt by failed trials, mend it, and return its URL."""
        good = (project / "train.py").read_text()
        (project / "train.py").write_text("def train(config):\n    raise ValueError")
        setting = ["--set", "budget.max_failures=1"]
        assert main(["run", str(project / "study.yaml"), "--no-progress", *setting]) == 3
        (project / "train.py").write_text(good)
        importlib.invalidate_caches()
        return str(project / "results" / "project")


PLUGINS = '''
import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tuneflow.schedulers import Scheduler, Start
from tuneflow.trackers import Tracker


@dataclass
class Best(Tracker):
    """Keeps the best value in a file."""

    type: ClassVar[str] = "acme-best"
    path: Path

    def open(self, study, url, history):
        self.url = url

    def __call__(self, history, facts):
        best = history.best()
        if best is not None:
            found = {"study": self.url, "trial": best.number}
            self.path.write_text(json.dumps(found))

    def close(self):
        pass


@dataclass(frozen=True)
class Short(Scheduler):
    """Gives each trial a few units and no more."""

    type: ClassVar[str] = "acme-short"
    units: int = 2

    @property
    def limit(self):
        return self.units

    def next(self, history):
        return None if history.exhausted else Start(self.units)
'''
ENTRY_POINTS = """
[tuneflow.trackers]
acme-best = acme_tuning:Best

[tuneflow.schedulers]
acme-short = acme_tuning:Short
"""


class TestAnotherPackage:
    @pytest.fixture(autouse=True)
    def package(self, tmp_path, monkeypatch):
        """An installed package that declares entry points, as pip would leave it."""
        site = tmp_path / "site-packages"
        info = site / "acme_tuning-1.0.dist-info"
        info.mkdir(parents=True)
        (site / "acme_tuning.py").write_text(PLUGINS)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-tuning\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(ENTRY_POINTS)
        monkeypatch.syspath_prepend(site)

    def test_adds_a_tracker(self, tmp_path):
        tracker = {"type": "acme-best", "path": str(tmp_path / "best.json")}
        result = tune(tmp_path, trackers=[tracker])
        found = json.loads((tmp_path / "best.json").read_text())
        assert found == {"study": result.url, "trial": result.best_trial.number}

    def test_adds_a_scheduler(self, tmp_path):
        result = tune(tmp_path, scheduler={"type": "acme-short", "units": 3})
        assert {trial.resource for trial in result.trials} == {3}
        stored = OpenStudy.open(result.url).study.scheduler
        assert stored.to_json() == {"type": "acme-short", "units": 3}

    def test_may_be_installed_while_we_run(self, tmp_path):
        info = tmp_path / "site-packages" / "acme_tuning-1.0.dist-info"
        away = info.rename(tmp_path / "away")
        with pytest.raises(SpecError, match="there is no scheduler 'acme-short'"):
            load("scheduler", "acme-short")
        away.rename(info)
        assert load("scheduler", "acme-short").__name__ == "Short"

    def test_its_fields_are_checked_like_ours(self, tmp_path):
        with pytest.raises(SpecError, match=r"^scheduler\.units: 'many' does not fit"):
            tune(tmp_path, scheduler={"type": "acme-short", "units": "many"})
