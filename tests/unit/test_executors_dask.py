"""What the Dask executor refuses before it reaches for a cluster."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from tuneflow.errors import ClusterError, SpecError
from tuneflow.executors import dask_local
from tuneflow.executors.dask import DaskExecutor
from tuneflow.executors.dask_flight import Flight
from tuneflow.executors.dask_orders import Orders
from tuneflow.executors.placement import Request
from tuneflow.plugins import make
from tuneflow.trial import Segment


def python(script):
    command = [sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"address": 8786}, "address: 8786 is no address; give one such as tcp://127.0.0.1:8786"),
        ({"workers": 0}, "workers: 0 is too few; give at least 1"),
        ({"threads_per_worker": 0}, "threads_per_worker: 0 is too few; give at least 1"),
        ({"parallel": 0}, "parallel: 0 is too few; give at least 1"),
        ({"prefetch": -1}, "prefetch: -1 is below 0; give 0 or more"),
        ({"isolation": "vm"}, "isolation: 'vm' is neither 'thread' nor 'process'"),
        ({"timeout": 0}, "timeout: 0 is no time to wait; give seconds above 0"),
        ({"connect_timeout": -1}, "connect_timeout: -1 is no time to wait"),
        ({"resources": {"gpus": 1}}, "resources.gpus: no such resource; did you mean 'gpu'?"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(settings, said):
    with pytest.raises(SpecError) as caught:
        DaskExecutor(**settings)
    assert said in str(caught.value)


def test_a_study_file_describes_it():
    fields = {"workers": 3, "isolation": "process", "resources": {"cpu": 2, "memory": "1GB"}}
    assert make("executor", {"type": "dask", **fields}) == DaskExecutor(**fields)
    assert make("executor", {"type": "dask", "address": "tcp://h:1"}) == DaskExecutor("tcp://h:1")


def test_it_says_that_it_is_not_open():
    with pytest.raises(ClusterError, match="not open"):
        DaskExecutor().wait(0)


def test_closing_what_was_never_opened_is_harmless():
    executor = DaskExecutor()
    executor.close(abandon=True)
    executor.close(abandon=False)


def test_asking_for_gpus_on_a_machine_without_one_is_one_sentence(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ClusterError, match="asks for GPUs, and this machine shows none"):
        dask_local.start(2, 1, Request(gpu=1))


def test_without_dask_it_says_what_to_install():
    script = (
        "import sys\n"
        "sys.modules['distributed'] = None\n"
        "from tuneflow.errors import MissingDependencyError\n"
        "try:\n"
        "    import tuneflow.executors.dask\n"
        "except MissingDependencyError as error:\n"
        "    print(error)\n"
    )
    done = python(script)
    assert done.stdout == "dask is not installed; run: pip install 'tuneflow[dask]'\n", done.stderr


def test_the_other_executors_do_not_import_dask():
    script = (
        "import sys, tuneflow.executors.base, tuneflow.executors.inline, "
        "tuneflow.executors.placement\n"
        "print([name for name in ('dask', 'distributed') if name in sys.modules])"
    )
    done = python(script)
    assert done.stdout == "[]\n", done.stderr


class BrokenClient:
    """Of a cluster whose workers answer with errors, whatever they are asked."""

    def __init__(self, error):
        self.error = error
        self.loop = self

    def add_callback(self, send):
        asyncio.run(send())

    async def run(self, *args, **options):
        raise self.error


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("closing"), KeyError("worker")])
def test_what_was_on_a_worker_that_cannot_be_asked_any_more_is_launched_again(error):
    flight = Flight(7, Segment(0, 0, {}), Request(), "tcp://10.0.0.1:1")
    gone = []
    Orders(BrokenClient(error), "topic", {7}).follow(flight, gone.append)
    assert gone == [7]
