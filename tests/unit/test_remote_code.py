"""How code gets to workers, and what orders and answers look like on the way."""

from __future__ import annotations

import functools
import importlib.util
import json
import math
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType
from xml.sax import saxutils

import pytest

from tests.clusters import until
from tests.objectives import environ_with_repository
from tuneflow import with_parameters
from tuneflow.errors import ObjectiveError, SpecError
from tuneflow.executors.controls import Controls
from tuneflow.executors.placement import Place, Request
from tuneflow.objective.command import CommandObjective
from tuneflow.objective.control import Control
from tuneflow.remote.code import Code, reference_of
from tuneflow.remote.orders import Answer, DriverOrder, SegmentOrder, study_key, topic_of
from tuneflow.remote.room import Room
from tuneflow.trial import Failure, Outcome, Report

PROJECT = {
    "dag.py": (
        "import pieces\n"
        "import plain.low\n"
        "from pieces import Model\n"
        "RATE = 0.5\n"
        "def rate():\n    return RATE\n"
        "def train(config):\n    return Model(rate()).value() + pieces.offset() + plain.low.ZERO\n"
    ),
    "pieces.py": (
        "from inner import deep\n"
        "class Model:\n"
        "    def __init__(self, value):\n        self._value = value\n"
        "    def value(self):\n        return self._value\n"
        "def offset():\n    return deep.OFFSET\n"
    ),
    "inner/__init__.py": "",
    "inner/deep.py": "OFFSET = 1.0\n",
    "plain/low.py": "ZERO = 0.0\n",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder of modules that nothing installs; what is imported of it is forgotten."""
    for name, text in PROJECT.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def load_unnamed(path):
    """Load a file as a scheduler of DAGs does: under a name that it makes up."""
    spec = importlib.util.spec_from_file_location(f"unusual_prefix_0123_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def run_elsewhere(code, tmp_path):
    """Return what the objective gives in a process that has the packages, not the project."""
    script = (
        "import json, sys\n"
        "from tuneflow.remote.code import Code\n"
        "code = Code.from_json(json.loads(sys.stdin.read()))\n"
        "print(code.load().function({}))\n"
    )
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(code.to_json()),
        cwd=folder,
        env=environ_with_repository(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


def over_json(code):
    return Code.from_json(json.loads(json.dumps(code.to_json())))


class TestFunctions:
    def test_a_function_of_an_installed_package_travels_by_name(self):
        code = Code.of(saxutils.escape, Path())
        assert code == Code({"function": "xml.sax.saxutils:escape"})
        assert over_json(code).load().function is saxutils.escape
        assert Code.of(pytest.approx, Path()).pickled is None

    def test_a_function_of_a_project_travels_with_what_it_uses(self, project, tmp_path):
        import dag

        code = Code.of(dag.train, Path())
        assert code.reference == {"function": "dag:train"}
        for name in PROJECT:
            (project / name).unlink()
        assert run_elsewhere(code, tmp_path) == 1.5

    def test_a_function_of_a_module_with_a_made_up_name_has_no_name(self, project, tmp_path):
        module = load_unnamed(project / "dag.py")
        code = Code.of(module.train, Path())
        assert code.reference == reference_of(module.train) == {"callable": "train"}
        for name in PROJECT:
            (project / name).unlink()
        assert run_elsewhere(code, tmp_path) == 1.5

    @pytest.mark.parametrize("path", [None, object()])
    def test_modules_that_are_made_up_are_in_nobodys_way(self, project, monkeypatch, path):
        made_up = ModuleType("made_up")
        made_up.__path__ = path
        monkeypatch.setitem(sys.modules, "made_up", made_up)
        assert Code.of(load_unnamed(project / "dag.py").train, Path()).pickled

    def test_a_function_that_a_decorator_hides_travels_all_the_same(self, project, tmp_path):
        module = load_unnamed(project / "dag.py")
        train, module.train = module.train, object()
        assert run_elsewhere(Code.of(train, Path()), tmp_path) == 1.5

    def test_bound_arguments_and_data_travel_with_it(self, project, tmp_path):
        (project / "bound.py").write_text("def train(config, a, b):\n    return a + b\n")
        import bound

        train = with_parameters(functools.partial(bound.train, b=0.25), a=2)
        assert run_elsewhere(Code.of(train, Path()), tmp_path) == 2.25

    def test_pickling_elsewhere_is_as_before(self, project):
        import cloudpickle
        import dag

        before = set(cloudpickle.list_registry_pickle_by_value())
        Code.of(dag.train, Path())
        assert set(cloudpickle.list_registry_pickle_by_value()) == before

    def test_what_cannot_be_pickled_is_one_sentence(self):
        lock = threading.Lock()
        with pytest.raises(ObjectiveError, match=r"cannot be sent to the workers: .*lock"):
            Code.of(lambda config: lock, Path())

    def test_more_than_a_megabyte_is_refused_with_a_remedy(self):
        data = bytes(1_200_000)
        with pytest.raises(ObjectiveError, match=r"take 1\.2 MB, .* load large data inside"):
            Code.of(lambda config: len(data), Path())

    def test_what_is_no_objective_is_one_sentence(self):
        with pytest.raises(ObjectiveError, match="the objective is 7; give a function"):
            Code.of(7, Path())


class TestFiles:
    def test_the_text_of_a_file_travels(self, tmp_path):
        (tmp_path / "own.py").write_text("SIZE = 2\ndef train(config):\n    return SIZE\n")
        code = over_json(Code.of("own.py:train", tmp_path))
        (tmp_path / "own.py").unlink()
        assert code.reference["function"] == "own.py:train"
        assert run_elsewhere(code, tmp_path) == 2

    def test_its_settings_travel_too(self, tmp_path):
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub" / "own.py").write_text("def train(config):\n    return 1\n")
        given = {"function": "own.py:train", "cwd": "sub", "env": {"A": 1}, "timeout": 3}
        objective = over_json(Code.of(given, tmp_path)).load()
        assert (objective.env, objective.timeout, objective.name) == ({"A": "1"}, 3, "train")

    def test_where_workers_see_the_folder_modules_beside_it_are_found(self, project):
        (project / "beside.py").write_text(
            "import pieces\ndef train(config):\n    return pieces.offset()\n"
        )
        code = Code.of("beside.py:train", project)
        assert code.load().function({}) == 1.0

    def test_it_is_loaded_once_in_a_process_and_anew_when_it_was_edited(self, tmp_path):
        file = tmp_path / "own.py"
        file.write_text("def train(config):\n    return 1\n")
        first = Code.of("own.py:train", tmp_path)
        file.write_text("def train(config):\n    return 2\n")
        second = Code.of("own.py:train", tmp_path)
        assert over_json(first).load() is first.load()
        assert (first.load().function({}), second.load().function({})) == (1, 2)

    def test_threads_that_load_it_at_once_get_the_same(self, tmp_path):
        (tmp_path / "own.py").write_text("def train(config):\n    return 1\n")
        code, found = Code.of("own.py:train", tmp_path), []
        threads = [threading.Thread(target=lambda: found.append(code.load())) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 8
        assert len(set(map(id, found))) == 1

    def test_a_traceback_shows_its_lines(self, tmp_path):
        (tmp_path / "own.py").write_text("def train(config):\n    raise KeyError('k')\n")
        objective = Code.of("own.py:train", tmp_path).load()
        (tmp_path / "own.py").unlink()
        with pytest.raises(KeyError) as caught:
            objective.function({})
        last = caught.traceback[-1]
        assert (str(last.path), str(last.statement).strip()) == ("own.py", "raise KeyError('k')")

    def test_a_failed_import_can_succeed_later(self, tmp_path, monkeypatch):
        (tmp_path / "own.py").write_text("import late_one\ndef train(config):\n    return 1\n")
        code = Code.of("own.py:train", tmp_path)
        for _ in range(2):
            with pytest.raises(ObjectiveError, match="No module named 'late_one'"):
                code.load()
        monkeypatch.setitem(sys.modules, "late_one", sys)
        assert code.load().function({}) == 1

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (None, "own.py does not exist"),
            ("def train(:\n", r"own.py cannot be read: invalid syntax \(own.py, line 1\)"),
            ("x = '" + "y" * 1_100_000 + "'", r"take 1\.1 MB"),
        ],
    )
    def test_a_file_that_cannot_travel_is_one_sentence(self, tmp_path, text, said):
        if text is not None:
            (tmp_path / "own.py").write_text(text)
        with pytest.raises(ObjectiveError, match=said):
            Code.of("own.py:train", tmp_path)

    def test_a_name_that_the_file_does_not_have_is_one_sentence(self, tmp_path):
        (tmp_path / "own.py").write_text("def train(config):\n    return 1\n")
        with pytest.raises(ObjectiveError, match=r"own\.py has no 'trian'; did you mean 'train'"):
            Code.of("own.py:trian", tmp_path).load()


class TestReferences:
    def test_a_module_is_not_imported_before_it_is_loaded(self):
        code = Code.of("no_such_module:train", Path())
        assert (code.source, code.pickled) == (None, None)
        with pytest.raises(ObjectiveError, match="module 'no_such_module' is not there"):
            code.load()

    def test_a_module_is_found_in_the_folder_it_was_given_with(self, project):
        assert over_json(Code.of("dag:train", project)).load().function({}) == 1.5

    def test_a_command_runs_where_its_cwd_is_taken_from_the_base(self, tmp_path):
        code = over_json(Code.of({"command": ["a", "{lr}"], "cwd": "sub"}, tmp_path))
        objective = code.load()
        assert isinstance(objective, CommandObjective)
        assert (objective.command, objective.cwd) == (("a", "{lr}"), tmp_path / "sub")
        assert Code.of({"command": ["a"]}, tmp_path).load().cwd is None

    @pytest.mark.parametrize(
        ("given", "error", "said"),
        [
            ("train", ObjectiveError, "'train' has not the form file.py:function"),
            ({"function": "m:f", "timeout": -1}, SpecError, "timeout: -1 is not a number"),
            ({"comand": ["a"]}, SpecError, "did you mean 'command'"),
            ({"callable": "train"}, ObjectiveError, "give the object itself"),
        ],
    )
    def test_another_form_is_refused(self, given, error, said):
        with pytest.raises(error, match=said):
            Code.of(given, Path())


class TestOrders:
    code = Code({"function": "m:f"}, source="text")

    @pytest.mark.parametrize(
        "order",
        [
            SegmentOrder("file:///a/b", 17, 2, code, attempt=3, isolation="process", timeout=9.0),
            DriverOrder("file:///a/b", code, retry_failed=True),
        ],
    )
    def test_they_are_the_same_after_json(self, order):
        data = json.loads(json.dumps(order.to_json()))
        assert type(order).from_json(data) == order

    def test_keys_tell_studies_segments_and_tries_apart(self):
        keys = {
            SegmentOrder(study, trial, segment, self.code, attempt).key
            for study in ("file:///a", "file:///b")
            for trial, segment in ((1, 11), (11, 1))
            for attempt in (1, 2)
        } | {DriverOrder("file:///a", self.code).key}
        assert len(keys) == 9
        assert {topic_of(key) for key in keys} == {study_key("file:///a"), study_key("file:///b")}

    @pytest.mark.parametrize("value", [0.25, math.inf, -math.inf, math.nan])
    def test_an_answer_says_what_an_outcome_comes_to(self, value):
        reports = (Report(1, {"loss": 0.5}), Report(2, {"loss": value}), Report(3, {"other": 1.0}))
        failure = Failure("ValueError", "bad", "Traceback ...")
        outcome = Outcome(4, 1, "failed", reports, failure)
        answer = Answer.from_json(json.loads(json.dumps(Answer.of(outcome, "loss").to_json())))
        assert (answer.trial, answer.segment, answer.status) == (4, 1, "failed")
        assert answer.resource == 3
        assert repr(answer.value) == repr(value)
        assert (answer.failure, answer.kind) == ("bad", "ValueError")

    def test_an_answer_without_reports_has_no_value(self):
        answer = Answer.of(Outcome(4, 1, "stopped"), "loss")
        assert answer == Answer(4, 1, "stopped") == Answer.from_json(answer.to_json())


class TestControls:
    def test_only_those_of_the_key_are_told_and_only_while_they_run(self):
        controls = Controls()
        with controls.listening("a") as first, controls.listening("b") as other:
            assert controls.tell("a", "abandon")
            assert (first.requested, other.requested) == ("abandon", None)
        assert not controls.tell("a", "abandon")

    def test_an_end_of_one_run_leaves_the_next_run_of_the_key_within_reach(self):
        controls = Controls()
        with controls.listening("a"):
            with controls.listening("a") as second:
                pass
            with controls.listening("a") as third:
                assert controls.tell("a", "stop")
        assert (second.requested, third.requested) == (None, "stop")


class TestRoom:
    place = Place("tcp://w", threads=4, memory=8)

    def test_the_next_trial_waits_until_one_has_ended(self):
        room, began = Room(), threading.Event()

        def run():
            with room.taken(self.place, Request(cpu=2), Control()):
                began.set()

        with room.taken(self.place, Request(cpu=2), Control()):
            with room.taken(self.place, Request(memory=4), Control()):
                thread = threading.Thread(target=run)
                thread.start()
                until(lambda: room.waiting == 1)
                assert not began.is_set()
            assert began.wait(10)
        thread.join()

    def test_one_that_is_told_to_end_waits_no_longer(self):
        room, control = Room(), Control()

        def run():
            with room.taken(self.place, Request(cpu=4), control):
                pass

        with room.taken(self.place, Request(), Control()):
            thread = threading.Thread(target=run)
            thread.start()
            until(lambda: room.waiting == 1)
            control.abandon()
            thread.join(10)
            assert not thread.is_alive()

    def test_one_that_asks_for_more_than_there_is_takes_all(self):
        room = Room()

        def run():
            with room.taken(self.place, Request(), Control()):
                pass

        with room.taken(self.place, Request(cpu=64), Control()):
            thread = threading.Thread(target=run)
            thread.start()
            until(lambda: room.waiting == 1)
        thread.join(10)
        assert room.is_free

    def test_trials_of_different_kinds_fill_it_to_the_last_thread(self):
        room = Room()
        with (
            room.taken(self.place, Request(cpu=3), Control()),
            room.taken(self.place, Request(memory=8), Control()),
        ):
            assert not room.is_free
        assert room.is_free


def test_it_imports_no_heavy_library():
    heavy = ("airflow", "cloudpickle", "dask", "distributed", "optuna", "obstore")
    script = (
        "import sys, tuneflow.remote.cluster, tuneflow.remote.orders\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
