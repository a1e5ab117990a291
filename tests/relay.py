"""A study that one place after the other takes up from the one before it."""

from __future__ import annotations

NAME = "relay"

STUDY = {
    "space": {"rate": {"type": "float", "low": 0.1, "high": 0.9}},
    "metric": "loss",
    "mode": "min",
    "searcher": "random",
    "scheduler": {"type": "successive_halving", "max_resource": 9, "reduction_factor": 3},
    "seed": 7,
    "round_size": "all",
}
"""What a study file, a flow and a DAG are told; the objective is ``train.py:train`` for each."""
