"""What is wrong with a schedule, said in one sentence before anything is served or deployed."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from prefect import Flow
from prefect.client.schemas.schedules import CronSchedule

from tuneflow.errors import SpecError


def check_cron(cron: str | Iterable[str] | None) -> None:
    """Raise SpecError for what Prefect does not take for a cron schedule, or for several."""
    for one in [cron] if isinstance(cron, str) else cron or ():
        try:
            CronSchedule(cron=one)
        except ValueError:
            fix = "write five fields, such as '0 3 * * 1' for Mondays at three"
            raise SpecError("cron", f"{one!r} is no cron schedule", fix) from None


class ScheduledFlow(Flow[..., dict[str, Any]]):
    """A flow that looks at its schedule before it does anything with it."""

    def serve(self, *args: Any, **kwargs: Any) -> None:
        """Serve the flow; see Prefect. Raises SpecError for a wrong ``cron``."""
        _check("serve", self, args, kwargs)
        super().serve(*args, **kwargs)

    def to_deployment(self, *args: Any, **kwargs: Any) -> Any:
        """Return a deployment of the flow; see Prefect. Raises SpecError for a wrong ``cron``."""
        _check("to_deployment", self, args, kwargs)
        return super().to_deployment(*args, **kwargs)

    def deploy(self, *args: Any, **kwargs: Any) -> Any:
        """Deploy the flow; see Prefect. Raises SpecError for a wrong ``cron``."""
        _check("deploy", self, args, kwargs)
        return super().deploy(*args, **kwargs)


def _check(method: str, flow: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    given = inspect.signature(getattr(Flow, method)).bind(flow, *args, **kwargs)
    check_cron(given.arguments.get("cron"))
