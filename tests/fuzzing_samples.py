"""Whole and well-formed things as they lie in a storage, for `tests.fuzzing` to damage."""

from __future__ import annotations

import json
from typing import Any

from blake3 import blake3

from tuneflow.events import Closed, Elapsed, Launched, Opened, Reported, Stopped
from tuneflow.journal import Entry
from tuneflow.jsonio import dumps
from tuneflow.manifest import FileEntry, Manifest, Part
from tuneflow.trial import Failure, Outcome, Report

ENTRY = Entry(
    0,
    (
        Opened(1),
        Launched(0, 0, 3, params={"lr": 0.5, "model": {"kind": "a"}}, bracket=1),
        Launched(1, 0, None, params={"lr": 0.25}, resources={"gpu": 0.5}),
        Reported(
            0, Report(1, {"loss": 0.5, "nan": float("nan")}, "trials/000000/checkpoints/1.json")
        ),
        Reported(0, Report(3, {"loss": 0.25})),
        Closed(0, "paused"),
        Closed(1, "failed", Failure("ValueError", "bad", "Traceback"), retry=True),
        Launched(1, 1, 3, 1, "trials/000000/checkpoints/1.json", source=0, attempt=1),
        Stopped(1, "worse"),
        Elapsed(1.5, 3.0),
    ),
    nonce="0" * 32,
).to_bytes()

OUTCOME = dumps(
    Outcome(
        3,
        1,
        "failed",
        (Report(1, {"loss": 0.5}, "c", 1.0), Report(2, {"loss": float("inf")})),
        Failure("OSError", "no"),
        1.0,
        2.0,
        "w",
    ).to_json()
).encode()

_HASH = blake3(b"abc").hexdigest()
_FILES = (
    FileEntry("a/model.safetensors", (Part(2, _HASH, "0" * 16), Part(1, "1" * 64))),
    FileEntry("b", ()),
)

PLACE = json.dumps(
    {
        "folder": "/home/me",
        "executor": {"type": "dask", "workers": 2},
        "trackers": [{"type": "jsonl", "path": "x"}],
    }
).encode()

_SPACE = {
    "lr": {"type": "float", "low": 1e-5, "high": 1.0, "log": True},
    "layers": {"type": "int", "low": 1, "high": 4},
    "act": {"type": "categorical", "choices": ["relu", "tanh", 3, None]},
    "opt": {
        "type": "branch",
        "key": "name",
        "options": {"adam": {"beta": {"type": "float", "low": 0.0, "high": 0.9}}, "sgd": {}},
    },
    "fixed": 3,
}


def _spec(**more: Any) -> bytes:
    spec = {
        "name": "study",
        "objective": {"function": "train.py:train"},
        "space": _SPACE,
        "metric": "loss",
        "mode": "min",
        "searcher": "random",
        "scheduler": {"type": "asha", "max_resource": 9, "reduction_factor": 3},
        "trials": 10,
        **more,
    }
    return json.dumps(spec, indent=1).encode()


SPECS = [
    _spec(),
    _spec(
        objective={"command": ["train", "--lr", "{lr}"], "env": {"A": "{act}"}, "timeout": 3},
        metric=["loss", "latency"],
        mode=["min", "min"],
        constraints=["latency <= 3"],
        budget={"wall_clock": 60, "plateau": {"segments": 5}},
        stop=[{"type": "trial_plateau", "metric": "loss"}],
        resources={"cpu": 1, "gpu": 0.5, "memory": "2GB"},
        round_size=4,
        scheduler={"type": "pbt", "interval": 2, "max_resource": 8, "population": 4},
        checkpoints={"every": 2, "keep": {"last": 1}},
    ),
]


def with_checksum(content: Any) -> bytes:
    """Return a manifest of any content, with the checksum that belongs to it."""
    if not isinstance(content, dict):
        return dumps(content).encode()
    content.pop("checksum", None)
    return dumps({**content, "checksum": blake3(dumps(content).encode()).hexdigest()}).encode()


MANIFESTS = [
    Manifest(3, _FILES, ({"resource": 3, "metrics": {"loss": 1.0}},)).to_bytes(),
    with_checksum(
        {
            "version": 1,
            "resource": 3,
            "files": [{"path": "a/model.bin", "size": 3, "hash": _HASH}],
            "reports": [],
        }
    ),
]
