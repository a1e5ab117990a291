"""The process of a library: what it says, how it breaks, and that it ends with who started it."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from tests.clusters import until
from tests.isolated import HERE, Odd
from tuneflow.environments import asking, connect, prepare, serving
from tuneflow.environments.process import BrokenProcessError, LibraryProcess, clean_environment
from tuneflow.errors import SearcherError
from tuneflow.history import History
from tuneflow.libraries.base import Parameter
from tuneflow.searchers.environment import Environment
from tuneflow.space import Float, Int, Space
from tuneflow.testing.searchers import METRIC, play

pytestmark = pytest.mark.integration

MEMORY = "perhaps for want of memory"

SPACE = Space({"x": Float(0, 1), "n": Int(1, 8)})
ENDINGS = ("completed", "failed", "silent")
PARAMETERS = [Parameter("x", "float"), Parameter("n", "choice", size=4)]


def proposals(count=20, seed=0, **changes):
    """Return what is proposed in a study of so many trials."""
    return list(play(Odd(**changes), SPACE, History(METRIC, "min", seed), ENDINGS, count))


@pytest.fixture(autouse=True)
def hosts():
    """The processes that a test starts, gone afterwards."""
    yield asking._hosts
    for host in asking._hosts.values():
        host._drop()
    asking._hosts.clear()


def pid():
    """Return the number of the only process there is."""
    (host,) = asking._hosts.values()
    return host._process._group.pid


@pytest.fixture(scope="module")
def expected():
    return proposals(environment=None)


class TestTalking:
    def test_it_proposes_what_the_library_proposes_in_this_process(self, expected):
        assert proposals() == expected

    def test_what_a_library_prints_is_not_mistaken_for_an_answer(self, expected):
        assert proposals(mishap="prints", at=5) == expected

    def test_all_studies_share_one_process(self, expected, hosts):
        first = proposals(count=3)
        number = pid()
        assert proposals() == expected
        assert (pid(), len(hosts)) == (number, 1)
        assert first == expected[:3]

    def test_two_threads_may_ask_at_once(self, expected):
        found = {}

        def ask(seed):
            found[seed] = proposals(seed=seed)

        threads = [threading.Thread(target=ask, args=(seed,)) for seed in (0, 1, 0)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == {0: expected, 1: proposals(seed=1, environment=None)}

    def test_a_study_that_is_over_is_forgotten(self, hosts):
        connection = connect("tests.odd_library", HERE, PARAMETERS, {}, 1)
        connection.ask([], 1)
        session = connection._session
        del connection
        gc.collect()
        (host,) = hosts.values()
        assert list(host.over) == [session]
        connect("tests.odd_library", HERE, PARAMETERS, {}, 1).ask([], 1)
        assert session not in host.over

    def test_the_other_python_is_not_led_astray(self, monkeypatch):
        for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
            monkeypatch.setenv(name, "/astray")
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        found = clean_environment()
        assert found["OMP_NUM_THREADS"] == "1"
        assert "/astray" not in found.values()
        prepare("tests.odd_library", HERE)

    def test_ctrl_c_in_the_terminal_does_not_reach_it(self):
        proposals(count=1)
        assert os.getsid(pid()) == os.getpgid(pid()) == pid()


def interrupt(process):
    raise KeyboardInterrupt


class TestBreaking:
    @pytest.mark.parametrize("mishap", ["killed", "exits", "garbles"])
    def test_one_that_breaks_is_started_anew_and_goes_on_as_if_nothing_had_happened(
        self, mishap, expected, tmp_path
    ):
        assert proposals(mishap=mishap, at=5, once=str(tmp_path / "once")) == expected
        assert (tmp_path / "once").exists()

    @pytest.mark.parametrize(
        ("mishap", "said"),
        [
            ("killed", f"it was killed by SIGKILL, {MEMORY}; its last words: here it ends"),
            ("exits", "it exited with status 3; its last words: no more"),
            ("garbles", "it has sent what is no answer: b'not JSON'"),
        ],
    )
    def test_one_that_breaks_again_is_an_error(self, mishap, said):
        with pytest.raises(SearcherError) as caught:
            proposals(mishap=mishap, at=5)
        assert str(caught.value) == (
            f"the process of tests.odd_library broke twice at the same question: {said}"
        )

    def test_one_that_hangs_is_killed(self, monkeypatch, tmp_path):
        monkeypatch.setattr(asking, "ANSWERING", 0.5)
        with pytest.raises(SearcherError, match=r"has not answered within 0\.5 s"):
            proposals(mishap="hangs", at=5)
        assert family() == []

    def test_one_that_does_not_even_read_is_killed(self):
        process = LibraryProcess(Path(sys.executable))
        process.ask({"load": {"name": "base"}}, 30.0)
        os.kill(process._group.pid, signal.SIGSTOP)
        with pytest.raises(BrokenProcessError, match="has not answered"):
            process.ask({"load": {"name": "x" * 10_000_000}}, 0.5)
        process.close()
        assert family() == []

    def test_one_that_was_killed_while_idle_is_started_anew(self, expected):
        history, searcher = History(METRIC, "min", 0), Odd()
        first = list(play(searcher, SPACE, history, ENDINGS, 10))
        os.kill(pid(), signal.SIGKILL)
        assert [*first, *play(searcher, SPACE, history, ENDINGS, 10)] == expected

    def test_an_error_of_the_library_is_told_with_its_traceback(self):
        with pytest.raises(SearcherError, match="ValueError: the matrix is singular") as caught:
            proposals(mishap="raises", at=5)
        assert "odd_library.py" in caught.value.__notes__[0]

    def test_values_that_are_no_numbers_are_an_error(self):
        with pytest.raises(SearcherError, match=r"nan.* is no JSON"):
            proposals(mishap="nan", at=5)

    def test_a_study_can_go_on_after_an_error_of_the_library(self, expected, tmp_path):
        history = History(METRIC, "min", 0)
        searcher = Odd(mishap="raises", at=5, once=str(tmp_path / "once"))
        found = []
        with pytest.raises(SearcherError):
            found.extend(play(searcher, SPACE, history, ENDINGS, 20))
        found = [trial.params for trial in history.trials]
        assert [*found, *play(searcher, SPACE, history, ENDINGS, 20 - len(found))] == expected

    def test_nothing_is_left_of_one_that_broke(self):
        with pytest.raises(SearcherError):
            proposals(mishap="exits")
        assert family() == []

    def test_one_that_is_interrupted_is_not_used_again(self, expected, monkeypatch):
        history, searcher = History(METRIC, "min", 0), Odd()
        first = list(play(searcher, SPACE, history, ENDINGS, 10))
        number = pid()
        with monkeypatch.context() as patch:
            patch.setattr(LibraryProcess, "_answer", interrupt)
            with pytest.raises(KeyboardInterrupt):
                searcher.suggest(SPACE, history)
        assert [*first, *play(searcher, SPACE, history, ENDINGS, 10)] == expected
        assert pid() != number

    def test_a_python_that_cannot_be_started_is_an_error(self, tmp_path):
        with pytest.raises(BrokenProcessError, match="it cannot be started"):
            LibraryProcess(tmp_path / "python")


def family():
    """Return the processes that this one has started and not yet buried, servers aside."""
    found = psutil.Process().children()
    return [one for one in found if one.status() == "zombie" or "serving.py" in str(one.cmdline())]


class TestPreparing:
    def test_a_library_that_is_not_there_is_an_error(self):
        with pytest.raises(SearcherError, match=r"cannot be imported .*ModuleNotFoundError"):
            prepare("no_such_library", HERE)

    def test_the_library_is_imported_without_tuneflow(self):
        process = LibraryProcess(Path(sys.executable))
        answer = process.ask({"load": asking.adapter("tests.odd_library")}, 30.0)
        process.close()
        assert answer == {}
        code = (
            "import sys\n"
            f"sys.path.insert(0, {str(Path(serving.__file__).parent)!r})\n"
            "import serving\n"
            "before = list(sys.path)\n"
            f"serving.adapters({str(Path(asking.__file__).parents[1] / 'libraries')!r})\n"
            "from tuneflow.libraries.base import Model\n"
            "assert sys.path == before\n"
            "assert [*filter(lambda name: name.startswith('tuneflow'), sys.modules)] == "
            "['tuneflow', 'tuneflow.libraries', 'tuneflow.libraries.base']\n"
        )
        subprocess.run([sys.executable, "-I", "-c", code], check=True)

    def test_the_version_alone_leaves_the_tested_packages(self):
        class Tested(Odd):
            tested = Environment(requirements=("a==1",), python="3.10")

        def chosen(given):
            return Tested(environment=given)._environment()

        assert chosen(Environment()) == Tested.tested
        assert chosen(Environment(python="3.12")).requirements == ("a==1",)
        assert chosen(Environment(python="3.12")).python == "3.12"
        assert chosen(HERE) == HERE
        own = Environment(requirements=("b",))
        assert chosen(own) == own


DRIVER = """
import sys
sys.path.insert(0, {root!r})
from tests.integration.test_environment_process import pid, proposals
proposals(count=2)
print(pid(), flush=True)
{then}
"""


def driver(then):
    """Start another process with a library process, whose number is returned too."""
    root = str(Path(__file__).parents[2])
    code = DRIVER.format(root=root, then=then)
    started = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    return started, int(started.stdout.readline())


class TestItsEnd:
    def test_it_ends_with_the_driver(self):
        started, number = driver("")
        assert started.wait(30) == 0
        until(lambda: not psutil.pid_exists(number), 20)

    def test_it_ends_with_a_driver_that_is_killed(self):
        started, number = driver("proposals(count=2, mishap='hangs')")
        until(lambda: psutil.pid_exists(number), 20)
        started.kill()
        started.wait()
        until(lambda: not psutil.pid_exists(number), 20)

    def test_a_fork_has_a_process_of_its_own_and_keeps_none_alive(self):
        fork = """
