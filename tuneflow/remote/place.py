"""Which cluster a study ran on, as it is kept beside the study; see `tuneflow.last_place`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tuneflow.errors import SpecError
from tuneflow.last_place import LastPlace
from tuneflow.plugins import make
from tuneflow.remote.cluster import ClusterAddress

if TYPE_CHECKING:
    from tuneflow.executors.dask import DaskExecutor

_TLS = ("tls_ca_file", "tls_cert_file", "tls_key_file")


def executor_at(address: ClusterAddress) -> dict[str, Any]:
    """Return the executor that runs trials at an address, as a study file has it."""
    files = {name: getattr(address, name) for name in _TLS if getattr(address, name) is not None}
    where = {"type": "dask", "address": address.address, **files}
    return {**where, "connect_timeout": address.timeout}


def address_of(executor: DaskExecutor) -> ClusterAddress:
    """Return the cluster that an executor with an address is for."""
    files = {name: getattr(executor, name) for name in _TLS}
    return ClusterAddress(str(executor.address), timeout=executor.connect_timeout, **files)


def last_address(
    url: str, place: LastPlace | None, given: Mapping[str, Any] | None = None
) -> ClusterAddress:
    """Return the cluster that a study ran on last.

    Args:
        url: the study's URL, for the error.
        place: where it ran last.
        given: what to change of it, as a `DaskExecutor` has it; with an ``address`` nothing else of
            the old place counts.

    Raises:
        SpecError: it is not known which cluster it was, or it cannot be used.
    """
    executor = place.executor if place else None
    known = executor if executor and executor.get("type") == "dask" else {}
    given = given or {}
    wanted = {**({} if given.get("address") else known), **given, "type": "dask"}
    if not wanted.get("address"):
        raise SpecError(
            "address",
            f"{url} does not say which Dask cluster it ran on",
            "give the scheduler's address, such as tcp://10.0.0.5:8786",
        )
    made: Any = make("executor", wanted)
    return address_of(made)
