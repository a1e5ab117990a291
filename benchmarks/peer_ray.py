"""Ray Tune's side of the benchmarks: ``python peer_ray.py CASE`` prints one line of JSON.

Ray is given what makes it fastest here: reused actors, no dashboard, no output. Its figures are
timed inside ``fit()``, without ``ray.init()``, except where the start is what is measured.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

T0 = float(os.environ.get("BENCH_T0", time.time()))
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "0")

import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray.tune.schedulers import ASHAScheduler  # noqa: E402


def trivial(config: dict[str, Any]) -> None:
    """Report a value at once."""
    tune.report({"loss": (config["x"] - 2) ** 2})


def marked(config: dict[str, Any]) -> None:
    """Note when the first trial got to run."""
    Path(config["mark"]).write_text(repr(time.time()))
    tune.report({"loss": config["x"]})


def curve(config: dict[str, Any]) -> None:
    """Report 81 times without doing anything."""
    for step in range(1, 82):
        tune.report({"loss": config["x"] / step})


def many(config: dict[str, Any]) -> None:
    """Report 10,000 times and say how long that took."""
    begun = time.perf_counter()
    for step in range(9_999):
        tune.report({"loss": 1.0 / (step + 1), "seconds": 0.0})
    tune.report({"loss": 0.0, "seconds": time.perf_counter() - begun})


def fit(train: Any, folder: str, trials: int, reuse: bool = True, **options: Any) -> Any:
    """Run an experiment, two trials at a time, and return its results and its seconds."""
    space = options.pop("space", {"x": tune.uniform(-10, 10)})
    begun = time.perf_counter()
    results = tune.Tuner(
        train,
        param_space=space,
        tune_config=tune.TuneConfig(
            metric="loss",
            mode="min",
            num_samples=trials,
            max_concurrent_trials=2,
            reuse_actors=reuse,
            **options,
        ),
        run_config=tune.RunConfig(name="bench", storage_path=folder, verbose=0),
    ).fit()
    return results, time.perf_counter() - begun


def case_trials(folder: str) -> dict[str, float]:
    """Trivial trials, two at a time, with actors reused."""
    _, seconds = fit(trivial, folder, 300)
    return {"trials_per_s": 300 / seconds}


def case_trials_default(folder: str) -> dict[str, float]:
    """Trivial trials, two at a time, as Ray does by default."""
    _, seconds = fit(trivial, folder, 20, reuse=False)
    return {"trials_per_s": 20 / seconds}


def case_asha(folder: str) -> dict[str, float]:
    """200 trials of up to 81 reports each under ASHA."""
    scheduler = ASHAScheduler(max_t=81, grace_period=1, reduction_factor=3)
    results, seconds = fit(curve, folder, 200, scheduler=scheduler)
    reports = sum(result.metrics["training_iteration"] for result in results)
    return {"reports_per_s": reports / seconds, "reports": reports}


def case_report(folder: str) -> dict[str, float]:
    """10,000 reports inside one trial."""
    results, _ = fit(many, folder, 1)
    return {"us_per_report": results[0].metrics["seconds"] / 10_000 * 1e6}


def case_first(folder: str) -> dict[str, float]:
    """From the launch of the process to the first line of the first trial."""
    mark = str(Path(folder) / "mark")
    fit(marked, folder, 1, space={"x": 1.0, "mark": mark})
    return {"first_report_s": float(Path(mark).read_text()) - T0}


def case_restore(folder: str) -> dict[str, float]:
    """Restore an experiment of 1,000 finished trials, and go on: there is nothing to do."""
    fit(trivial, folder, 1000)
    begun = time.perf_counter()
    tuner = tune.Tuner.restore(str(Path(folder) / "bench"), trivial)
    if len(tuner.get_results()) != 1000:
        sys.exit("trials are missing")
    opened = time.perf_counter()
    tuner.fit()
    return {"open_s": opened - begun, "resume_s": time.perf_counter() - opened}


def main() -> None:
    """Run the case that the command line names."""
    with tempfile.TemporaryDirectory(prefix="ray-bench-") as folder:
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            _node_ip_address="127.0.0.1",
            _temp_dir=tempfile.mkdtemp(prefix="ray", dir="/tmp"),
        )
        figures = globals()[f"case_{sys.argv[1]}"](folder)
        ray.shutdown()
    print("RESULT", json.dumps(figures))


if __name__ == "__main__":
    main()
