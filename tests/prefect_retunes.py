"""A retune that tests run in their own process, in another one, or have served.

The environment variable TESTED_FOLDER names a folder in which the file "best" says which option is
the best with the data of the day. The trials take notes there of their options and seeds, and of
their processes, and can be held (see `tests.end_to_end`). TESTED_STORAGE says where retunes are.
"""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from pathlib import Path

from prefect.events import DeploymentEventTrigger

from tests import trainer
from tests.end_to_end import notes
from tuneflow.prefect import retune_flow
from tuneflow.prefect.retune_events import DRIFTED
from tuneflow.space import Categorical

NEW_DATA = "tests.data.arrived"
LINE = "weekly"

RETUNE = {
    "name": LINE,
    "space": {"option": Categorical(("a", "b", "c")), "day": "{data_version}"},
    "metric": "loss",
    "mode": "min",
    "searcher": "grid",
    "seeds": 3,
    "points": 0,
    "trial_retries": 0,
    "max_concurrent": 3,
}
"""Arguments of `retune_flow`; for `chooses`."""


class Data:
    """The data of the day.

    Args:
        folder: where they are.
        storage: where retunes are.
    """

    def __init__(self, folder, storage):
        self.folder = folder
        self.storage = storage

    def come(self, best):
        """Let data come in with which an option is the best; "nothing" cannot be trained with."""
        (self.folder / "best").write_text(best)

    @property
    def trained(self):
        """How often each option has been trained with each seed."""
        return Counter(map(tuple, notes(self.folder)))


def chooses(folder):
    """Return an objective that is best with the option that the data name."""

    def train(config):
        option, seed = config["option"], config["seed"]
        trainer.note(folder / "processes", os.getpid())
        trainer.note(folder / "steps", option, seed)
        trainer.wait_at_limit(folder)
        best = (folder / "best").read_text()
        if best == "nothing":
            raise RuntimeError("there are no data")
        noise = random.Random(f"{option} {seed}").uniform(0, 0.01)
        return noise + (0.2 if option == best else 0.5)

    return train


if "TESTED_FOLDER" in os.environ:
    FOLDER = Path(os.environ["TESTED_FOLDER"])
    STORAGE = os.environ["TESTED_STORAGE"]

    @retune_flow(storage=STORAGE, **RETUNE)
    def weekly(config):
        """Retune in a process of its own."""
        return chooses(FOLDER)(config)


def triggers():
    """Return what begins a run of the served flow."""
    line = f"{STORAGE}/{LINE}"
    return [
        DeploymentEventTrigger(
            name="drift",
            expect={DRIFTED},
            match={"prefect.resource.id": line},
            parameters={"trigger": "drift"},
        ),
        DeploymentEventTrigger(name="data", expect={NEW_DATA}),
    ]


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        weekly.serve("retuned", triggers=triggers())
    else:
        weekly(run=sys.argv[1])
