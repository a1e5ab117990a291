"""What a storage is opened with, out of the fields of an Airflow connection."""

from __future__ import annotations

import json

import pytest

from tuneflow.airflow.storage_options import storage_options
from tuneflow.errors import SpecError

SECRET = "a-secret-that-nobody-may-see"


def of(scheme, conn_type, extra=None, **fields):
    return storage_options(
        scheme, conn_type=conn_type, extra=extra and json.dumps(extra), **fields
    ).options


class TestAmazon:
    def test_keys_are_login_and_password(self):
        assert of("s3", "aws", login="ME", password=SECRET) == {
            "AWS_ACCESS_KEY_ID": "ME",
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }

    def test_keys_may_be_in_the_extra(self):
        extra = {
            "aws_access_key_id": "ME",
            "aws_secret_access_key": SECRET,
            "aws_session_token": "now",
            "region_name": "eu-central-1",
        }
        assert of("s3", "aws", extra) == {
            "AWS_ACCESS_KEY_ID": "ME",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_SESSION_TOKEN": "now",
            "AWS_REGION": "eu-central-1",
        }

    @pytest.mark.parametrize(
        "extra",
        [
            {"endpoint_url": "http://minio:9000"},
            {"service_config": {"s3": {"endpoint_url": "http://minio:9000"}}},
        ],
    )
    def test_another_server_is_an_endpoint(self, extra):
        assert of("s3", "aws", extra) == {
            "AWS_ENDPOINT_URL": "http://minio:9000",
            "AWS_ALLOW_HTTP": "true",
        }

    def test_without_keys_the_machine_has_them(self):
        assert of("s3", "aws") == {}

    def test_a_profile_is_read_again_when_its_keys_expire(self, tmp_path, monkeypatch):
        file = tmp_path / "credentials"
        file.write_text("[lab]\naws_access_key_id = LAB\naws_secret_access_key = x\n")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
        found = storage_options("s3", conn_type="aws", extra='{"profile_name": "lab"}')
        assert found.options == {}
        assert found.refresh()["access_key_id"] == "LAB"

    def test_a_profile_that_there_is_not_is_said_to_be_missing(self, monkeypatch, tmp_path):
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        with pytest.raises(SpecError, match="this machine has no AWS profile 'nowhere'"):
            of("s3", "aws", {"profile_name": "nowhere"})

    def test_a_way_to_take_a_role_that_is_not_known_is_refused(self):
        extra = {"role_arn": "arn:aws:iam::1:role/x", "assume_role_method": "by_magic"}
        with pytest.raises(SpecError, match="'by_magic' is not known; use assume_role"):
            of("s3", "aws", extra)


