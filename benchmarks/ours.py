"""tuneflow's side of the benchmarks: ``python ours.py CASE`` prints one line of JSON.

Each case is a process of its own. ``BENCH_T0`` is when that process was launched, in seconds
since the epoch.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

T0 = float(os.environ.get("BENCH_T0", time.time()))


def trivial(config: dict[str, Any]) -> float:
    """Return a value at once."""
    return (config["x"] - 2) ** 2


def marked(config: dict[str, Any]) -> float:
    """Note when the first trial got to run."""
    Path(config["mark"]).write_text(repr(time.time()))
    return config["x"]


def curve(config: dict[str, Any]) -> None:
    """Report 81 times without doing anything."""
    import tuneflow

    for step in range(1, 82):
        tuneflow.report(loss=config["x"] / step)


def many(config: dict[str, Any]) -> None:
    """Report 10,000 times and say how long that took."""
    import tuneflow

    begun = time.perf_counter()
    count = 10_000
    for step in range(count - 1):
        tuneflow.report(loss=1.0 / (step + 1), seconds=0.0)
    tuneflow.report(loss=0.0, seconds=time.perf_counter() - begun)


def tune(train: Any, folder: str, name: str, **options: Any) -> Any:
    """Run a study on a local cluster of two worker processes."""
    import tuneflow

    settings = {
        "space": {"x": tuneflow.space.uniform(-10, 10)},
        "metric": "loss",
        "mode": "min",
        "searcher": "random",
        "progress": False,
        **options,
    }
    return tuneflow.tune(train, storage=folder, name=name, **settings)


def _require(condition: bool, problem: str) -> None:
    if not condition:
        sys.exit(problem)


class Timed:
    """Times a study without the start of its cluster, as the peers' figures are timed."""

    def __init__(self, workers: int = 2) -> None:
        from tuneflow.executors import DaskExecutor

        self.executor = DaskExecutor(workers=workers)
        self.began = 0.0
        self.ended = 0.0
        self.reports = 0

    def __call__(self, history: Any, facts: Any) -> None:
        """Observe a commit."""
        from tuneflow.events import Reported

        self.began = self.began or time.perf_counter()
        self.ended = time.perf_counter()
        self.reports += sum(isinstance(fact, Reported) for fact in facts)

    @property
    def seconds(self) -> float:
        """From the first commit to the last."""
        return self.ended - self.began


def case_trials(folder: str) -> dict[str, float]:
    """1,000 trivial trials, two at a time."""
    timed = Timed()
    tune(trivial, folder, "trials", trials=1000, executor=timed.executor, observers=[timed])
    return {"trials_per_s": 1000 / timed.seconds}


def case_asha(folder: str) -> dict[str, float]:
    """200 trials of up to 81 reports each under ASHA, two at a time."""
    import tuneflow

    timed = Timed()
    tune(
        curve,
        folder,
        "asha",
        trials=200,
        executor=timed.executor,
        observers=[timed],
        scheduler=tuneflow.schedulers.ASHA(max_resource=81, reduction_factor=3, variant="stopping"),
    )
    return {"reports_per_s": timed.reports / timed.seconds, "reports": timed.reports}


def case_promotion(folder: str) -> dict[str, float]:
    """The same under the promotion form, which pauses trials instead of running ahead."""
    import tuneflow

    timed = Timed()
    tune(
        curve,
        folder,
        "promotion",
        trials=200,
        executor=timed.executor,
        observers=[timed],
        scheduler=tuneflow.schedulers.ASHA(max_resource=81, reduction_factor=3),
    )
    return {"reports_per_s": timed.reports / timed.seconds, "reports": timed.reports}


def case_report(folder: str) -> dict[str, float]:
    """10,000 reports inside one trial."""
    result = tune(many, folder, "report", trials=1, executor="dask")
    seconds = result.trials[0].latest("seconds")
    return {"us_per_report": seconds / 10_000 * 1e6}


def case_first(folder: str) -> dict[str, float]:
    """From the launch of the process to the first line of the first trial."""
    mark = str(Path(folder) / "mark")
    tune(marked, folder, "first", trials=1, executor="dask", space={"x": 1.0, "mark": mark})
    return {"first_report_s": float(Path(mark).read_text()) - T0}


