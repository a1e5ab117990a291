"""Credentials from the places where people have them; a proxy sees which ones are used."""

from __future__ import annotations

import base64
import json
import os
import pickle
import secrets
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from tests.certificates import make_certificates
from tests.meddling import Meddling
from tests.metadata import metadata
from tuneflow import credentials
from tuneflow.errors import SpecError, StorageError
from tuneflow.redaction import redacted
from tuneflow.store import Store

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("impatient")]

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
SECRET = "a-secret-that-nobody-may-see"


@pytest.fixture
def without_keys(meddling, monkeypatch):
    """An environment that knows the server, and has no keys for it."""
    for name in KEYS:
        monkeypatch.delenv(name)
    return meddling


@pytest.fixture
def cloud():
    with metadata() as made:
        yield made


@pytest.fixture(autouse=True)
def _nothing_stays_provided():
    yield
    for prefix in list(credentials._known._by_prefix):
        credentials.withdraw(prefix)


def used(meddling, url):
    """Return the access keys that a new store is used with."""
    Store(url).put("a", b"1")
    assert Store(url).get("a") == b"1"
    return meddling.keys


class TestAmazon:
    def test_the_environment(self, meddling, s3_url):
        assert used(meddling, s3_url) == ["dummy-access-key"]

    @pytest.mark.parametrize("profile", ["", "lab"])
    def test_a_profile(self, without_keys, s3_url, tmp_path, monkeypatch, profile):
        file = tmp_path / "credentials"
        one = "aws_access_key_id = {}\naws_secret_access_key = x\n"
        file.write_text(f"[default]\n{one.format('OWN')}[lab]\n{one.format('LAB')}")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
        if profile:
            monkeypatch.setenv("AWS_PROFILE", profile)
        assert used(without_keys, s3_url) == ["LAB" if profile else "OWN"]

    def test_a_profile_that_there_is_not_is_one_clear_error(
        self, without_keys, s3_url, monkeypatch
    ):
        monkeypatch.setenv("AWS_PROFILE", "nowhere")
        with pytest.raises(StorageError, match=r"the AWS profile 'nowhere' has no credentials"):
            Store(s3_url).probe()

    def test_the_role_of_an_instance(self, without_keys, cloud, s3_url, monkeypatch):
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", cloud.endpoint)
        assert used(without_keys, s3_url) == ["ROLEKEY"]
        assert [seen[0] for seen in cloud.seen[:2]] == ["PUT", "GET"]

    def test_the_role_of_a_pod_by_its_identity(
        self, without_keys, cloud, s3_url, tmp_path, monkeypatch
    ):
        (tmp_path / "token").write_text("the-token-of-the-pod")
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{cloud.endpoint}/container")
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
        assert used(without_keys, s3_url) == ["ROLEKEY"]
        assert "the-token-of-the-pod" in str(cloud.seen[0][2])

    def test_the_role_of_a_service_account(self, without_keys, s3_url, tmp_path, monkeypatch):
        (tmp_path / "token").write_text("the-token-of-the-account")
        certificates = make_certificates(tmp_path / "tls")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca))
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/lab")
        with metadata(certificates) as cloud:
            monkeypatch.setenv("AWS_ENDPOINT_URL_STS", cloud.endpoint)
            assert used(without_keys, s3_url) == ["ROLEKEY"]
            assert "the-token-of-the-account" in cloud.seen[0][1]

    def test_none_at_all_is_one_clear_error(self, without_keys, s3_url, monkeypatch):
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
        monkeypatch.setenv("TUNEFLOW_STORAGE_PATIENCE", "0.1")
        with pytest.raises(StorageError, match="no credentials were found; set AWS_ACCESS_KEY_ID"):
            Store(s3_url).probe()


