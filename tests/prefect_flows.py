"""Flows that tests serve or run in processes of their own; a folder beside says how they behave.

The environment variable TESTED_FOLDER names it: the steps of trials are noted in it, and there
trials can be held (see `tests.end_to_end`). TESTED_STORAGE says where the studies are.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests import trainer
from tuneflow.prefect import tune_flow
from tuneflow.schedulers import SuccessiveHalving
from tuneflow.space import Float

FOLDER = Path(os.environ["TESTED_FOLDER"])


@tune_flow(
    space={"rate": Float(0.1, 0.9)},
    metric="loss",
    mode="min",
    searcher="random",
    scheduler=SuccessiveHalving(max_resource=9, reduction_factor=3, n_trials=9),
    trials=9,
    storage=os.environ["TESTED_STORAGE"],
    task_runner=os.environ.get("TESTED_CLUSTER"),
    trial_retry_delay=0,
)
def tested(config):
    """Learn as `tests.trainer.train` does."""
    yield from trainer.learn(config, FOLDER)


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        tested.serve("served")
    else:
        tested()