def case_restore(folder: str) -> dict[str, float]:
    """Open a study of 1,000 finished trials, and go on with it: there is nothing to do."""
    import tuneflow

    tune(trivial, folder, "restore", trials=1000, executor="inline")
    begun = time.perf_counter()
    result = tuneflow.load(f"{folder}/restore")
    opened = time.perf_counter()
    _require(len(result.trials) == 1000, f"{len(result.trials)} trials")
    tuneflow.resume(f"{folder}/restore", trivial, progress=False)
    return {"open_s": opened - begun, "resume_s": time.perf_counter() - opened}


def case_import(folder: str) -> dict[str, float]:
    """``import tuneflow``, and what it brings in."""
    begun = time.perf_counter()
    import tuneflow  # noqa: F401

    seconds = time.perf_counter() - begun
    heavy = {"dask", "distributed", "optuna", "airflow", "prefect", "numpy"} & set(sys.modules)
    _require(not heavy, f"imports {heavy}")
    return {"import_ms": seconds * 1e3}


def case_memory(folder: str) -> dict[str, float]:
    """Peak memory of the driver at 10,000 trials, its cluster's workers aside."""
    timed = Timed()
    tune(trivial, folder, "memory", trials=10_000, executor=timed.executor, observers=[timed])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"driver_mb": peak / 1e3, "trials_per_s": 10_000 / timed.seconds}


def case_machine(folder: str) -> dict[str, float]:
    """The pure machine under ASHA: facts in, decisions out, nothing else."""
    from tuneflow.history import History
    from tuneflow.recording import record_outcome, record_report
    from tuneflow.schedulers import ASHA
    from tuneflow.searchers import Random
    from tuneflow.space import Space, uniform
    from tuneflow.study import Study, decide
    from tuneflow.trial import Outcome, Report

    study = Study(
        name="machine",
        space=Space({"x": uniform(0, 1)}),
        metric="loss",
        mode="min",
        searcher=Random(),
        scheduler=ASHA(max_resource=81, reduction_factor=3),
        trials=5_000,
    )
    history: History = study.history()
    reports = 0
    begun = time.perf_counter()
    decide(study, history, 64)
    while history.running:
        segment = next(history.open_segments())
        start = int(history.trials[segment.trial].resource)
        for level in range(start + 1, int(segment.until or 1) + 1):
            loss = segment.params["x"] + 1 / level
            record_report(history, segment.trial, segment.segment, Report(level, {"loss": loss}))
            reports += 1
        record_outcome(study, history, Outcome(segment.trial, segment.segment, "paused"))
        decide(study, history, 64)
    return {"reports_per_s": reports / (time.perf_counter() - begun), "reports": reports}


def _simulated(folder: str, trials: int) -> float:
    import tuneflow

    begun = time.perf_counter()
    tuneflow.tune(
        lambda config, level: config["x"] + 1 / level,
        space={"x": tuneflow.space.uniform(0, 1)},
        metric="loss",
        mode="min",
        searcher="random",
        scheduler=tuneflow.schedulers.ASHA(max_resource=27, reduction_factor=3),
        trials=trials,
        storage=f"memory://bench-{trials}",
        executor=tuneflow.executors.SimulatedExecutor(workers=64),
        progress=False,
        name="simulated",
    )
    return (time.perf_counter() - begun) / trials


def case_simulated(folder: str) -> dict[str, float]:
    """A simulated study of 1,000 trials, and one of 100,000: time for each trial."""
    _simulated(folder, 100)
    small = _simulated(folder, 1_000)
    large = _simulated(folder, 100_000)
    return {"us_at_1000": small * 1e6, "us_at_100000": large * 1e6, "growth": large / small}


def case_requests(folder: str) -> dict[str, float]:
    """Requests to an S3 server for each commit of the journal, counted at the server."""
    from s3_requests import count_requests

    return count_requests(folder)


def main() -> None:
    """Run the case that the command line names."""
    with tempfile.TemporaryDirectory(prefix="tuneflow-bench-") as folder:
        figures = globals()[f"case_{sys.argv[1]}"](folder)
    figures["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print("RESULT", json.dumps(figures))


if __name__ == "__main__":
    main()
