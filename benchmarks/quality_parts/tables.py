"""Real problems, answered from tables of learning curves that were measured once.

A configuration is answered with the curve of the nearest one in the table, in the unit cube of
the axes; so these are tabular surrogates, without noise. The tables are made with scikit-learn on
data that it ships:

    python -m benchmarks.quality_parts.tables build/quality
"""

from __future__ import annotations

import json
import math
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.quality_parts.problems import Axis, Problem
from tuneflow.rng import generator
from tuneflow.searchers.base import sampled

SEED = 20
Curve = list[float]


class Table(Problem):
    """A problem of which some hundred configurations are known at every level."""

    noisy = False
    size: ClassVar[int] = 600

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"{self.name}.json"
        self._nearest: dict[tuple[float, ...], Curve] = {}

    @cached_property
    def _rows(self) -> list[tuple[tuple[float, ...], Curve]]:
        rows = json.loads(self._path.read_text())
        return [(self._unit(point), curve) for point, curve in rows]

    @cached_property
    def best(self) -> float:  # type: ignore[override]
        """The best value at the full resource in the table."""
        return min(curve[-1] for _, curve in self._rows)

    def at(self, point: Sequence[float], fidelity: float) -> float:
        """Return the value of the nearest configuration in the table."""
        key = tuple(point)
        curve = self._nearest.get(key)
        if curve is None:
            unit = self._unit(key)
            _, curve = min(self._rows, key=lambda row: math.dist(row[0], unit))
            self._nearest[key] = curve
        return curve[max(round(fidelity * self.resource), 1) - 1]

    def _unit(self, point: Sequence[float]) -> tuple[float, ...]:
        return tuple(axis.unit(x) for axis, x in zip(self.axes, point, strict=True))

    def configurations(self) -> list[dict[str, Any]]:
        """Return the configurations of the table, drawn at random."""
        return [
            self.space.build(sampled(generator(SEED, self.name, number)))
            for number in range(self.size)
        ]

    def make(self) -> None:
        """Measure the table and write it, unless it is there."""
        if self._path.exists():
            return
        learn = self.learner()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rows = [(self.point(config), learn(config)) for config in self.configurations()]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(rows))

    def learner(self) -> Callable[[Mapping[str, Any]], Curve]:
        """Return what trains a configuration and gives its loss after each unit."""
        raise NotImplementedError


class SGD(Table):
    """A linear classifier on the digits, by stochastic gradient descent; a unit is an epoch.

    The loss is the share of validation images that it gets wrong.
    """

    name = "sgd"
    resource = 27
    axes = (
        Axis("alpha", 1e-7, 1e-1, log=True),
        Axis("eta0", 1e-4, 1.0, log=True),
        Axis("power_t", 0.0, 1.0),
        Axis("l1_ratio", 0.0, 1.0),
    )

    def learner(self) -> Callable[[Mapping[str, Any]], Curve]:
        """Return what trains a configuration for 27 epochs."""
        from sklearn.linear_model import SGDClassifier

        train, train_y, held, held_y = _digits()

        def learn(config: Mapping[str, Any]) -> Curve:
            fixed = {"penalty": "elasticnet", "learning_rate": "invscaling", "random_state": SEED}
            model = SGDClassifier(**config, **fixed)
            return [
                1 - model.partial_fit(train, train_y, classes=range(10)).score(held, held_y)
                for _ in range(self.resource)
            ]

        return learn


class MLP(Table):
    """A network with one hidden layer on the digits; a unit is an epoch.

    The loss is the cross-entropy on the validation images. A wide layer takes longer, and so do
    small batches; the cost follows a formula, not a measurement.
    """

    name = "mlp"
    resource = 27
    size = 400
    axes = (
        Axis("hidden", 4, 64, log=True, integer=True),
        Axis("learning_rate_init", 1e-4, 1e-1, log=True),
        Axis("alpha", 1e-6, 1e-1, log=True),
        Axis("batch_size", 32, 512, log=True, integer=True),
        Axis("beta_1", 0.5, 0.99),
    )

    def cost(self, config: Mapping[str, Any]) -> float:
        """Return seconds that grow from about 0.4 to 2 with the width and with more batches."""
        return float(0.3 + config["hidden"] / 64 + 22 / config["batch_size"])

    def learner(self) -> Callable[[Mapping[str, Any]], Curve]:
        """Return what trains a configuration for 27 epochs."""
        from sklearn.metrics import log_loss
        from sklearn.neural_network import MLPClassifier

        train, train_y, held, held_y = _digits()

        def learn(config: Mapping[str, Any]) -> Curve:
            known = {"hidden_layer_sizes": (config["hidden"],), "random_state": SEED}
            rest = {key: value for key, value in config.items() if key != "hidden"}
            model = MLPClassifier(**known, **rest)
            curve = []
            for _ in range(self.resource):
                model.partial_fit(train, train_y, classes=range(10))
                curve.append(float(log_loss(held_y, model.predict_proba(held))))
            return curve

        return learn


class Boosting(Table):
    """Gradient boosting on the breast cancer data; a unit is three trees.

    The loss is the cross-entropy on the validation rows.
    """

    name = "boosting"
    resource = 27
    axes = (
        Axis("learning_rate", 1e-3, 1.0, log=True),
        Axis("max_depth", 1, 6, integer=True),
        Axis("subsample", 0.3, 1.0),
        Axis("max_features", 0.1, 1.0),
        Axis("min_samples_leaf", 1, 50, log=True, integer=True),
    )

    def learner(self) -> Callable[[Mapping[str, Any]], Curve]:
        """Return what grows 81 trees and measures after every third."""
        from sklearn.datasets import load_breast_cancer
        from sklearn.ensemble import GradientBoostingClassifier
        from sklearn.metrics import log_loss
        from sklearn.model_selection import train_test_split

        rows, labels = load_breast_cancer(return_X_y=True)
        train, held, train_y, held_y = train_test_split(
            rows, labels, test_size=0.35, random_state=SEED, stratify=labels
        )

        def learn(config: Mapping[str, Any]) -> Curve:
            model = GradientBoostingClassifier(
                n_estimators=3 * self.resource, random_state=SEED, **config
            )
            stages = list(model.fit(train, train_y).staged_predict_proba(held))
            return [float(log_loss(held_y, stage)) for stage in stages[2::3]]

        return learn


def _digits() -> tuple[Any, Any, Any, Any]:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    train, held, train_y, held_y = train_test_split(
        images / 16, labels, test_size=0.35, random_state=SEED, stratify=labels
    )
    return train, train_y, held, held_y


TABLES: tuple[type[Table], ...] = (SGD, MLP, Boosting)


def make_all(folder: Path) -> None:
    """Measure all tables that are not there yet."""
    for kind in TABLES:
        kind(folder).make()
        print(f"{kind.name}: ready", file=sys.stderr, flush=True)


if __name__ == "__main__":
    make_all(Path(sys.argv[1]))
