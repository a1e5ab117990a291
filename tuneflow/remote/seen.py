"""Whether workers see a study's storage: the one thing that a cluster cannot do without."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol

from tuneflow.errors import SpecError, StudyNotFoundError
from tuneflow.opened import SPEC_PATH
from tuneflow.store_urls import local_root, normalise


class Workers(Protocol):
    """The workers of a cluster, as far as they are asked anything here."""

    def ask(self, function: Callable[..., Any], *args: Any) -> dict[str, Any]:
        """Return what a function says on each of them."""


def check_storage(storage: str) -> None:
    """Raise SpecError for a storage that no other process can see."""
    url = normalise(storage)
    if url.startswith("memory://"):
        raise SpecError(
            "storage",
            f"'{url}' is seen by this process only",
            "give one that all workers reach, such as s3://… or a shared folder",
        )


def check_seen(workers: Workers, url: str) -> None:
    """Raise StudyNotFoundError unless all workers see a study that lies in a folder."""
    root = local_root(url)
    if root is None:
        return
    for worker, sees in workers.ask(os.path.exists, str(root / SPEC_PATH)).items():
        if not sees:
            raise unseen_by(worker, url)


def unseen_by(worker: str, url: str) -> StudyNotFoundError:
    """Return the error of a worker that finds no study at a URL."""
    return StudyNotFoundError(
        f"the worker {worker} finds no study at {url}; give the study a storage "
        "that all workers reach, such as s3://… or a shared folder"
    )
