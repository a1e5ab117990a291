"""Which names are secret, and that what they name is in no text."""

from __future__ import annotations

import pytest

from tuneflow import redaction
from tuneflow.errors import SpecError
from tuneflow.objective.failures import failure_of
from tuneflow.objective.output import Log
from tuneflow.objective.reference import refuse_secrets
from tuneflow.redaction import hide, is_secret_name, redacted, redacted_bytes

SECRET = "wJalrXUtnFEMI/K7MDENG"


@pytest.fixture(autouse=True)
def secrets(monkeypatch):
    monkeypatch.setattr(redaction, "_hidden", set())
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


@pytest.mark.parametrize(
    "name",
    [
        "HF_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "WANDB_API_KEY",
        "wandb-api-key",
        "DB_PASSWORD",
        "AZURE_STORAGE_ACCOUNT_KEY",
        "AZURE_STORAGE_SAS",
        "accessToken",
        "secretAccessKey",
        "DB_PASS",
        "MYSQL_PWD",
        "AZURE_STORAGE_CONNECTION_STRING",
        "AIRFLOW__CORE__FERNET_KEY",
        "CLIENT_SECRET_2",
        "GOOGLE_APPLICATION_CREDENTIALS",
    ],
)
def test_names_of_secrets(name):
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "MAX_TOKENS",
        "TOKENIZERS_PARALLELISM",
        "KEYBOARD",
        "PRIMARY_KEY",
        "TOKEN_FILE",
        "PATH",
        "PWD",
        "OLDPWD",
        "SECOND_PASS",
        "numTokens",
        "lr",
    ],
)
def test_names_of_nothing_secret(name):
    assert not is_secret_name(name)


def test_the_value_of_a_secret_variable_is_masked_wherever_it_stands():
    assert redacted(f"a{SECRET}b {SECRET}") == "a***b ***"
    assert redacted_bytes(b"\xff" + SECRET.encode() + b"\xfe") == b"\xff***\xfe"


def test_other_variables_and_short_values_stay(monkeypatch):
    monkeypatch.setenv("EXPERIMENT", "resnet-50")
    monkeypatch.setenv("SOME_TOKEN", "on")
    assert redacted("resnet-50 is on") == "resnet-50 is on"
    assert redacted_bytes(b"resnet-50 is on") == b"resnet-50 is on"


def test_a_secret_that_holds_another_is_masked_whole(monkeypatch):
    monkeypatch.setenv("A_TOKEN", "abcdef")
    monkeypatch.setenv("B_TOKEN", "abcdef-123456")
    assert redacted("abcdef-123456") == "***"


def test_the_path_of_a_file_with_secrets_stays(monkeypatch, tmp_path):
    file = tmp_path / "key.json"
    file.touch()
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    assert redacted(f"cannot read {file}") == f"cannot read {file}"


def test_credentials_in_urls_are_masked_and_addresses_of_people_are_not():
    text = "postgresql://me:hunter2@db/x, mail me@example.org, s3://bucket/a@b"
    assert redacted(text) == "postgresql://***@db/x, mail me@example.org, s3://bucket/a@b"
    assert redacted_bytes(b"https://t0ken@host/\xff") == b"https://***@host/\xff"


def test_what_is_hidden_is_masked():
    hide(["from-a-connection", "tiny"])
    assert redacted("from-a-connection tiny") == "*** tiny"


def test_logs_and_failures_have_no_secrets():
    log = Log()
    log.write(SECRET[:7].encode())
    log.write(SECRET[7:].encode() + b"\n")
    assert log.getvalue() == b"***\n"
    assert log.tail() == "***"
    try:
        raise ValueError(f"denied for {SECRET}")
    except ValueError as error:
        failure = failure_of(error)
    assert failure.message == "denied for ***"
    assert SECRET not in failure.traceback
    assert "denied for ***" in failure.traceback
    assert failure_of(SystemExit(SECRET)).message == "exited with status ***"


class TestEnvOfAnObjective:
    @pytest.mark.parametrize("reference", [{"function": "a:b"}, {"command": ["train"]}])
    def test_a_secret_is_refused_without_being_repeated(self, reference):
        with pytest.raises(
            SpecError, match=r"^objective\.env\.HF_TOKEN: .*where the trials run"
        ) as e:
            refuse_secrets({**reference, "env": {"HF_TOKEN": "hf_abcdefgh"}})
        assert "hf_abc" not in str(e.value)

    @pytest.mark.parametrize(
        "env",
        [
            None,
            {},
            {"OMP_NUM_THREADS": 2},
            {"TOKENIZERS_PARALLELISM": "false"},
            {"HF_TOKEN": ""},
            {"MY_TOKEN": "{tokens}"},
            {"GOOGLE_APPLICATION_CREDENTIALS": "/etc/key.json"},
        ],
    )
    def test_others_are_fine(self, env):
        refuse_secrets({"function": "a:b", "env": env})
