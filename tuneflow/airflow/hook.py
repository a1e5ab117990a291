"""The Airflow connection of a Dask cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from tuneflow.errors import ClusterError, TuneflowError
from tuneflow.executors.placement import Request
from tuneflow.remote.cluster import Cluster, ClusterAddress

if TYPE_CHECKING:
    from distributed import Client

_PORT = 8786
_FILES = ("tls_ca_file", "tls_cert_file", "tls_key_file")


class DaskHook(BaseHook):
    """Reaches the Dask scheduler of an Airflow connection.

    The connection has the scheduler's host and port, and in its extra the ``protocol`` (default
    "tcp", or "tls" where there is a ``tls_ca_file``), ``tls_ca_file``, ``tls_cert_file``,
    ``tls_key_file`` and ``timeout`` (seconds, default 10).

    Args:
        conn_id: the connection's id. Default "dask_default".
    """

    conn_name_attr: ClassVar[str] = "conn_id"
    default_conn_name: ClassVar[str] = "dask_default"
    conn_type: ClassVar[str] = "dask"
    hook_name: ClassVar[str] = "Dask"

    def __init__(self, conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id

    def address(self) -> ClusterAddress:
        """Return where the scheduler is.

        Raises ClusterError: there is no such connection, or a field of it cannot work.
        """
        try:
            connection = self.get_connection(self.conn_id)
        except AirflowNotFoundException:
            raise ClusterError(
                f"there is no Airflow connection {self.conn_id!r}; add it: airflow connections "
                f"add {self.conn_id} --conn-type dask --conn-host HOST --conn-port {_PORT}"
            ) from None
        if not connection.host:
            raise ClusterError(f"the Airflow connection {self.conn_id!r} has no host; set it")
        extra: Mapping[str, Any] = connection.extra_dejson
        files = {name: extra.get(name) or None for name in _FILES}
        host = connection.host
        if "://" not in host:
            protocol = extra.get("protocol") or ("tls" if files["tls_ca_file"] else "tcp")
            host = f"{protocol}://{host}:{connection.port or _PORT}"
        return ClusterAddress(host, **files, timeout=float(extra.get("timeout") or 10))

    def get_conn(self) -> Client:
        """Return a client that is connected to the scheduler."""
        from tuneflow.executors import dask_cluster

        address = self.address()
        files = address.tls_ca_file, address.tls_cert_file, address.tls_key_file
        return dask_cluster.connect(address.address, address.timeout, dask_cluster.security(*files))

    def test_connection(self) -> tuple[bool, str]:
        """Return whether trials could run there, and what there is or is wrong."""
        try:
            with Cluster(self.address(), Request()):
                return True, "the scheduler answers, and its workers can run trials"
        except TuneflowError as error:
            return False, str(error)