import os
if os.fork() == 0:
    proposals(count=2)
    print(pid(), flush=True)
    import time
    time.sleep(1000)
os.wait()
"""
        started, number = driver(fork)
        other = int(started.stdout.readline())
        (child,) = (one for one in psutil.Process(started.pid).children() if one.pid != number)
        assert other != number
        started.kill()
        started.wait()
        until(lambda: not psutil.pid_exists(number), 20)
        assert psutil.pid_exists(other)
        child.kill()
        until(lambda: not psutil.pid_exists(other), 20)


class TestServing:
    """The other side, in this process."""

    def test_numbers_of_numpy_become_plain_ones(self):
        numpy = pytest.importorskip("numpy")
        read, write = os.pipe()
        serving.send(write, {"x": numpy.float32(0.5), "n": numpy.int64(3)})
        assert json.loads(os.read(read, 100)) == {"x": 0.5, "n": 3}
        os.close(read)
        os.close(write)

    def test_messages_come_in_pieces_and_end_with_the_pipe(self):
        read, write = os.pipe()
        found = serving.messages(read, os.getppid())
        os.write(write, b'{"id": 1}\n{"id"')
        assert next(found) == {"id": 1}
        os.write(write, b": 2}\n")
        os.close(write)
        assert list(found) == [{"id": 2}]
        os.close(read)
