"""What a storage is opened with, out of the fields of an Airflow connection.

The fields are those that Airflow's own hooks read: of Amazon Web Services ("aws"), of Azure Blob
Storage ("wasb") and of Google Cloud ("google_cloud_platform"). In a connection of any other type
the extra has the options by their names, such as ``AWS_ACCESS_KEY_ID``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from tuneflow.credentials import KINDS, Refresh, azure_connection_string
from tuneflow.errors import MissingDependencyError, SpecError

_AZURE: Final = "blob.core.windows.net"
_TYPES: Final = {"aws": "s3", "wasb": "az", "google_cloud_platform": "gs"}


@dataclass(frozen=True)
class StorageOptions:
    """What `tuneflow.credentials.provide` is given.

    Attributes:
        options: by the names of environment variables.
        refresh: where the credentials expire, what returns those of now; or None.
    """

    options: Mapping[str, str] = field(repr=False)
    refresh: Refresh | None = None


@dataclass(frozen=True)
class _Fields:
    """The fields of a connection; no message repeats them."""

    host: str
    login: str
    password: str
    extra: Mapping[str, Any]

    def text(self, *names: str) -> str:
        """Return the first field of the extra that is not empty; empty if all are."""
        return next((str(self.extra[name]) for name in names if self.extra.get(name)), "")


def storage_options(
    scheme: str,
    *,
    conn_type: str,
    host: str | None = None,
    login: str | None = None,
    password: str | None = None,
    extra: str | None = None,
) -> StorageOptions:
    """Return what a connection says about a storage.

    Args:
        scheme: of the storage's URL: "s3", "az" or "gs".
        conn_type: the connection's type.
        host: its host.
        login: its login.
        password: its password.
        extra: its extra, JSON.

    Raises:
        SpecError: it is a connection for another kind of storage, or a field cannot work.
        MissingDependencyError: it names a profile or a role, and boto3 is missing.
    """
    if scheme not in KINDS:
        raise SpecError(
            "storage", f"'{scheme}://' needs no credentials", "leave out the connection"
        )
    if _TYPES.get(conn_type, scheme) != scheme:
        problem = f"its type {conn_type!r} is not for '{scheme}://'"
        raise SpecError("conn_type", problem, "name a connection of the storage")
    fields = _Fields(host or "", login or "", password or "", _extra(extra))
    found = _READERS.get(conn_type, _plain)(fields)
    return StorageOptions(
        {name: value for name, value in found.options.items() if value}, found.refresh
    )


def _extra(text: str | None) -> Mapping[str, Any]:
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise SpecError("extra", "it is not a JSON object")
    # As an older form of Airflow's had the names of a provider's fields.
    return {name.rpartition("__")[2] or name: value for name, value in found.items()}


def _plain(fields: _Fields) -> StorageOptions:
    return StorageOptions({name: str(value) for name, value in fields.extra.items()})


def _aws(fields: _Fields) -> StorageOptions:
    """See AwsGenericHook of apache-airflow-providers-amazon."""
    keys = {
        "AWS_ACCESS_KEY_ID": fields.login or fields.text("aws_access_key_id"),
        "AWS_SECRET_ACCESS_KEY": fields.password or fields.text("aws_secret_access_key"),
        "AWS_SESSION_TOKEN": fields.text("aws_session_token"),
    }
    endpoint, region = _s3_endpoint(fields), fields.text("region_name")
    place = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": _allow_http(endpoint),
        "AWS_REGION": region,
    }
    profile, role = fields.text("profile_name"), fields.text("role_arn")
    if not profile and not role:
        return StorageOptions({**keys, **place})
    session = _session(keys, profile, region)
    refresh = _role(session, role, fields) if role else _profile(session)
    return StorageOptions(place, refresh)


def _s3_endpoint(fields: _Fields) -> str:
    services = fields.extra.get("service_config") or {}
    of_s3 = services.get("s3") or {} if isinstance(services, dict) else {}
    own = of_s3.get("endpoint_url") if isinstance(of_s3, dict) else ""
    return own or fields.text("endpoint_url")


def _session(keys: Mapping[str, str], profile: str, region: str) -> Any:
    try:
        import boto3
        from botocore.exceptions import ProfileNotFound  # type: ignore[import-untyped]  # no types
    except ImportError:
        raise MissingDependencyError("boto3", "s3") from None
    try:
        return boto3.Session(
            aws_access_key_id=keys["AWS_ACCESS_KEY_ID"] or None,
            aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"] or None,
            aws_session_token=keys["AWS_SESSION_TOKEN"] or None,
            profile_name=profile or None,
            region_name=region or None,
        )
    except ProfileNotFound:
        raise SpecError("profile_name", f"this machine has no AWS profile {profile!r}") from None


def _profile(session: Any) -> Refresh:
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        return Boto3CredentialProvider(session)
    except ValueError:
        raise SpecError("profile_name", "the AWS profile has no credentials") from None


def _role(session: Any, role: str, fields: _Fields) -> Refresh:
    from obstore.auth.boto3 import StsCredentialProvider

    method = fields.text("assume_role_method") or "assume_role"
    if method != "assume_role":
        raise SpecError("assume_role_method", f"{method!r} is not known", "use assume_role")
    more = fields.extra.get("assume_role_kwargs") or {}
    if external := fields.text("external_id"):
        more = {"ExternalId": external, **more}
    return StsCredentialProvider(
        session, **{"RoleSessionName": "tuneflow", **more, "RoleArn": role}
    )


def _azure(fields: _Fields) -> StorageOptions:
    """See WasbHook of apache-airflow-providers-microsoft-azure."""
    if text := fields.text("connection_string"):
        return StorageOptions(azure_connection_string(text))
    tenant = fields.text("tenant_id")
    place = _azure_place(fields.host or fields.text("account_url"), "" if tenant else fields.login)
    if tenant:
        secret = {
            "AZURE_STORAGE_TENANT_ID": tenant,
            "AZURE_STORAGE_CLIENT_ID": fields.login,
            "AZURE_STORAGE_CLIENT_SECRET": fields.password,
        }
    elif token := fields.text("sas_token"):
        secret = {"AZURE_STORAGE_SAS_TOKEN": token.removeprefix("?")}
    else:
        key = fields.password or fields.text("shared_access_key", "account_key")
        secret = {"AZURE_STORAGE_ACCOUNT_KEY": key}
    return StorageOptions({**place, **secret})


def _azure_place(address: str, login: str) -> dict[str, str]:
    """Return account and endpoint, out of a URL, a host, or an account's name."""
    url = address.rstrip("/") if "://" in address or not address else f"https://{address}"
    name, _, domain = (urlsplit(url).hostname or "").partition(".")
    is_name = "://" not in address and not domain
    account = login or (name if is_name or domain.startswith("blob.") else "")
    endpoint = "" if is_name or domain == _AZURE else url
    return {
        "AZURE_STORAGE_ACCOUNT_NAME": account,
        "AZURE_STORAGE_ENDPOINT": endpoint,
        "AZURE_ALLOW_HTTP": _allow_http(endpoint),
    }


def _google(fields: _Fields) -> StorageOptions:
    """See GoogleBaseHook of apache-airflow-providers-google."""
    key = fields.extra.get("keyfile_dict") or ""
    return StorageOptions(
        {
            "GOOGLE_SERVICE_ACCOUNT_KEY": key if isinstance(key, str) else json.dumps(key),
            "GOOGLE_SERVICE_ACCOUNT": fields.text("key_path") if not key else "",
        }
    )


def _allow_http(endpoint: str) -> str:
    return "true" if endpoint.startswith("http://") else ""


_READERS: Final[Mapping[str, Callable[[_Fields], StorageOptions]]] = {
    "aws": _aws,
    "wasb": _azure,
    "google_cloud_platform": _google,
}
