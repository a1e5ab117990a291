"""Credentials and places out of blocks of Prefect's collections, which are not installed here.

The classes have the names, the fields and the types of those of prefect-aws, prefect-gcp and
prefect-azure.
"""

from __future__ import annotations

import json
import os
from types import SimpleNamespace

import pytest
from prefect.blocks.core import Block
from prefect.types import SecretDict
from pydantic import Field, SecretStr

from tuneflow import credentials
from tuneflow.errors import SpecError
from tuneflow.prefect.blocks import StudyStorage
from tuneflow.prefect.lending import _blocks, lend_credentials, storage_name, storage_url
from tuneflow.prefect.other_blocks import credentials_of, url_of

SECRET = "a-secret-that-nobody-may-see"


class ClientParameters(Block):
    endpoint_url: str | None = None


class AwsCredentials(Block):
    _block_type_name = "AWS Credentials"
    aws_access_key_id: str | None = None
    aws_secret_access_key: SecretStr | None = None
    aws_session_token: str | None = None
    profile_name: str | None = None
    region_name: str | None = None
    assume_role_arn: str | None = None
    aws_client_parameters: ClientParameters = Field(default_factory=ClientParameters)

    def get_boto3_session(self):
        keys = SimpleNamespace(access_key="ROLE", secret_key=SECRET, token="now")
        found = SimpleNamespace(get_frozen_credentials=lambda: keys)
        return SimpleNamespace(get_credentials=lambda: found)


class MinIOCredentials(Block):
    _block_type_name = "MinIO Credentials"
    minio_root_user: str
    minio_root_password: SecretStr
    region_name: str | None = None
    aws_client_parameters: ClientParameters = Field(default_factory=ClientParameters)


class S3Bucket(Block):
    _block_type_name = "S3 Bucket"
    bucket_name: str
    credentials: MinIOCredentials | AwsCredentials
    bucket_folder: str = ""


class GcpCredentials(Block):
    _block_type_name = "GCP Credentials"
    service_account_file: str | None = None
    service_account_info: SecretDict | None = None


class GcsBucket(Block):
    _block_type_name = "GCS Bucket"
    bucket: str
    gcp_credentials: GcpCredentials
    bucket_folder: str = ""


class AzureBlobStorageCredentials(Block):
    _block_type_name = "Azure Blob Storage Credentials"
    connection_string: SecretStr | None = None
    account_url: str | None = None
    client_id: str | None = None
    tenant_id: str | None = None
    client_secret: SecretStr | None = None


class AzureBlobStorageContainer(Block):
    _block_type_name = "Azure Blob Storage Container"
    container_name: str
    credentials: AzureBlobStorageCredentials
    base_folder: str | None = None


AWS = AwsCredentials(aws_access_key_id="ME", aws_secret_access_key=SECRET, region_name="eu")
MINIO = MinIOCredentials(
    minio_root_user="root",
    minio_root_password=SECRET,
    aws_client_parameters=ClientParameters(endpoint_url="http://minio:9000"),
)


class TestPlaces:
    @pytest.mark.parametrize(
        ("block", "url"),
        [
            (S3Bucket(bucket_name="b", credentials=AWS), "s3://b"),
            (S3Bucket(bucket_name="b", credentials=MINIO, bucket_folder="x/y/"), "s3://b/x/y"),
            (
                GcsBucket(bucket="b", gcp_credentials=GcpCredentials(), bucket_folder="x"),
                "gs://b/x",
            ),
            (
                AzureBlobStorageContainer(
                    container_name="c", credentials=AzureBlobStorageCredentials()
                ),
                "az://c",
            ),
        ],
    )
    def test_of_buckets_and_containers(self, block, url):
        assert url_of(block) == storage_url(block) == url

    def test_credentials_alone_are_no_place(self):
        with pytest.raises(SpecError, match="'aws-credentials' says nothing of where to store"):
            url_of(AWS)


