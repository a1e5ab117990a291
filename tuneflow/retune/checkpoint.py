"""The checkpoint of a champion."""

from __future__ import annotations

from pathlib import Path

from tuneflow.checkpoints import Checkpoints
from tuneflow.errors import SpecError
from tuneflow.retune.records import Champion
from tuneflow.store import Store

_TRIALS = "/trials/"


def download_checkpoint(champion: Champion, target: Path) -> None:
    """Download a champion's checkpoint.

    Args:
        champion: the champion.
        target: a folder that is new or empty.

    Raises:
        SpecError: the champion has no checkpoint, or the folder is not empty.
        NotFound: the checkpoint is gone.
        CheckpointCorruptError: it is not what was stored.
    """
    if champion.checkpoint is None:
        problem = "the champion has no checkpoint: its trials saved none"
        raise SpecError("checkpoint", problem)
    study, _, reference = champion.checkpoint.rpartition(_TRIALS)
    Checkpoints(Store(study)).restore(f"{_TRIALS.strip('/')}/{reference}", target)
