"""Watches the driver of a study from the triggerer, and orders it again when it is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from tuneflow.airflow.connection_pool import SharedCluster, shared_cluster
from tuneflow.airflow.storage_connection import provide_storage_async
from tuneflow.errors import ClusterError, TuneflowError
from tuneflow.executors.placement import Request
from tuneflow.pipeline.progress import Follower, line
from tuneflow.remote.cluster import ClusterAddress
from tuneflow.remote.ends import PATIENCE, PAUSE, Losses, known_end
from tuneflow.remote.orders import DriverOrder

_EVERY = 5.0
"""Seconds between two looks at the journal."""

_LEAST = 1.5
"""Seconds from the start to an event: Airflow may fail a task whose trigger fires before the
process that deferred it has ended (apache/airflow #72716)."""


class DriverTrigger(BaseTrigger):
    """Has a study driven on Dask, and fires when that is over, or cannot be.

    It may end and be run again at any time, in any triggerer: the order is the same, and attaches
    to the driver that runs. The event is a mapping of ``state`` and ``reason``: those of
    `tuneflow.remote.driver.drive_order`, or "error" and a sentence; and of the ``dashboard``.

    Args:
        order: the JSON of a `DriverOrder`.
        address: the JSON of a `ClusterAddress`.
        resources: what a trial takes of a worker, as the study has it.
        storage_conn_id: the Airflow connection with the credentials for the study, or None.
    """

    def __init__(
        self,
        order: Mapping[str, Any],
        address: Mapping[str, Any],
        resources: Mapping[str, Any],
        storage_conn_id: str | None = None,
    ) -> None:
        super().__init__()
        self.order = DriverOrder.from_json(order)
        self.address = ClusterAddress.from_json(address)
        self.resources = resources
        self.storage_conn_id = storage_conn_id
        self._dashboard = ""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what the trigger is made of, for the database."""
        kwargs = {
            "order": self.order.to_json(),
            "address": self.address.to_json(),
            "resources": dict(self.resources),
            "storage_conn_id": self.storage_conn_id,
        }
        return f"{type(self).__module__}.{type(self).__qualname__}", kwargs

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Watch the driver to its end, and fire once."""
        began = time.monotonic()
        event = await self._end()
        await asyncio.sleep(max(began + _LEAST - time.monotonic(), 0.0))
        yield TriggerEvent({**event, "dashboard": self._dashboard})

    async def on_kill(self) -> None:
        """End the driver and its trials: the user has marked or cleared the task."""
        try:
            async with self._cluster() as cluster:
                await cluster.cancel([self.order.key])
        except TuneflowError as error:
            self.log.warning("The driver could not be ended: %s", error)

    async def _end(self) -> dict[str, str]:
        try:
            await provide_storage_async(self.storage_conn_id, self.order.study)
            follower = await asyncio.to_thread(Follower, self.order.study)
            async with self._telling(follower):
                return await self._driven(follower)
        except TuneflowError as error:
            return {"state": "error", "reason": str(error)}

    async def _driven(self, follower: Follower) -> dict[str, str]:
        """Return the answer of the driver, or of one that followed it."""
        losses, patience = Losses(follower.history.closings), 0.0
        while (end := known_end(self.order, follower.study, follower.history)) is None:
            async with self._cluster(patience) as cluster:
                try:
                    return await self._answer(cluster)
                except ClusterError as error:
                    lost = error
            await asyncio.to_thread(follower.refresh)
            losses.note(lost, follower.history.closings)
            self.log.warning("The driver is lost and will be ordered again: %s", lost)
            patience = PATIENCE
            await asyncio.sleep(PAUSE)
        return end

    async def _answer(self, cluster: SharedCluster) -> dict[str, str]:
        self._dashboard = cluster.dashboard
        where = self._dashboard or self.address.address
        self.log.info("The study %s is driven on Dask: %s", self.order.study, where)
        answer = await cluster.result(await cluster.submit(self.order))
        if answer["state"] == "interrupted":
            raise ClusterError(answer["reason"])
        return answer

    def _cluster(self, patience: float = 0.0) -> AbstractAsyncContextManager[SharedCluster]:
        return shared_cluster(self.address, Request.parse(self.resources), patience=patience)

    @asynccontextmanager
    async def _telling(self, follower: Follower) -> AsyncIterator[None]:
        """Write to the log meanwhile how far the study has come."""
        telling = asyncio.create_task(self._tell(follower))
        try:
            yield
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)

    async def _tell(self, follower: Follower) -> None:
        if follower.history.trials:
            self.log.info(line(follower.study, follower.history))
        while True:
            await asyncio.sleep(_EVERY)
            try:
                if await asyncio.to_thread(follower.refresh):
                    self.log.info(line(follower.study, follower.history))
            except TuneflowError as error:
                self.log.warning("The study cannot be looked at: %s", error)
