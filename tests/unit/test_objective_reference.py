"""How an objective is named, found, and shipped to where its file is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import cloudpickle
import pytest

from tests.objectives import context, environ_with_repository, pull_all
from tuneflow.errors import ObjectiveError, SpecError
from tuneflow.objective import PythonObjective, with_parameters
from tuneflow.objective.command import CommandObjective
from tuneflow.objective.reference import check_reference, describe, load, load_objective


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder whose modules are forgotten afterwards."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_function_is_found_in_a_file_beside_the_study(folder):
    write(folder, "sibling_of_mine.py", "FACTOR = 2\n")
    write(
        folder,
        "mine.py",
        "from sibling_of_mine import FACTOR\n"
        "def train(config):\n    return FACTOR * config['lr']\n",
    )
    assert load("mine.py:train", folder).function({"lr": 2}) == 4


def test_a_function_is_found_in_a_module_and_in_a_class(folder):
    write(folder, "packed_up/__init__.py", "")
    write(
        folder,
        "packed_up/inner.py",
        "class Space:\n    @staticmethod\n    def train(config):\n        return 5\n",
    )
    assert load("packed_up.inner:Space.train", folder).function({}) == 5


def test_a_mapping_adds_environment_and_timeout(folder):
    write(folder, "mine2.py", "def train(config): return 1\n")
    objective = load(
        {"function": "mine2.py:train", "env": {"A": 1}, "timeout": 5, "cwd": "."}, folder
    )
    assert (objective.env, objective.timeout, objective.name) == ({"A": "1"}, 5, "train")


def test_two_files_of_the_same_name_do_not_meet(folder):
    for name in ("a", "b"):
        write(folder, f"{name}/train.py", f"def train(config): return '{name}'\n")
    loaded = [load("train.py:train", folder / name).function({}) for name in ("a", "b")]
    assert loaded == ["a", "b"]


def test_a_file_is_loaded_once_and_anew_when_it_was_edited(folder):
    path = write(folder, "edited.py", "def train(config): return 1\n")
    first = load("edited.py:train", folder).function
    assert load("edited.py:train", folder).function is first
    path.write_text("def train(config): return 22\n")
    os.utime(path, ns=(1, 1))
    assert load("edited.py:train", folder).function({}) == 22


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("gone.py:train", "the objective's file .*/gone.py does not exist"),
        ("good.py:trian", "good.py has no 'trian'; did you mean 'train'?"),
        ("good.py:VALUE", "good.py:VALUE is 3; it must be a function or a class"),
        ("good.py", "'good.py' has not the form file.py:function or module:function"),
        (":train", "':train' has not the form"),
        ("raising.py:train", r"importing raising.py failed: ZeroDivisionError: .*\(.*line 2\)"),
        ("exiting.py:train", "importing exiting.py failed: SystemExit: 3"),
        ("broken.py:train", "importing broken.py failed: SyntaxError"),
        ("lacking.py:train", "importing lacking.py failed: ModuleNotFoundError: No module named"),
        ("no_such_module_x:train", "module 'no_such_module_x' is not there: No module named"),
        ("json.no_such:train", "module 'json.no_such' is not there"),
        ("json:dumpz", "json has no 'dumpz'; did you mean 'dump"),
    ],
)
def test_why_it_cannot_be_loaded_is_one_sentence(folder, reference, message):
    write(folder, "good.py", "VALUE = 3\ndef train(config): return 1\n")
    write(folder, "raising.py", "x = 1\n1 / 0\n")
    write(folder, "exiting.py", "import sys\nsys.exit(3)\n")
    write(folder, "broken.py", "def train(config) return 1\n")
    write(folder, "lacking.py", "import no_such_dependency_x\n")
    with pytest.raises(ObjectiveError, match=message) as caught:
        load(reference, folder)
    assert "\n" not in str(caught.value)


def test_a_failed_import_can_be_tried_again(folder):
    path = write(folder, "retry.py", "1 / 0\n")
    with pytest.raises(ObjectiveError):
        load("retry.py:train", folder)
    path.write_text("def train(config): return 1\n")
    assert load("retry.py:train", folder).function({}) == 1


def test_a_files_function_runs_where_the_file_is_not(folder, tmp_path):
    path = write(
        folder, "shipped.py", "OFFSET = 1\ndef train(config):\n    return OFFSET + config['lr']\n"
    )
    data = tmp_path / "objective.pickle"
    data.write_bytes(cloudpickle.dumps(load("shipped.py:train", folder)))
    path.unlink()
    code = (
        "import pickle, sys; objective = pickle.load(open(sys.argv[1], 'rb')); "
        "print(objective.function({'lr': 2}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(data)],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
        env=environ_with_repository(),
    )
    assert done.stdout == "3\n"


def test_a_files_function_runs_in_a_process_of_its_own(folder, tmp_path):
    write(folder, "isolated.py", "def train(config):\n    yield from (3, 2, 1)\n")
    stream = load("isolated.py:train", folder).isolated().open(context(tmp_path))
    reports, failure = pull_all(stream)
    assert failure is None
    assert [r.metrics["loss"] for r in reports] == [3, 2, 1]


def test_what_can_be_imported_is_described_by_its_name():
    assert describe(json.dumps) == {"function": "json:dumps"}
    assert describe(PythonObjective(json.dumps)) == {"function": "json:dumps"}
    assert describe(json.JSONDecoder.decode) == {"function": "json.decoder:JSONDecoder.decode"}
    assert load(describe(json.dumps)).function is json.dumps


def test_a_files_function_is_described_by_its_file(folder):
    path = write(folder, "described.py", "def train(config): return 1\n")
    function = load("described.py:train", folder).function
    assert describe(function) == {"function": f"{path}:train"}
    assert load(describe(function)).function is function


def test_references_describe_themselves():
    assert describe("a.py:f") == {"function": "a.py:f"}
    assert describe({"command": ["x"]}) == {"command": ["x"]}


class Callable:
    def __call__(self, config):
        return 1


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda config: 1, "<lambda>"),
        (with_parameters(json.dumps, data=1), "dumps"),
        (Callable(), "Callable"),
    ],
)
def test_what_has_no_name_is_described_and_asked_for_on_resume(function, name):
    assert describe(function) == {"callable": name}
    with pytest.raises(ObjectiveError, match=r"pass it: tuneflow.resume\(url, train\)"):
        load(describe(function))


def test_any_way_to_give_an_objective_is_loaded():
    ready = PythonObjective(json.dumps)
    assert load_objective(ready) is ready
    assert load_objective(json.dumps).function is json.dumps
    assert load_objective("json:dumps").function is json.dumps
    command = load_objective({"command": ["echo", 1], "timeout": 3})
    assert isinstance(command, CommandObjective)
    assert (command.command, command.timeout, command.name) == (("echo", "1"), 3, "echo")
    with pytest.raises(ObjectiveError, match="the objective is 3; give a function"):
        load_objective(3)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (3, "3 is no objective; write file.py:function, module:function, or"),
        ({"comand": ["x"]}, "did you mean 'command'?"),
        ({}, "{} is no objective; write file.py:function"),
        ({"function": 3}, "function: 3 is not a string"),
        ({"function": "a:b", "timout": 3}, "timout: unknown key; did you mean 'timeout'?"),
        ({"function": "a:b", "env": 3}, "env: 3 is not a mapping of names to values"),
        ({"function": "a:b", "timeout": -1}, "timeout: -1 is not a number of seconds above 0"),
        ({"command": ["{x}"]}, "command[0]: {x} is not a parameter"),
    ],
)
def test_a_reference_of_the_wrong_form_is_refused_by_field(reference, message):
    with pytest.raises(SpecError) as caught:
        check_reference(reference, ["lr"])
    assert message in str(caught.value)
