"""Certificates for Dask clusters that ask for them, and what goes wrong with them."""

from __future__ import annotations

import copy
import ssl
from pathlib import Path
from typing import Any, cast

from distributed import Security
from distributed.comm.addressing import parse_address
from distributed.comm.core import CommClosedError

from tuneflow.errors import ClusterError

_SECURE = ("tls", "wss")

_FILES = "tls_ca_file, tls_cert_file and tls_key_file"


def security(
    address: str, ca_file: str | None, cert_file: str | None, key_file: str | None
) -> Security | None:
    """Return how to speak to a ``tls://`` address with these PEM files.

    Args:
        address: the scheduler's.
        ca_file: the certificate authority. None: what Dask's own configuration names, as for the
            other two.
        cert_file: the client's certificate.
        key_file: the client's key.

    Returns:
        None where no file is given.

    Raises:
        ClusterError: a file does not exist, or the address is not one for certificates.
    """
    files = {"tls_ca_file": ca_file, "tls_client_cert": cert_file, "tls_client_key": key_file}
    given = {name: file for name, file in files.items() if file is not None}
    if not given:
        return None
    if not _is_secure(address):
        raise ClusterError(f"certificates are for tls:// addresses, and {address} is none")
    for file in given.values():
        if not Path(file).is_file():
            raise ClusterError(f"the file {file} of the certificates for {address} does not exist")
    return Security(require_encryption=True, **given)


def for_client(security: Security) -> Security:
    """Return what a client in a worker's process speaks to the scheduler with.

    A worker that was started with a certificate has one for workers only, and it is all there is.
    """
    made: Any = copy.copy(security)
    made.tls_client_cert = made.tls_client_cert or made.tls_worker_cert
    made.tls_client_key = made.tls_client_key or made.tls_worker_key
    return cast("Security", made)


def check(address: str, security: Security | None) -> None:
    """Raise ClusterError unless there is all that an address asks for, before it is tried."""
    if not _is_secure(address):
        return
    try:
        context = (security or Security()).get_connection_args("client").get("ssl_context")
    except (OSError, ValueError) as error:
        # An SSLError is an OSError, too.
        reason = error.reason if isinstance(error, ssl.SSLError) else error
        raise ClusterError(f"the certificates for {address} cannot be used: {reason}") from error
    if context is None:
        raise ClusterError(
            f"the Dask scheduler at {address} asks for certificates; give {_FILES}, or name them "
            "in Dask's own configuration"
        )


def refusal(address: str, error: BaseException) -> str | None:
    """Return why a scheduler that answers will not speak with us; None if it does not answer."""
    if not isinstance(error, CommClosedError):
        return None
    if _is_secure(address):
        return "it does not accept these certificates, has others, or speaks without TLS"
    return "if it asks for certificates, its address is one of tls://"


def _is_secure(address: str) -> bool:
    scheme, _ = parse_address(address)
    return scheme in _SECURE
