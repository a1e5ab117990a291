"""Train a linear model on scikit-learn's handwritten digits: accurate, or with few weights.

An L1 penalty sets weights to zero. A model with fewer of them is smaller and quicker, and less
accurate; a study of both metrics finds what can be had for what.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split


def train(config: dict[str, Any]) -> dict[str, float]:
    """Train once and return the validation accuracy, and how many weights are left."""
    images, labels = load_digits(return_X_y=True)
    x_train, x_valid, y_train, y_valid = train_test_split(
        images / 16.0, labels, test_size=0.25, random_state=0, stratify=labels
    )
    model = SGDClassifier(
        loss=config["loss"],
        penalty="elasticnet",
        alpha=config["alpha"],
        l1_ratio=config["l1_ratio"],
        max_iter=60,
        random_state=config.get("seed", 0),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x_train, y_train)
    return {
        "accuracy": float(model.score(x_valid, y_valid)),
        "weights": float(np.count_nonzero(model.coef_)),
    }


if __name__ == "__main__":
    print(train({"loss": "log_loss", "alpha": 1e-3, "l1_ratio": 0.9}))
