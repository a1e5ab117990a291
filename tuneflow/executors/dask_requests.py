"""What each segment takes of a worker, and what its task asks of Dask for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuneflow.executors.dask_cluster import demands
from tuneflow.executors.placement import Request
from tuneflow.trial import Segment

if TYPE_CHECKING:
    from distributed import Client


class Requests:
    """Knows the usual request of a study, and the segments that have one of their own.

    Args:
        client: of the cluster.
        usual: what a segment takes that does not say.
    """

    def __init__(self, client: Client, usual: Request) -> None:
        self._client = client
        self._usual = usual
        self._demands: dict[Request, dict[str, float]] = {}
        self._special: set[tuple[int, int]] = set()

    @property
    def differ(self) -> bool:
        """Whether there is a segment that takes something else than the usual."""
        return bool(self._special)

    def of(self, segment: Segment) -> Request:
        """Return what a segment takes."""
        return self._usual.changed(segment.resources)

    def began(self, segment: Segment) -> None:
        """Take note of a segment."""
        if segment.resources is not None:
            self._special.add(segment.key)

    def ended(self, segment: Segment) -> None:
        """Take note that a segment has ended, or was taken back."""
        self._special.discard(segment.key)

    def demands(self, request: Request) -> dict[str, float] | None:
        """Return the Dask resources that a task asks for, or None."""
        if request not in self._demands:
            self._demands[request] = demands(self._client, request)
        return self._demands[request] or None
