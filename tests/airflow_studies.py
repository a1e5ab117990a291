"""Studies that the tests of a whole Airflow run as DAGs, and once more without it."""

from __future__ import annotations

import random
import time

import tuneflow
from tests import trainer
from tuneflow.schedulers import ASHA, FIFO, SuccessiveHalving
from tuneflow.searchers import Optuna
from tuneflow.space import Categorical, Constant, Float, Int, loguniform

RATE = {"rate": Float(0.1, 0.9)}
LOSS = {"metric": "loss", "mode": "min", "searcher": "random"}
HALVING = SuccessiveHalving(max_resource=9, reduction_factor=3)
TRADES = {
    "metric": ["error", "size"],
    "mode": ["min", "min"],
    "constraints": ["heat <= 0.4"],
    "space": RATE,
    "searcher": Optuna(sampler="nsgaii", options={"population_size": 4}),
    "trials": 8,
    "seed": 3,
}

STUDIES = {
    "rungs": {**LOSS, "space": RATE, "scheduler": HALVING, "seed": 3},
    "kills": {**LOSS, "space": RATE, "scheduler": HALVING, "seed": 5},
    "idle": {**LOSS, "space": RATE, "trials": 40},
    "again": {**LOSS, "space": RATE, "scheduler": FIFO(max_resource=3), "trials": 3},
    "hundred": {
        **LOSS,
        "space": {
            "learning_rate": loguniform(1e-5, 1e-1),
            "layers": Int(1, 12),
            "dropout": Float(0.0, 0.7),
            "optimizer": Categorical(("sgd", "adam", "adamw", "rmsprop")),
            "rate": Float(0.0, 1.0),
        },
        "trials": 100,
    },
    "whole": {
        **LOSS,
        "space": RATE,
        "scheduler": ASHA(max_resource=9, reduction_factor=3),
        "trials": 9,
    },
    "trades": {**TRADES, "round_size": 4},
    "trades_streaming": TRADES,
}
"""Arguments of `tuneflow.tune`, and of `tune_task_group`, by the DAG's name."""

RETUNE = {
    "space": {
        "option": Categorical(("a", "b", "c")),
        "day": Constant("{{ dag_run.run_after | ds }}"),
    },
    "metric": "loss",
    "mode": "min",
    "searcher": "grid",
    "seeds": 3,
    "points": 0,
}
"""Arguments of `retune_task_group`; for `chooses`."""

PAUSE = 10.0
"""Seconds that `pauses` takes once the gate is open."""


def learns(folder):
    """Return an objective that takes its notes in a folder; see `tests.trainer.learn`."""

    def train(config):
        yield from trainer.learn(config, folder)

    return train


def pauses(folder):
    """Return an objective that takes its time, once the file 'go' is in a folder."""

    def train(config):
        trainer.note(folder / "begun", tuneflow.current_trial().number)
        while not (folder / "go").exists():
            time.sleep(0.05)
        time.sleep(PAUSE)
        return config["rate"]

    return train


def chooses(folder):
    """Return an objective that is best with the option that the file 'best' in a folder names.

    It takes notes of the options and seeds that it has trained with.
    """

    def train(config):
        best = (folder / "best").read_text()
        option, seed = config["option"], config["seed"]
        trainer.note(folder / "trained", option, seed)
        noise = random.Random(f"{option} {seed}").uniform(0, 0.01)
        return noise + (0.2 if option == best else 0.5)

    return train


def is_trivial(config):
    """Return a value at once."""
    return config["rate"]


def trades(config):
    """Return two metrics of which none gets better without the other getting worse."""
    rate = config["rate"]
    return {"error": (1 - rate) ** 2, "size": rate**2, "heat": rate}


def run_inline(name, train, storage):
    """Run a study in rounds, in this process; return its URL."""
    options = {"round_size": "all", "executor": "inline", "progress": False}
    return tuneflow.tune(train, name=name, storage=storage, **{**options, **STUDIES[name]}).url
