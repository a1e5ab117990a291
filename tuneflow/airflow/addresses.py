"""Where a Dask scheduler is, out of what an Airflow connection says of it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from ipaddress import AddressValueError, IPv6Address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tuneflow.errors import SpecError
from tuneflow.remote.cluster import ClusterAddress

PORT = 8786
"""Where a Dask scheduler listens unless it is told otherwise."""

TIMEOUT = 10.0
"""Seconds to wait for the scheduler and for a first worker."""


def cluster_address(host: str | None, port: int | None, extra: str | None) -> ClusterAddress:
    """Return the address that the fields of a connection stand for.

    Args:
        host: a name, an IP address of either kind, or a whole URL such as ``tls://10.0.0.5:8786``.
        port: of the scheduler, unless the host has one. Default 8786.
        extra: a JSON object with any of ``protocol`` (default "tcp", or "tls" with a
            ``tls_ca_file``), ``tls_ca_file``, ``tls_cert_file``, ``tls_key_file`` (PEM files on
            this machine), ``timeout`` (seconds, default 10) and ``dashboard`` (where people see
            it, if that is not where the scheduler says).

    Raises:
        SpecError: a field has a value that cannot work.
    """
    fields = _fields(extra)
    ca_file = _file("tls_ca_file", fields)
    protocol = _text("protocol", fields) or ("tls" if ca_file else "tcp")
    return ClusterAddress(
        _url(host or "", port, protocol),
        ca_file,
        _file("tls_cert_file", fields),
        _file("tls_key_file", fields),
        _timeout(fields),
        _dashboard(fields),
    )


def _fields(extra: str | None) -> Mapping[str, Any]:
    # Its text is in no message, for anything may be kept there.
    try:
        fields = json.loads(extra) if extra else {}
    except ValueError as error:
        raise SpecError("extra", f"it is not JSON ({error})") from None
    if not isinstance(fields, dict):
        raise SpecError("extra", "it is not a JSON object", 'write {"timeout": 30}, for example')
    return fields


def _url(host: str, port: int | None, protocol: str) -> str:
    given, _, place = host.strip().rpartition("://")
    try:
        parts = urlsplit(f"//{_bracketed(place)}")
        name, own_port = parts.hostname, parts.port
    except ValueError as error:
        raise SpecError("host", f"it is no address ({error})") from None
    if not name:
        raise SpecError("host", "it is empty", "set the host of the Dask scheduler")
    where = f"{_bracketed(name)}:{own_port or port or PORT}{parts.path.rstrip('/')}"
    return f"{given or protocol}://{where}"


def _bracketed(place: str) -> str:
    """Return an IPv6 address as it stands in a URL; any other place as it is."""
    try:
        return f"[{IPv6Address(place)}]"
    except AddressValueError:
        return place


def _text(name: str, fields: Mapping[str, Any]) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise SpecError(name, f"{value!r} is not a text")
    return value or None


def _file(name: str, fields: Mapping[str, Any]) -> str | None:
    path = _text(name, fields)
    if path is not None and not Path(path).is_file():
        raise SpecError(name, f"{path} is not a file on this machine")
    return path


def _timeout(fields: Mapping[str, Any]) -> float:
    value = fields.get("timeout")
    if value in (None, ""):
        return TIMEOUT
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise SpecError("timeout", f"{value!r} is not a number of seconds above 0")
    return seconds


def _dashboard(fields: Mapping[str, Any]) -> str | None:
    url = _text("dashboard", fields)
    if url is not None and urlsplit(url).scheme not in ("http", "https"):
        raise SpecError("dashboard", f"{url!r} is not an http:// or https:// address")
    return url
