"""Environments of libraries: how they are found, made once, shared, and removed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tuneflow.environments.cache import CACHE, Cached, cache_folder, cached, remove
from tuneflow.environments.installing import CommandError, Installer, redacted
from tuneflow.environments.interpreters import find_interpreter
from tuneflow.environments.making import ensure
from tuneflow.errors import SearcherError, SpecError
from tuneflow.plugins import make
from tuneflow.searchers.dragonfly import Dragonfly
from tuneflow.searchers.environment import Environment
from tuneflow.searchers.hyperopt import HyperOpt

WANTED = Environment(requirements=("a==1", "b==2"), build=("numpy==1.23.5",), no_deps=("c==3",))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "environments"


class Commands(list):
    """The commands that would have been run, without the interpreter's path."""

    def __init__(self):
        super().__init__()
        self.failing = ()

    def run(self, installer, command):
        arguments = [str(part) for part in command[1:]]
        self.append([Path(command[0]).name, *arguments])
        installer._write(f"the output of {self[-1][0]}\n")
        if arguments[:2] == ["-m", "venv"]:
            python = Path(arguments[2], "bin", "python")
            python.parent.mkdir(parents=True)
            python.symlink_to(sys.executable)
        if self[-1][0] in self.failing:
            raise CommandError("ERROR: no such package")

    def installs(self):
        return [line[line.index("install") + 1 :] for line in self if "install" in line]


@pytest.fixture
def commands(monkeypatch):
    found = Commands()

    def run(installer, command):
        found.run(installer, command)

    monkeypatch.setattr(Installer, "_run", run)
    monkeypatch.setattr(Installer, "_uv", lambda _: None)
    return found


def made(environment=WANTED):
    found = ensure("tested", environment)
    found.release()
    return found.python


class TestMaking:
    def test_what_builds_need_comes_first_and_what_has_no_dependencies_last(self, commands):
        made()
        assert commands[0][1:3] == ["-m", "venv"]
        assert commands.installs() == [
            ["numpy==1.23.5"],
            ["--no-build-isolation", "a==1", "b==2"],
            ["--no-deps", "--no-build-isolation", "c==3"],
        ]

    def test_builds_are_isolated_where_nothing_is_said_of_them(self, commands):
        made(Environment(requirements=("a==1",)))
        assert commands.installs() == [["a==1"]]

    def test_it_is_made_once(self, commands, capsys):
        assert made() == made()
        assert len(commands) == 4
        said = capsys.readouterr().err.splitlines()
        assert [line.split(" (")[0] for line in said] == [
            "making the environment of tested",
            "made the environment of tested in 0 s",
        ]

    def test_another_list_makes_another_one(self, commands):
        assert made() != made(Environment(requirements=("a==1", "b==3")))

    def test_one_that_was_not_made_to_its_end_is_made_anew(self, commands, cache):
        commands.failing = ("python",)
        with pytest.raises(SearcherError):
            made()
        (left,) = cached()
        (left.folder / "half").touch()
        commands.failing = ()
        commands.clear()
        assert made() == left.python
        assert len(commands) == 4
        assert not (left.folder / "half").exists()

    def test_one_whose_python_is_gone_is_made_anew(self, commands):
        python = made()
        python.unlink()
        python.symlink_to("/no/such/python")
        assert made().exists()
        assert len(commands) == 8

    def test_what_failed_is_said_with_the_last_lines_and_the_log(self, commands, cache):
        commands.failing = ("python",)
        with pytest.raises(SearcherError, match="ERROR: no such package") as caught:
            made()
        (left,) = cached()
        assert str(left.log) in str(caught.value)
        assert "the output of python" in left.log.read_text()

    def test_a_cache_that_cannot_be_written_to_is_named(self, tmp_path, monkeypatch):
        (tmp_path / "file").touch()
        monkeypatch.setenv(CACHE, str(tmp_path / "file"))
        with pytest.raises(SearcherError, match=f"{tmp_path}/file/environments.*TUNEFLOW_CACHE"):
            made()

    def test_nothing_is_made_where_nothing_is_installed(self, cache):
        assert made(Environment(python=sys.executable)) == Path(sys.executable)
        assert not cache.exists()


