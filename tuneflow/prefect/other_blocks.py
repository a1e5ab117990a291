"""Credentials and places out of the blocks that people have already, of Prefect's collections.

These are, of prefect-aws: ``aws-credentials``, ``minio-credentials`` and ``s3-bucket``; of
prefect-gcp: ``gcp-credentials`` and ``gcs-bucket``; of prefect-azure:
``azure-blob-storage-credentials`` and ``azure-blob-storage-container``. They are told by what
fields they have, so none of the collections is needed here unless such a block is used.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tuneflow.credentials import KINDS, Refresh, azure_connection_string
from tuneflow.errors import SpecError
from tuneflow.store_urls import normalise

_HOLDS: Final = timedelta(minutes=30)
"""How long the keys of a session are used before it is asked again; roles last for an hour."""

_AZURE: Final = {
    "AZURE_STORAGE_CLIENT_ID": "client_id",
    "AZURE_STORAGE_TENANT_ID": "tenant_id",
    "AZURE_STORAGE_CLIENT_SECRET": "client_secret",
}


def url_of(block: Any) -> str:
    """Return the URL of the place that a block stands for.

    Raises SpecError if it stands for none.
    """
    if hasattr(block, "bucket_name"):
        place = f"s3://{block.bucket_name}/{block.bucket_folder or ''}"
    elif hasattr(block, "gcp_credentials") and hasattr(block, "bucket"):
        place = f"gs://{block.bucket}/{block.bucket_folder or ''}"
    elif hasattr(block, "container_name"):
        place = f"az://{block.container_name}/{block.base_folder or ''}"
    else:
        slug = block.get_block_type_slug()
        problem = f"a block of the type '{slug}' says nothing of where to store"
        fix = "name it in StudyStorage(url=…, credentials_from='SLUG/NAME'), and save that"
        raise SpecError("storage", problem, fix)
    return normalise(place.rstrip("/"))


def credentials_of(block: Any, url: str) -> tuple[dict[str, str], Refresh | None]:
    """Return what a block says about credentials for a URL; see `tuneflow.credentials.provide`.

    Raises SpecError if it has none for such a storage.
    """
    block = getattr(block, "gcp_credentials", None) or getattr(block, "credentials", None) or block
    kind = KINDS.get(url.partition("://")[0])
    for own, mark, read in _READERS:
        if own == kind and hasattr(block, mark):
            options, refresh = read(block)
            return {name: value for name, value in options.items() if value}, refresh
    problem = f"a block of the type '{block.get_block_type_slug()}' has no credentials for {url}"
    raise SpecError("storage", problem, "name a block of the same kind of storage")


def _minio(block: Any) -> tuple[dict[str, str], Refresh | None]:
    keys = {
        "AWS_ACCESS_KEY_ID": block.minio_root_user,
        "AWS_SECRET_ACCESS_KEY": _secret(block.minio_root_password),
    }
    return {**keys, **_s3_place(block)}, None


def _aws(block: Any) -> tuple[dict[str, str], Refresh | None]:
    place = _s3_place(block)
    if block.profile_name or getattr(block, "assume_role_arn", None):
        return place, lambda: _of_session(block)
    keys = {
        "AWS_ACCESS_KEY_ID": block.aws_access_key_id or "",
        "AWS_SECRET_ACCESS_KEY": _secret(block.aws_secret_access_key),
        "AWS_SESSION_TOKEN": _secret(block.aws_session_token),
    }
    return {**keys, **place}, None


def _of_session(block: Any) -> Mapping[str, Any]:
    """Return the keys of the session that a block opens: of a profile, or of a role."""
    found = block.get_boto3_session().get_credentials().get_frozen_credentials()
    return {
        "access_key_id": found.access_key,
        "secret_access_key": found.secret_key,
        "token": found.token,
        "expires_at": datetime.now(UTC) + _HOLDS,
    }


def _s3_place(block: Any) -> dict[str, str]:
    endpoint = getattr(block.aws_client_parameters, "endpoint_url", None) or ""
    return {
        "AWS_REGION": block.region_name or "",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true" if endpoint.startswith("http://") else "",
    }


def _google(block: Any) -> tuple[dict[str, str], Refresh | None]:
    info = block.service_account_info
    file = block.service_account_file
    return {
        "GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(info.get_secret_value()) if info else "",
        "GOOGLE_SERVICE_ACCOUNT": str(file) if file and not info else "",
    }, None


def _azure(block: Any) -> tuple[dict[str, str], Refresh | None]:
    text = _secret(block.connection_string)
    address = block.account_url or ""
    if not text:
        # The account is the first part of the address: https://ACCOUNT.blob.core.windows.net
        text = f"BlobEndpoint={address};AccountName={_account(address)}"
    of_client = {name: _secret(getattr(block, field, None)) for name, field in _AZURE.items()}
    return {**azure_connection_string(text), **of_client}, None


def _account(address: str) -> str:
    return address.partition("://")[2].partition(".")[0]


def _secret(value: Any) -> str:
    if value is None:
        return ""
    return str(value.get_secret_value() if hasattr(value, "get_secret_value") else value)


_READERS: Final[tuple[tuple[str, str, Callable[[Any], Any]], ...]] = (
    ("AWS_", "minio_root_user", _minio),
    ("AWS_", "aws_access_key_id", _aws),
    ("GOOGLE_", "service_account_info", _google),
    ("AZURE_", "connection_string", _azure),
)
"""For each kind of storage, what its credentials have a field of, and how they are read."""