class TestAzure:
    @pytest.mark.parametrize(
        ("fields", "place"),
        [
            ({"login": "lab"}, {"AZURE_STORAGE_ACCOUNT_NAME": "lab"}),
            ({"host": "lab"}, {"AZURE_STORAGE_ACCOUNT_NAME": "lab"}),
            ({"host": "lab.blob.core.windows.net"}, {"AZURE_STORAGE_ACCOUNT_NAME": "lab"}),
            ({"host": "https://lab.blob.core.windows.net/"}, {"AZURE_STORAGE_ACCOUNT_NAME": "lab"}),
            (
                {"host": "https://lab.blob.core.chinacloudapi.cn"},
                {
                    "AZURE_STORAGE_ACCOUNT_NAME": "lab",
                    "AZURE_STORAGE_ENDPOINT": "https://lab.blob.core.chinacloudapi.cn",
                },
            ),
            (
                {"login": "lab", "host": "http://127.0.0.1:10000/lab"},
                {
                    "AZURE_STORAGE_ACCOUNT_NAME": "lab",
                    "AZURE_STORAGE_ENDPOINT": "http://127.0.0.1:10000/lab",
                    "AZURE_ALLOW_HTTP": "true",
                },
            ),
        ],
    )
    def test_place_and_key(self, fields, place):
        key = {"AZURE_STORAGE_ACCOUNT_KEY": SECRET}
        assert of("az", "wasb", password=SECRET, **fields) == {**place, **key}

    def test_a_shared_access_token(self):
        found = of("az", "wasb", {"sas_token": "?sig=abc"}, login="lab")
        assert found == {
            "AZURE_STORAGE_ACCOUNT_NAME": "lab",
            "AZURE_STORAGE_SAS_TOKEN": "sig=abc",
        }

    def test_a_service_principal(self):
        found = of("az", "wasb", {"tenant_id": "t"}, host="lab", login="me", password=SECRET)
        assert found == {
            "AZURE_STORAGE_ACCOUNT_NAME": "lab",
            "AZURE_STORAGE_TENANT_ID": "t",
            "AZURE_STORAGE_CLIENT_ID": "me",
            "AZURE_STORAGE_CLIENT_SECRET": SECRET,
        }

    def test_a_connection_string(self):
        text = f"AccountName=lab;AccountKey={SECRET}==;BlobEndpoint=http://127.0.0.1:1/lab;"
        assert of("az", "wasb", {"connection_string": text}) == {
            "AZURE_STORAGE_ACCOUNT_NAME": "lab",
            "AZURE_STORAGE_ACCOUNT_KEY": f"{SECRET}==",
            "AZURE_STORAGE_ENDPOINT": "http://127.0.0.1:1/lab",
            "AZURE_ALLOW_HTTP": "true",
        }

    def test_a_connection_string_of_a_national_cloud(self):
        text = (
            f"DefaultEndpointsProtocol=https;AccountName=lab;AccountKey={SECRET};"
            "EndpointSuffix=core.chinacloudapi.cn"
        )
        assert of("az", "wasb", {"connection_string": text}) == {
            "AZURE_STORAGE_ACCOUNT_NAME": "lab",
            "AZURE_STORAGE_ACCOUNT_KEY": SECRET,
            "AZURE_STORAGE_ENDPOINT": "https://lab.blob.core.chinacloudapi.cn",
        }


class TestGoogle:
    @pytest.mark.parametrize("prefix", ["", "extra__google_cloud_platform__"])
    def test_a_key_and_a_file(self, prefix):
        key = {"private_key": SECRET}
        for given in (key, json.dumps(key)):
            found = of("gs", "google_cloud_platform", {f"{prefix}keyfile_dict": given})
            assert json.loads(found["GOOGLE_SERVICE_ACCOUNT_KEY"]) == key
        found = of("gs", "google_cloud_platform", {f"{prefix}key_path": "/key.json"})
        assert found == {"GOOGLE_SERVICE_ACCOUNT": "/key.json"}


class TestAnyOther:
    def test_its_extra_has_the_options(self):
        extra = {"AWS_ACCESS_KEY_ID": "ME", "AWS_SECRET_ACCESS_KEY": SECRET}
        assert of("s3", "generic", extra) == extra

    @pytest.mark.parametrize(
        ("scheme", "conn_type", "extra", "message"),
        [
            ("s3", "wasb", "{}", "its type 'wasb' is not for 's3://'"),
            ("file", "aws", "{}", "'file://' needs no credentials"),
            ("s3", "aws", SECRET, "extra: it is not a JSON object"),
            ("s3", "aws", f'["{SECRET}"]', "extra: it is not a JSON object"),
        ],
    )
    def test_what_cannot_work_is_told_without_repeating_it(self, scheme, conn_type, extra, message):
        with pytest.raises(SpecError, match=message) as caught:
            storage_options(scheme, conn_type=conn_type, extra=extra)
        assert SECRET not in str(caught.value)

    def test_nothing_that_is_printed_has_a_secret(self):
        found = storage_options("s3", conn_type="aws", login="ME", password=SECRET)
        assert SECRET not in repr(found)