class TestProvided:
    def test_come_before_those_of_the_environment(self, meddling, s3_url, monkeypatch):
        monkeypatch.setenv("AWS_SESSION_TOKEN", "of-the-environment")
        credentials.provide(s3_url, dict(zip(KEYS, ("GIVEN", SECRET), strict=True)))
        assert used(meddling, f"{s3_url}/study") == ["GIVEN"]
        assert "of-the-environment" not in str(meddling.seen)

    def test_are_for_one_place_and_what_lies_below_it(self, meddling, s3_url):
        credentials.provide(s3_url, dict(zip(KEYS, ("GIVEN", SECRET), strict=True)))
        assert used(meddling, f"{s3_url}-other") == ["dummy-access-key"]

    def test_the_nearest_place_counts(self, meddling, s3_url):
        credentials.provide(s3_url, dict(zip(KEYS, ("FAR", SECRET), strict=True)))
        credentials.provide(f"{s3_url}/a", dict(zip(KEYS, ("NEAR", SECRET), strict=True)))
        assert used(meddling, f"{s3_url}/a/b") == ["NEAR"]

    def test_reach_stores_that_are_open(self, meddling, s3_url):
        store = Store(s3_url)
        store.put("a", b"1")
        credentials.provide(s3_url, dict(zip(KEYS, ("GIVEN", SECRET), strict=True)))
        store.put("a", b"2")
        assert meddling.keys == ["dummy-access-key", "GIVEN"]

    def test_bring_the_endpoint_along(self, s3_endpoint, s3_url, monkeypatch):
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        proxy = Meddling(s3_endpoint.removeprefix("http://"))
        try:
            options = {"AWS_ENDPOINT_URL": proxy.endpoint, "AWS_ALLOW_HTTP": "true"}
            keys = dict(zip(KEYS, ("GIVEN", SECRET), strict=True))
            credentials.provide(s3_url, {**keys, **options, "AWS_REGION": "eu-central-1"})
            assert used(proxy, s3_url) == ["GIVEN"]
            assert "eu-central-1" in str(proxy.seen[0][2])
        finally:
            proxy.end()

    def test_may_change_with_time(self, meddling, s3_url):
        given = iter(["FIRST", "SECOND", "THIRD"])

        def refresh():
            return {
                "access_key_id": next(given),
                "secret_access_key": SECRET,
                "token": None,
                "expires_at": datetime.now(UTC),
            }

        credentials.provide(s3_url, {}, refresh)
        store = Store(s3_url)
        store.put("a", b"1")
        store.put("a", b"2")
        assert meddling.keys == ["FIRST", "SECOND"]

    def test_of_another_role_are_asked_for_as_soon_as_what_is_there_expires(self, meddling, s3_url):
        def role(name):
            keys = {"access_key_id": name, "secret_access_key": SECRET, "token": None}
            return lambda: {**keys, "expires_at": datetime.now(UTC)}

        credentials.provide(s3_url, {}, role("BEFORE"))
        store = Store(s3_url)
        store.put("a", b"1")
        credentials.provide(s3_url, {}, role("AFTER"))
        store.put("a", b"2")
        assert meddling.keys == ["BEFORE", "AFTER"]

    def test_that_cannot_be_had_are_one_clear_error(self, meddling, s3_url):
        def refresh():
            raise RuntimeError(f"no answer about {SECRET}")

        credentials.provide(s3_url, {}, refresh)
        with pytest.raises(StorageError, match="the credentials were refused") as caught:
            Store(s3_url).put("a", b"1")
        assert SECRET not in str(caught.value)

    def test_do_not_travel_with_a_store(self, meddling, s3_url):
        credentials.provide(s3_url, dict(zip(KEYS, ("GIVEN", SECRET), strict=True)))
        store = Store(s3_url)
        store.put("a", b"1")
        assert SECRET.encode() not in pickle.dumps(store)
        assert b"GIVEN" not in pickle.dumps(store)
        code = f"import pickle; pickle.loads({pickle.dumps(store)!r}).put('a', b'2')"
        subprocess.run([sys.executable, "-c", code], check=True)
        assert meddling.keys == ["GIVEN", "dummy-access-key"]

    def test_are_in_nothing_that_is_printed(self, s3_url):
        credentials.provide(s3_url, dict(zip(KEYS, ("GIVEN", SECRET), strict=True)))
        found = credentials.provided_for(s3_url)
        assert SECRET not in f"{found!r} {vars(Store(s3_url))}"
        assert redacted(f"it was {SECRET}") == "it was ***"

    @pytest.mark.parametrize("name", ["PATH", "AZURE_STORAGE_ACCOUNT_KEY", "access_key_id"])
    def test_that_are_for_no_such_storage_are_refused(self, s3_url, name):
        with pytest.raises(SpecError, match=r"is not opened with this option; use AWS_") as caught:
            credentials.provide(s3_url, {name: SECRET})
        assert SECRET not in str(caught.value)

    @pytest.mark.parametrize(("given", "missing"), [KEYS, KEYS[::-1]])
    def test_half_of_a_key_is_refused(self, s3_url, given, missing):
        problem = f"credentials.{missing}: it is missing beside {given}; give both"
        with pytest.raises(SpecError, match=problem):
            credentials.provide(s3_url, {given: SECRET})

    def test_an_option_that_nobody_knows_is_one_clear_error(self, meddling, s3_url):
        credentials.provide(s3_url, {"AWS_NONSENSE": "1"})
        with pytest.raises(StorageError, match="'aws_nonsense' is not valid"):
            Store(s3_url).put("a", b"1")

    def test_a_folder_takes_none(self, tmp_path):
        with pytest.raises(SpecError, match="needs no credentials"):
            credentials.provide(f"file://{tmp_path}", {})


