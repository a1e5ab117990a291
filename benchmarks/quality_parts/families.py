"""Which algorithm of ours stands next to which of the others."""

from __future__ import annotations

REFERENCES: dict[str, tuple[str, ...]] = {
    "random": ("optuna/random", "syne/random"),
    "baseline": (),
    "successive_halving": (),
    "asha": (
        "syne_old/asha promotion",
        "ray/asha (default)",
        "ray/asha (best)",
        "syne/asha",
        "optuna/random+halving (default)",
        "optuna/random+halving (best)",
    ),
    "asha_stopping": (
        "ray/asha (default)",
        "ray/asha (best)",
        "syne/asha",
        "optuna/random+halving (default)",
        "optuna/random+halving (best)",
    ),
    "asha_grace": (),
    "hyperband": (
        "hb/hyperband",
        "ray/hyperband",
        "syne_old/hyperband",
        "optuna/random+hyperband",
    ),
    "median": (
        "ray/median (default)",
        "ray/median (best)",
        "syne/median",
        "optuna/random+median",
    ),
    "pbt": ("ray/pbt", "syne/pbt"),
    "pb2": ("ray/pb2",),
    "tpe": ("optuna/tpe",),
    "cmaes": ("optuna/cmaes",),
    "asha+tpe": ("optuna/tpe+halving (best)",),
    "median+tpe": ("optuna/tpe+median (default)",),
    "hyperband+tpe": ("optuna/tpe+hyperband",),
    "bohb": ("hb/bohb", "syne/bohb"),
    "dehb": ("dehb/dehb", "syne_old/dehb"),
    "pasha": ("syne_old/pasha",),
    "cost_asha": ("syne_old/cost promotion",),
}
"""The references of each algorithm; without any it is only listed."""

LINES: tuple[tuple[str, str, bool], ...] = (
    ("tuneflow/random", "#7f7f7f", False),
    ("tuneflow/asha", "#1f77b4", False),
    ("ray/asha (best)", "#1f77b4", True),
    ("tuneflow/hyperband", "#2ca02c", False),
    ("hb/hyperband", "#2ca02c", True),
    ("tuneflow/hyperband+tpe", "#9467bd", False),
    ("optuna/tpe+hyperband", "#9467bd", True),
    ("tuneflow/bohb", "#d62728", False),
    ("hb/bohb", "#d62728", True),
    ("tuneflow/dehb", "#ff7f0e", False),
    ("dehb/dehb", "#ff7f0e", True),
)
"""What is drawn: the algorithm, its colour, and whether its line is dashed."""
