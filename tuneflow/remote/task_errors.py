"""What Dask says of a task that did not come to its end, as one sentence."""

from __future__ import annotations

from tuneflow.errors import ClusterError


def is_disconnected(error: BaseException) -> bool:
    """Return whether a task was not cancelled, but lost with the connection."""
    reason = getattr(error, "reason", "")
    return reason in ("scheduler-connection-lost", "scheduler-restart")


def explained(error: Exception) -> ClusterError:
    """Return what went wrong on a worker, other than what tuneflow says of it, as a sentence."""
    from distributed.scheduler import KilledWorker

    if isinstance(error, KilledWorker):
        deaths = error.allowed_failures + 1
        return ClusterError(
            f"{deaths} workers died with it, the last one at {error.last_worker.address}; "
            "look for a crash of the training code, or for too little memory"
        )
    return ClusterError(f"its worker could not run it: {type(error).__name__}: {error}")