class TestCredentials:
    def test_of_amazon(self):
        keys = {
            "AWS_ACCESS_KEY_ID": "ME",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "eu",
        }
        assert credentials_of(AWS, "s3://b") == (keys, None)
        assert credentials_of(S3Bucket(bucket_name="b", credentials=AWS), "s3://b") == (keys, None)

    def test_of_minio(self):
        assert credentials_of(MINIO, "s3://b")[0] == {
            "AWS_ACCESS_KEY_ID": "root",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": "http://minio:9000",
            "AWS_ALLOW_HTTP": "true",
        }

    def test_of_a_role_are_asked_for_when_they_are_needed(self):
        options, refresh = credentials_of(AwsCredentials(assume_role_arn="arn:x"), "s3://b")
        assert options == {}
        assert refresh()["access_key_id"] == "ROLE"

    def test_of_google(self):
        info = {"private_key": SECRET}
        options, _ = credentials_of(GcpCredentials(service_account_info=info), "gs://b")
        assert json.loads(options["GOOGLE_SERVICE_ACCOUNT_KEY"]) == info
        options, _ = credentials_of(GcpCredentials(service_account_file="/key.json"), "gs://b")
        assert options == {"GOOGLE_SERVICE_ACCOUNT": "/key.json"}

    def test_of_azure(self):
        text = f"AccountName=lab;AccountKey={SECRET}"
        options, _ = credentials_of(AzureBlobStorageCredentials(connection_string=text), "az://c")
        assert options == {
            "AZURE_STORAGE_ACCOUNT_NAME": "lab",
            "AZURE_STORAGE_ACCOUNT_KEY": SECRET,
        }
        principal = AzureBlobStorageCredentials(
            account_url="https://lab.blob.core.windows.net",
            client_id="me",
            tenant_id="t",
            client_secret=SECRET,
        )
        options, _ = credentials_of(principal, "az://c")
        assert options["AZURE_STORAGE_ACCOUNT_NAME"] == "lab"
        assert options["AZURE_STORAGE_CLIENT_SECRET"] == SECRET

    def test_for_another_kind_of_storage_are_refused(self):
        with pytest.raises(SpecError, match="'aws-credentials' has no credentials for gs://b"):
            credentials_of(AWS, "gs://b")


class TestNames:
    def test_of_a_saved_block_travel(self):
        bucket = S3Bucket(bucket_name="b", credentials=AWS)
        bucket._block_document_name = "lab"
        assert storage_name(bucket) == "block:s3-bucket/lab"

    def test_what_was_not_saved_does_not_travel(self):
        with pytest.raises(SpecError, match="was not saved cannot reach the workers; save it"):
            storage_name(S3Bucket(bucket_name="b", credentials=AWS))


class TestLending:
    @pytest.fixture(autouse=True)
    def _nothing_stays(self):
        yield
        credentials.withdraw("s3://bucket/studies")

    @pytest.fixture
    def saved(self, monkeypatch):
        """What Prefect's server has, by name."""
        found = {}
        monkeypatch.setattr(type(_blocks), "get", lambda self, name: found[name])
        return found

    def test_a_bucket_s_are_known_for_its_place_and_not_to_user_code(self, saved, monkeypatch):
        monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
        saved["block:s3-bucket/lab"] = S3Bucket(
            bucket_name="bucket", credentials=AWS, bucket_folder="studies"
        )
        assert lend_credentials("block:s3-bucket/lab") == "s3://bucket/studies"
        found = credentials.provided_for("s3://bucket/studies/digits")
        assert found.options["AWS_ACCESS_KEY_ID"] == "ME"
        assert credentials.provided_for("s3://bucket") is None
        assert "AWS_ACCESS_KEY_ID" not in os.environ

    def test_a_storage_may_take_them_from_another_block(self, saved):
        saved["block:lab"] = StudyStorage(
            url="s3://bucket/studies", credentials_from="minio-credentials/lab"
        )
        saved["block:minio-credentials/lab"] = MINIO
        assert lend_credentials("block:lab") == "s3://bucket/studies"
        found = credentials.provided_for("s3://bucket/studies")
        assert found.options["AWS_ENDPOINT_URL"] == "http://minio:9000"