class TestOtherClouds:
    """What their servers are asked with; these answer nothing that is any good."""

    @pytest.fixture
    def listening(self):
        with metadata() as made:
            yield made

    def asked(self, listening, url):
        with pytest.raises(StorageError):
            Store(url).put("a", b"1")
        _, path, headers = listening.seen[-1]
        return path, {name.lower(): value for name, value in headers.items()}

    def test_azure_key_of_the_environment(self, listening, monkeypatch):
        for name, value in self.azure(listening).items():
            monkeypatch.setenv(name, value)
        _, headers = self.asked(listening, "az://container/study")
        assert headers["authorization"].startswith("SharedKey lab:")

    def test_azure_key_that_is_provided(self, listening):
        credentials.provide("az://container/study", self.azure(listening))
        path, headers = self.asked(listening, "az://container/study")
        assert headers["authorization"].startswith("SharedKey lab:")
        assert path.startswith("/lab/container/study/a")

    def test_azure_token_that_is_provided_comes_before_a_key_of_the_environment(
        self, listening, monkeypatch
    ):
        options = self.azure(listening)
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", options.pop("AZURE_STORAGE_ACCOUNT_KEY"))
        options["AZURE_STORAGE_SAS_TOKEN"] = "sv=2021-12-02&sig=abcdefgh"
        credentials.provide("az://container/study", options)
        path, headers = self.asked(listening, "az://container/study")
        assert "sig=abcdefgh" in path
        assert "authorization" not in headers

    @pytest.mark.parametrize("name", ["AZURE_STORAGE_ACCOUNT_KEY", "AZURE_FEDERATED_TOKEN_FILE"])
    def test_what_would_come_before_an_azure_principal_is_refused(
        self, listening, monkeypatch, name
    ):
        options = self.azure(listening)
        monkeypatch.setenv(name, options.pop("AZURE_STORAGE_ACCOUNT_KEY"))
        options["AZURE_STORAGE_CLIENT_ID"] = options["AZURE_STORAGE_TENANT_ID"] = "of-an-app"
        options["AZURE_STORAGE_CLIENT_SECRET"] = SECRET
        credentials.provide("az://container/study", options)
        with pytest.raises(StorageError, match=f"{name} of the environment would come before"):
            Store("az://container/study").get("a")
        assert listening.seen == []

    @pytest.mark.parametrize("order", [1, -1])
    def test_a_google_account_of_the_environment_beside_one_that_is_provided_is_refused(
        self, listening, monkeypatch, order
    ):
        given, other = ("GOOGLE_SERVICE_ACCOUNT_KEY", "GOOGLE_SERVICE_ACCOUNT")[::order]
        monkeypatch.setenv(other, "of-the-environment")
        credentials.provide("gs://bucket", {given: "provided"})
        with pytest.raises(StorageError, match=f"{other} of the environment .* unset it"):
            Store("gs://bucket/study").get("a")

    def test_google_token_that_is_provided(self, listening):
        options = {"GOOGLE_BASE_URL": listening.endpoint, "GOOGLE_ALLOW_HTTP": "true"}
        refresh = lambda: {"token": "of-today", "expires_at": None}  # noqa: E731
        credentials.provide("gs://bucket/study", options, refresh)
        path, headers = self.asked(listening, "gs://bucket/study")
        assert headers["authorization"] == "Bearer of-today"
        assert path.startswith("/bucket/study")

    @pytest.mark.parametrize("given", ["environment", "provided", "file"])
    def test_google_service_account(self, listening, tmp_path, monkeypatch, given):
        account = json.dumps({**self.account(), "gcs_base_url": listening.endpoint})
        monkeypatch.setenv("GOOGLE_ALLOW_HTTP", "true")
        if given == "provided":
            credentials.provide("gs://bucket", {"GOOGLE_SERVICE_ACCOUNT_KEY": account})
        elif given == "environment":
            monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", account)
        else:
            (tmp_path / "account.json").write_text(account)
            monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
            monkeypatch.setenv("GOOGLE_BASE_URL", listening.endpoint)
        _, headers = self.asked(listening, "gs://bucket/study")
        token = headers["authorization"].removeprefix("Bearer ")
        claims = token.split(".")[1]
        said = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        assert said["iss"] == "lab@project.iam.gserviceaccount.com"

    def azure(self, listening):
        return {
            "AZURE_STORAGE_ACCOUNT_NAME": "lab",
            "AZURE_STORAGE_ACCOUNT_KEY": base64.b64encode(secrets.token_bytes(64)).decode(),
            "AZURE_STORAGE_ENDPOINT": f"{listening.endpoint}/lab",
            "AZURE_ALLOW_HTTP": "true",
        }

    def account(self):
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa

        key = rsa.generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return {
            "type": "service_account",
            "private_key": key.decode(),
            "private_key_id": "1",
            "client_email": "lab@project.iam.gserviceaccount.com",
            "client_id": "1",
            "disable_oauth": False,
        }
