"""Wait in the triggerer for segments that run on Dask."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from tuneflow.airflow.connection_pool import SharedCluster, shared_cluster
from tuneflow.errors import TuneflowError
from tuneflow.executors.placement import Request
from tuneflow.remote.cluster import ClusterAddress, SchedulerLostError
from tuneflow.remote.orders import SegmentOrder, segment_key
from tuneflow.trial import Report

_PATIENCE = 600.0
"""Seconds to wait for a Dask scheduler that went away while trials ran."""

_SOONEST = 1.0
"""Seconds before an event: Airflow fails a task that is resumed before it has been put to rest."""

_CANCELLING = 20.0
"""Seconds to wait for a cluster at which orders are to be cancelled."""


class SegmentsTrigger(BaseTrigger):
    """Gives orders for segments, and fires when all of them have ended.

    Its event is ``{"error": sentence, "dashboard": URL}``, the sentence empty when nothing went
    wrong; the outcomes are in the store. A triggerer that starts anew gives the same orders, and
    so finds what it watched.

    Args:
        orders: the JSON of each `SegmentOrder`.
        address: the JSON of the cluster's `ClusterAddress`.
        resources: what each trial takes of a worker.
    """

    def __init__(
        self,
        orders: Sequence[Mapping[str, Any]],
        address: Mapping[str, Any],
        resources: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.orders = [SegmentOrder.from_json(order) for order in orders]
        self.address = ClusterAddress.from_json(address)
        self.resources = dict(resources)
        self._dashboard = ""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what Airflow makes the trigger anew from."""
        kwargs = {
            "orders": [order.to_json() for order in self.orders],
            "address": self.address.to_json(),
            "resources": self.resources,
        }
        return f"{type(self).__module__}.{type(self).__qualname__}", kwargs

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Give the orders, and wait until they are carried out."""
        earliest = time.monotonic() + _SOONEST
        error = await self._watch()
        await asyncio.sleep(max(0.0, earliest - time.monotonic()))
        yield TriggerEvent({"error": error, "dashboard": self._dashboard})

    async def on_kill(self) -> None:
        """End the segments: the task was cleared, or marked by a user."""
        keys = [order.key for order in self.orders]
        try:
            async with asyncio.timeout(_CANCELLING):
                async with self._cluster() as cluster:
                    await cluster.cancel(keys)
        except (TuneflowError, TimeoutError) as error:
            self.log.warning("the trials could not be cancelled: %s", error)

    @property
    def _trials(self) -> str:
        numbers = [str(order.trial) for order in self.orders]
        return f"trial{'s' * (len(numbers) > 1)} {', '.join(numbers)}"

    def _cluster(self, patience: float = 0.0) -> AbstractAsyncContextManager[SharedCluster]:
        return shared_cluster(self.address, Request.parse(self.resources), patience=patience)

    async def _watch(self) -> str:
        """Return the first thing that went wrong, or an empty string."""
        patience = 0.0
        while True:
            try:
                async with self._cluster(patience) as cluster:
                    self._dashboard = cluster.dashboard
                    where = cluster.dashboard or self.address.address
                    self.log.info("waiting for %s on Dask: %s", self._trials, where)
                    await self._end_earlier(cluster)
                    errors = await asyncio.gather(*(self._ended(cluster, o) for o in self.orders))
                return self._first(errors)
            except SchedulerLostError as error:
                self.log.warning("%s; waiting for it", error)
                patience = _PATIENCE
            except TuneflowError as error:
                return str(error)

    def _first(self, errors: Sequence[str]) -> str:
        """Return the first error for the task to end with; the log has the others."""
        first, *others = list(filter(None, errors)) or [""]
        for error in others:
            self.log.error(error)
        return first

    async def _end_earlier(self, cluster: SharedCluster) -> None:
        """End what earlier tries of the task have ordered.

        Airflow calls `on_kill` of a trigger only if a triggerer has it: not just after a task was
        deferred, nor when the triggerer is down.
        """
        keys = [
            segment_key(order.study, order.trial, order.segment, attempt)
            for order in self.orders
            for attempt in range(1, order.attempt)
        ]
        if keys:
            await cluster.cancel(keys)

    async def _ended(self, cluster: SharedCluster, order: SegmentOrder) -> str:
        """Have an order carried out; return what went wrong, or an empty string."""
        await cluster.listen(order.key, lambda report: self._heard(order, report))
        try:
            answer = await cluster.result(await cluster.submit(order))
        except SchedulerLostError:
            raise
        except TuneflowError as error:
            return f"trial {order.trial}: {error}"
        finally:
            await cluster.unlisten(order.key)
        if answer["status"] == "abandoned":
            return f"trial {order.trial} was told to end on the Dask cluster"
        return ""

    def _heard(self, order: SegmentOrder, report: Report) -> None:
        metrics = ", ".join(f"{name} {value:.4g}" for name, value in report.metrics.items())
        self.log.info("trial %d at %s: %s", order.trial, report.resource, metrics)