class TestUv:
    @pytest.fixture
    def with_uv(self, commands, monkeypatch):
        monkeypatch.setattr(Installer, "_uv", lambda _: "/bin/uv")
        return commands

    def test_it_is_used_when_it_is_there(self, with_uv):
        made(Environment(requirements=("a==1",)))
        assert with_uv[1][:3] == ["uv", "pip", "install"]
        assert len(with_uv) == 2

    def test_pip_comes_after_it_when_it_fails(self, with_uv):
        with_uv.failing = ("uv",)
        made(Environment(requirements=("a==1",)))
        assert [line[0] for line in with_uv[1:]] == ["uv", "python"]
        assert with_uv[2][-2:] == ["install", "a==1"]

    @pytest.mark.parametrize(
        ("setting", "expected"), [("", "uv"), ("global.index-url='https://own/simple'", None)]
    )
    def test_it_is_not_asked_where_pip_has_indexes_of_its_own(
        self, setting, expected, tmp_path, monkeypatch
    ):
        monkeypatch.setenv("PATH", str(tmp_path))
        script(tmp_path / "uv", "exit 0")
        pip = script(tmp_path / "python", f'echo "{setting}"')
        found = Installer(pip, None)._uv()
        assert (found and Path(found).name) == expected


def script(path, line):
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return path


class TestCommands:
    def installer(self, log):
        return Installer(Path(sys.executable), log)

    def test_credentials_are_neither_logged_nor_told(self, tmp_path):
        secret = "https://me:secret@index.example/simple"
        code = f"print('looking in {secret}'); raise SystemExit(1)"
        with (tmp_path / "log").open("w") as log, pytest.raises(CommandError) as caught:
            self.installer(log)._run([sys.executable, "-c", code])
        said = (tmp_path / "log").read_text() + str(caught.value)
        assert "secret" not in said
        assert said.count("https://***@index.example/simple") >= 3

    def test_a_command_that_is_not_there_is_an_error_like_any_other(self, tmp_path):
        with (tmp_path / "log").open("w") as log, pytest.raises(CommandError, match="no-such"):
            self.installer(log)._run(["/no-such-command"])

    def test_a_text_without_credentials_stays_as_it_is(self):
        text = "a @ https://host/x@1.zip and git+ssh://host/y"
        assert redacted(text) == text


