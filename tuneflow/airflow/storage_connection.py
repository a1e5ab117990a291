"""Credentials for a study's storage, out of an Airflow connection.

What travels is the id of the connection. Each process that opens the storage asks Airflow for the
connection, and keeps what is in it in its memory: tasks, the triggerer, and the API server for
the report. Dask workers are no part of Airflow: they have credentials of their own.
"""

from __future__ import annotations

from typing import Any, Final

from tuneflow import credentials
from tuneflow.airflow.storage_options import StorageOptions, storage_options
from tuneflow.airflow.versions import AirflowNotFoundException, BaseHook, mask_secret
from tuneflow.errors import SpecError, StorageError
from tuneflow.redaction import is_secret_name
from tuneflow.store import Store

CONNECTION: Final = "study_connection"
"""The XCom key of the id of the connection for the study that a task has pushed."""


def provide_storage(conn_id: str | None, url: str) -> str:
    """Open the storages at a URL with an Airflow connection's credentials, from now on here.

    Args:
        conn_id: the connection's id; without one the environment has the credentials.
        url: of the storage.

    Returns:
        The URL, as it is spelled in tuneflow.

    Raises:
        StorageError: there is no such connection, or a field of it cannot work.
        SpecError: no storage has such a URL.
    """
    place = Store(url).url
    if conn_id:
        try:
            found = BaseHook.get_connection(conn_id)
        except AirflowNotFoundException:
            raise _missing(conn_id) from None
        _provide(conn_id, found, place)
    return place


async def provide_storage_async(conn_id: str | None, url: str) -> None:
    """Do what `provide_storage` does, in a trigger."""
    if not conn_id:
        return
    try:
        found = await _ask(conn_id)
    except AirflowNotFoundException:
        raise _missing(conn_id) from None
    _provide(conn_id, found, Store(url).url)


async def _ask(conn_id: str) -> Any:
    if hasattr(BaseHook, "aget_connection"):
        return await BaseHook.aget_connection(conn_id)
    from asgiref.sync import sync_to_async

    return await sync_to_async(BaseHook.get_connection)(conn_id)


def push_study(task: Any, url: str, conn_id: str | None) -> None:
    """Note which study a task is of, for the report and for its links; see `report_route`."""
    task.xcom_push(key="study", value=url)
    if conn_id:
        task.xcom_push(key=CONNECTION, value=conn_id)


def _provide(conn_id: str, found: Any, place: str) -> None:
    try:
        options = _options(found, place)
        credentials.provide(place, options.options, options.refresh)
    except SpecError as error:
        raise StorageError(f"the Airflow connection {conn_id!r}: {error}") from None


def _options(found: Any, place: str) -> StorageOptions:
    options = storage_options(
        place.partition("://")[0],
        conn_type=found.conn_type or "",
        host=found.host,
        login=found.login,
        password=found.password,
        extra=found.extra,
    )
    for name, value in options.options.items():
        if is_secret_name(name):
            mask_secret(value)
    return options


def _missing(conn_id: str) -> StorageError:
    return StorageError(
        f"there is no Airflow connection {conn_id!r}, which storage_conn_id names; add it: "
        f"airflow connections add {conn_id} --conn-type aws --conn-login KEY --conn-password SECRET"
    )
