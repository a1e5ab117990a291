"""Prefect blocks: where studies are kept, and the credentials that this takes."""

from __future__ import annotations

from typing import Any, Final

from prefect.blocks.core import Block
from prefect.types import SecretDict
from pydantic import ConfigDict, Field, field_validator

from tuneflow.errors import SpecError
from tuneflow.store_urls import normalise

KINDS: Final = ("AWS_", "AZURE_", "GOOGLE_")
"""What the names of credentials begin with: those that storages are opened with, and no others."""


class StudyStorage(Block):
    """Where studies are kept, and the credentials for it.

    Saved under a name, it is given to a flow as ``storage="block:NAME"``. What travels is that
    name; each process that opens the storage loads the credentials from Prefect's server.

    Attributes:
        url: such as ``s3://bucket/studies``; see `tuneflow.store.Store`.
        credentials: environment variables, such as ``AWS_ACCESS_KEY_ID``; see `tuneflow.store`.
        credentials_from: instead, a block that has them, such as ``aws-credentials/NAME``; see
            `tuneflow.prefect.other_blocks`.

    Example:
        ```python
        from tuneflow.prefect import StudyStorage

        StudyStorage(
            url="s3://bucket/studies",
            credentials={"AWS_ACCESS_KEY_ID": "…", "AWS_SECRET_ACCESS_KEY": "…"},
        ).save("studies")
        ```
    """

    # An error about one field would repeat the value of it.
    model_config = ConfigDict(hide_input_in_errors=True)

    _block_type_name = "tuneflow study storage"
    _block_type_slug = "tuneflow-study-storage"
    _description = "Where the studies of tuneflow are kept, and the credentials for it."

    url: str = Field(
        title="URL",
        description="s3://bucket/prefix, gs://bucket/prefix, az://container/prefix, or a folder",
        examples=["s3://bucket/studies"],
    )
    credentials: SecretDict = Field(
        default_factory=lambda: SecretDict({}),
        description="Environment variables that the storage is opened with, as texts.",
        examples=[{"AWS_ACCESS_KEY_ID": "…", "AWS_SECRET_ACCESS_KEY": "…"}],
    )

    credentials_from: str = Field(
        default="",
        title="Credentials from",
        description="Instead, a block of prefect-aws, prefect-gcp or prefect-azure: SLUG/NAME",
        examples=["aws-credentials/lab"],
    )

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        return normalise(url)

    @field_validator("credentials")
    @classmethod
    def _check_credentials(cls, credentials: SecretDict) -> SecretDict:
        for name, value in credentials.get_secret_value().items():
            _check_credential(name, value)
        return credentials

    @property
    def saved_as(self) -> str | None:
        """The name that Prefect's server has it under; None before it is saved or loaded."""
        name: str | None = self._block_document_name
        return name


def _check_credential(name: str, value: Any) -> None:
    """Raise SpecError for what no storage is opened with; the value is not repeated."""
    field = f"credentials.{name}"
    if not name.startswith(KINDS):
        known = ", ".join(f"{kind}…" for kind in KINDS)
        raise SpecError(field, "no storage is opened with this variable", f"use {known}")
    if not isinstance(value, str) or not value:
        raise SpecError(field, "its value is not a text", 'write it in quotes, such as "true"')