class TestInterpreters:
    def test_by_default_it_is_the_one_that_runs(self):
        found = find_interpreter(None)
        assert found.path == Path(sys.executable)
        assert found.version == sys.version_info[:3]

    def test_the_one_that_runs_is_good_for_its_version(self):
        version = ".".join(map(str, sys.version_info[:2]))
        assert find_interpreter(version) == find_interpreter(None)

    def test_a_path_is_taken(self, tmp_path):
        answer = '[\\"/elsewhere/python\\", 3, 12, 1]'
        found = find_interpreter(str(script(tmp_path / "python", f'echo "{answer}"')))
        assert (found.path, found.version) == (Path("/elsewhere/python"), (3, 12, 1))

    def test_a_version_is_found_on_the_path(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
        answer = '[\\"/elsewhere/python\\", 3, 77, 1]'
        script(tmp_path / "python3.77", f'echo "{answer}"')
        assert find_interpreter("3.77").version == (3, 77, 1)
        with pytest.raises(SearcherError, match=r"no Python 3\.77\.2"):
            find_interpreter("3.77.2")

    def test_a_version_is_found_where_pyenv_has_it_though_its_shim_does_not_work(
        self, tmp_path, monkeypatch
    ):
        monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
        monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
        script(tmp_path / "python3.77", "exit 127")
        (tmp_path / "versions" / "3.77.4" / "bin").mkdir(parents=True)
        answer = '[\\"/pyenv/python\\", 3, 77, 4]'
        script(tmp_path / "versions" / "3.77.4" / "bin" / "python", f'echo "{answer}"')
        assert find_interpreter("3.77").path == Path("/pyenv/python")

    def test_another_patch_on_the_path_does_not_hide_the_one_that_is_asked_for(
        self, tmp_path, monkeypatch
    ):
        monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
        monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
        script(tmp_path / "python3.77", 'echo "[\\"/other/python\\", 3, 77, 9]"')
        (tmp_path / "versions" / "3.77.4" / "bin").mkdir(parents=True)
        answer = '[\\"/pyenv/python\\", 3, 77, 4]'
        script(tmp_path / "versions" / "3.77.4" / "bin" / "python", f'echo "{answer}"')
        assert find_interpreter("3.77.4").path == Path("/pyenv/python")

    @pytest.mark.parametrize("python", ["3.99", "/no/such/python", "/bin/ls"])
    def test_one_that_is_not_there_is_an_error_that_says_what_to_do(self, python):
        with pytest.raises(SearcherError, match=f"no Python {python} .*environment.python"):
            find_interpreter(python)

    def test_one_that_is_too_old_is_refused(self, tmp_path):
        old = script(tmp_path / "python", 'echo "[\\"/old/python\\", 3, 9, 18]"')
        with pytest.raises(SearcherError, match=r"3\.9\.18 is too old; 3\.10 is the oldest"):
            find_interpreter(str(old))


class TestTheCache:
    @pytest.mark.parametrize("platform", ["linux", "darwin"])
    def test_it_is_the_users_unless_another_one_is_named(self, platform, monkeypatch):
        monkeypatch.delenv(CACHE)
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setattr(sys, "platform", platform)
        monkeypatch.setenv("HOME", "/home/me")
        expected = {"linux": "/home/me/.cache", "darwin": "/home/me/Library/Caches"}[platform]
        assert cache_folder() == Path(expected, "tuneflow", "environments")

    def test_each_says_what_it_is_and_when_it_was_used(self, commands):
        made()
        (found,) = cached()
        data = found.describe()
        assert data["library"] == "tested"
        assert data["requirements"] == ["a==1", "b==2"]
        assert data["used"] > 0

    def test_one_is_removed_by_the_beginning_of_its_key(self, commands):
        made()
        (found,) = cached()
        remove(found.folder.name[:5])
        assert list(cached()) == []

    def test_one_in_use_stays(self, commands):
        held = ensure("tested", WANTED)
        (found,) = cached()
        with pytest.raises(SpecError, match="is in use"):
            remove(found.folder.name)
        held.release()
        remove(found.folder.name)

    def test_an_unknown_key_is_an_error(self):
        with pytest.raises(SpecError, match="no environments begin with 'abc'"):
            remove("abc")

    def test_two_may_use_one_at_once(self, tmp_path):
        place = Cached(tmp_path / "place")
        with place.lock(shared=True), place.lock(shared=True):
            assert place.try_lock(shared=False) is None
        place.lock(shared=False).close()


class TestTheField:
    """`Environment`, as searchers have it."""

    @pytest.mark.parametrize("python", ["3", "2.7", "python3.11", "3.11; rm"])
    def test_python_is_a_version_or_a_path(self, python):
        with pytest.raises(SpecError, match="neither a version nor a path"):
            Environment(python=python)

    @pytest.mark.parametrize("line", ["", "--index-url=https://x", "a\nb"])
    def test_requirements_are_requirements(self, line):
        with pytest.raises(SpecError, match="is no requirement"):
            Environment(requirements=(line,))

    def test_a_single_text_is_no_list(self):
        with pytest.raises(SpecError, match="'numpy' is a text; write a list"):
            Environment(requirements="numpy")

    def test_a_path_by_itself_is_an_environment_that_is_there(self):
        assert Environment(python="/opt/python").is_given
        assert not Environment(python="3.11").is_given
        assert not Environment(python="/opt/python", requirements=("a",)).is_given

    def test_it_is_written_without_what_is_not_set(self):
        assert WANTED.to_json() == {
            "requirements": ["a==1", "b==2"],
            "build": ["numpy==1.23.5"],
            "no_deps": ["c==3"],
        }
        assert Environment().to_json() == {}

    @pytest.mark.parametrize("given", [None, Environment(), WANTED])
    @pytest.mark.parametrize("kind", [Dragonfly, HyperOpt])
    def test_a_searcher_keeps_it_in_its_json_form(self, kind, given):
        data = json.loads(json.dumps(kind(environment=given).to_json()))
        assert make("searcher", data).environment == given
