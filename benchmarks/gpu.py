"""Check tuneflow on a machine with a GPU: real trials, on workers that dask-cuda starts.

    python benchmarks/gpu.py

Needs PyTorch, scikit-learn and dask-cuda. Each check prints a line, and the first that does not
hold ends the run. What it shows:

* four trials at a time share one GPU, as threads and as processes, and each computes on it;
* PBT clones weights from trial to trial through checkpoints that were saved from the GPU;
* `resource_changing` gives the trials that remain more of the GPU, up to all of it;
* a trial that is paused, stopped or over leaves no memory on the GPU behind.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from gpu_objective import train

import tuneflow
from tuneflow.executors import DaskExecutor
from tuneflow.schedulers import ASHA, PBT, ResourceChanging
from tuneflow.space import Int, loguniform

SPACE = {"learning_rate": loguniform(1e-4, 1e-1), "width": Int(64, 1024, log=True)}
PORT = 8797


def main() -> None:
    """Run every check."""
    storage = Path(tempfile.mkdtemp(prefix="tuneflow-gpu-"))
    with cluster() as address:
        before = memory_in_use()
        share_a_gpu(storage, address, "thread", trials=24)
        clone_weights(storage, address)
        # A process takes seconds to import PyTorch and to start CUDA, for each segment.
        share_a_gpu(storage, address, "process", trials=8)
        give_more_to_those_that_remain(storage, address)
        leave_nothing_behind(before)
    shutil.rmtree(storage)
    say("all checks hold")


def share_a_gpu(storage: Path, address: str, isolation: str, trials: int) -> None:
    """ASHA over trials of a quarter of the GPU each."""
    result = tune(
        storage, address, f"share-{isolation}", isolation,
        scheduler=ASHA(max_resource=9, reduction_factor=3), trials=trials,
        resources={"gpu": 0.25},
    )  # fmt: skip
    check_all_on_gpu(result)
    most = most_at_once(result)
    require(most == 4, f"{most} trials ran at once, not 4")
    require(result.best_value > 0.9, f"the best accuracy is {result.best_value}")
    say(f"{isolation}: 4 trials at once share the GPU; best accuracy {result.best_value:.3f}")


def clone_weights(storage: Path, address: str) -> None:
    """A population of 8, of which the worst copy the best; weights fit their own width only."""
    scheduler = PBT(max_resource=12, interval=3, mutations=("learning_rate",))
    result = tune(
        storage, address, "pbt", "thread",
        scheduler=scheduler, trials=8, resources={"gpu": 0.25},
    )  # fmt: skip
    check_all_on_gpu(result)
    clones = [fact for fact in result.history.facts if getattr(fact, "source", None) is not None]
    require(bool(clones), "nobody was cloned")
    say(f"thread: PBT cloned {len(clones)} times; best accuracy {result.best_value:.3f}")


def give_more_to_those_that_remain(storage: Path, address: str) -> None:
    """Halving, with one whole GPU to share."""
    scheduler = ResourceChanging(
        base=ASHA(max_resource=9, reduction_factor=3), total={"gpu": 1}
    )  # fmt: skip
    result = tune(
        storage, address, "changing", "process", scheduler=scheduler, trials=6,
        resources={"gpu": 0.25},
    )  # fmt: skip
    check_all_on_gpu(result)
    shares = Counter(r.metrics["share"] for t in result.trials for r in t.reports)
    require(max(shares) > 0.25, f"no trial ever had more than its first share: {shares}")
    say(f"resource_changing: reports by share of the GPU: {dict(sorted(shares.items()))}")


def leave_nothing_behind(before: int) -> None:
    """The processes of trials are gone, and with them what they held."""
    left = memory_in_use()
    # A worker that has run a trial in a thread keeps a CUDA context, some hundred MiB.
    require(left - before < 2048, f"{left - before} MiB are in use after the last trial")
    say(f"memory of the GPU in use: {before} MiB before, {left} MiB after")


def tune(storage: Path, address: str, name: str, isolation: Any, **given: Any) -> Any:
    """Run one study."""
    return tuneflow.tune(
        train,
        space=SPACE,
        metric="accuracy",
        mode="max",
        name=name,
        storage=str(storage),
        searcher="random",
        executor=DaskExecutor(address=address, isolation=isolation, connect_timeout=60),
        progress=False,
        **given,
    )


def check_all_on_gpu(result: Any) -> None:
    """Every report must come from a CUDA device, the only one that its trial saw."""
    require(not result.failed, f"failed: {[str(trial.failure) for trial in result.failed]}")
    reports = [report for trial in result.trials for report in trial.reports]
    require(all(report.metrics["on_gpu"] == 1 for report in reports), "a trial ran on a CPU")
    seen = {report.metrics["devices"] for report in reports}
    require(seen == {1.0}, f"trials saw {seen} devices")


def most_at_once(result: Any) -> int:
    """Return how many segments of a study ran at the same time at most."""
    from tuneflow.outcomes import read_outcome

    store, moments = result.opened.store, []
    for trial in result.trials:
        for segment in range(trial.segment + 1):
            path = f"trials/{trial.number:06d}/segments/{segment:04d}.json"
            data = store.get_many([path])[0]
            outcome = read_outcome(data, path)
            moments += [(outcome.started, 1), (outcome.ended, -1)]
    running, most = 0, 0
    for _, change in sorted(moments):
        running += change
        most = max(most, running)
    return most


@contextmanager
def cluster() -> Iterator[str]:
    """Start a scheduler, and a worker with the machine's first GPU; end both."""
    address = f"tcp://127.0.0.1:{PORT}"
    python = [sys.executable, "-m"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    scheduler = [*python, "distributed.cli.dask_scheduler", "--host", "127.0.0.1"]
    worker = [*python, "dask_cuda.cli", address, "--resources", "GPU=1"]
    commands = [
        [*scheduler, "--port", str(PORT), "--no-dashboard"],
        [*worker, "--nthreads", "4", "--no-dashboard"],
    ]
    started = [subprocess.Popen(command, env=environment) for command in commands]
    try:
        yield address
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(30)


def memory_in_use() -> int:
    """Return the MiB of the GPU's memory that are in use, once they have settled."""
    time.sleep(2)
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return int(subprocess.run(query, capture_output=True, check=True, text=True).stdout.split()[0])


def require(condition: bool, problem: str) -> None:
    """End the run with a sentence unless the condition holds."""
    if not condition:
        raise SystemExit(f"does not hold: {problem}")


def say(line: str) -> None:
    """Tell the user."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
