"""Whether Prefect's server can be reached, before anything is asked of it."""

from __future__ import annotations

from prefect.client.orchestration import get_client
from prefect.settings import get_current_settings

from tuneflow.errors import ClusterError


def has_server() -> bool:
    """Return whether there is a server that other processes can reach, as far as is known.

    Without one Prefect starts one for the time being, which only this process knows of.
    """
    return get_current_settings().api.url is not None


def check_server() -> None:
    """Raise ClusterError unless the server answers that Prefect is set to use."""
    if not has_server():
        return
    with get_client(sync_client=True) as client:
        error = client.api_healthcheck()
    if error is not None:
        reason = str(error).split("\n", 1)[0] or type(error).__name__
        raise ClusterError(
            f"no Prefect server answers at {get_current_settings().api.url} ({reason}); start one "
            "with: prefect server start, or set PREFECT_API_URL"
        )
