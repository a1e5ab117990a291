"""The Airflow connection of a Dask cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from tuneflow.airflow.addresses import PORT, cluster_address
from tuneflow.airflow.versions import AirflowNotFoundException, BaseHook
from tuneflow.errors import ClusterError, SpecError, TuneflowError
from tuneflow.remote.cluster import ClusterAddress, connect

if TYPE_CHECKING:
    from distributed import Client


class DaskHook(BaseHook):
    """Reaches the Dask scheduler of an Airflow connection.

    The connection has the scheduler's host and port, and in its extra what
    `tuneflow.airflow.addresses.cluster_address` describes.

    Args:
        conn_id: the connection's id. Default "dask_default".
        kwargs: what any Airflow hook takes.
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
            found = self.get_connection(self.conn_id)
        except AirflowNotFoundException:
            raise ClusterError(
                f"there is no Airflow connection {self.conn_id!r}; add it: airflow connections "
                f"add {self.conn_id} --conn-type dask --conn-host HOST --conn-port {PORT}"
            ) from None
        try:
            return cluster_address(found.host, found.port, found.extra)
        except SpecError as error:
            raise ClusterError(f"the Airflow connection {self.conn_id!r}: {error}") from None

    def get_conn(self) -> Client:
        """Return a client that is connected to the scheduler.

        Raises ClusterError: there is no such connection, or no scheduler answers there.
        """
        return connect(self.address())

    def test_connection(self) -> tuple[bool, str]:
        """Return whether trials could run there, and what there is or what is wrong."""
        try:
            with self.get_conn() as client:
                return True, _found(client)
        except TuneflowError as error:
            return False, str(error)


def _found(client: Client) -> str:
    from tuneflow.executors import dask_cluster

    where = dask_cluster.address_of(client)
    workers = dask_cluster.places(client)
    if not workers:
        return f"the Dask scheduler at {where} answers; it has no worker yet"
    dask_cluster.check_versions(client)
    threads = sum(worker.threads for worker in workers)
    gpus = sum(worker.gpu for worker in workers)
    more = f", GPUs: {gpus:g}" if gpus else ""
    return (
        f"the Dask scheduler at {where} answers; workers: {len(workers)}, threads: {threads}{more}"
    )
