"""Train a small neural network on scikit-learn's handwritten digits.

Nothing here belongs to tuneflow but two calls: `tuneflow.checkpoint()` and `tuneflow.report()`.
Run outside of a study they do nothing, so ``python train.py`` trains a single model.
"""

from __future__ import annotations

from typing import Any

import joblib
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import tuneflow

EPOCHS = 81


def train(config: dict[str, Any]) -> None:
    """Train for up to 81 epochs and report the validation accuracy after each."""
    images, labels = load_digits(return_X_y=True)
    x_train, x_valid, y_train, y_valid = train_test_split(
        images / 16.0, labels, test_size=0.25, random_state=config.get("seed", 0), stratify=labels
    )
    model = MLPClassifier(
        hidden_layer_sizes=(config["width"],) * config["depth"],
        activation=config["activation"],
        alpha=config["alpha"],
        batch_size=config["batch_size"],
        learning_rate_init=config["learning_rate"],
        random_state=config.get("seed", 0),
    )
    epoch = 0
    saved = tuneflow.checkpoint()
    if saved is not None:
        # Our own file in a format of our choice: tuneflow stores it and never opens it.
        model, epoch = joblib.load(saved / "model.joblib")
    while epoch < EPOCHS:
        model.partial_fit(x_train, y_train, classes=range(10))
        epoch += 1
        tuneflow.report(
            accuracy=model.score(x_valid, y_valid),
            loss=model.loss_,
            resource=epoch,
            checkpoint=lambda folder, state=(model, epoch): joblib.dump(
                state, folder / "model.joblib"
            ),
        )


if __name__ == "__main__":
    train(
        {
            "width": 64,
            "depth": 1,
            "activation": "relu",
            "alpha": 1e-4,
            "batch_size": 64,
            "learning_rate": 1e-3,
        }
    )
