"""Population based training as a pipeline, with the training code in the DAG itself.

A population of linear classifiers learns side by side. After every five epochs, which are a stage,
the worst copy the checkpoint of one of the best and explore other learning rates from there; their
tasks then say ``cloned from trial 3``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from airflow.sdk import dag, task

from tuneflow.schedulers import PBT
from tuneflow.space import Float

# Airflow and the Dask workers must both reach it: s3://, gs://, az://, or a shared folder.
HOME = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser()
STORAGE = os.environ.get("TUNEFLOW_STORAGE", f"{HOME}/tuneflow-results")


@dag(schedule=None, tags=["tuneflow"])
def tune_pbt() -> None:
    """Train a population of six for 20 epochs each."""

    @task.tune(
        space={"eta": Float(1e-4, 1.0, log=True), "alpha": Float(1e-6, 1e-1, log=True)},
        metric="accuracy",
        mode="max",
        searcher="random",
        # Synchronous: all members are compared at the same epoch. That is what makes rounds.
        scheduler=PBT(max_resource=20, interval=5, synchronous=True),
        trials=6,
        storage=STORAGE,
        # A run goes on with the study of the last one, so one that has finished is not repeated.
        existing="resume",
    )
    def train(config: dict[str, Any]) -> Iterator[Any]:
        # Imported on the Dask workers, when the function is called there; never by Airflow.
        import joblib
        from sklearn.datasets import load_digits
        from sklearn.linear_model import SGDClassifier

        import tuneflow

        images, labels = load_digits(return_X_y=True)
        images /= 16
        model = SGDClassifier(learning_rate="constant", random_state=0)
        saved = tuneflow.checkpoint()
        if saved is not None:
            model = joblib.load(saved / "model.joblib")
        # A copy takes over the weights of another, but goes on with parameters of its own.
        model.set_params(eta0=config["eta"], alpha=config["alpha"])
        while True:
            model.partial_fit(images[:1200], labels[:1200], classes=range(10))
            accuracy = model.score(images[1200:], labels[1200:])
            yield {"accuracy": accuracy}, lambda folder: joblib.dump(model, folder / "model.joblib")

    train()


tune_pbt()
