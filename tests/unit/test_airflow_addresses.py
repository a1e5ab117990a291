"""How the fields of an Airflow connection become the address of a Dask scheduler."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tuneflow.airflow.addresses import cluster_address
from tuneflow.errors import SpecError


def address_of(host, port=None, **extra):
    return cluster_address(host, port, json.dumps(extra) if extra else None).address


@pytest.mark.parametrize(
    ("host", "port", "address"),
    [
        ("10.0.0.5", None, "tcp://10.0.0.5:8786"),
        ("10.0.0.5", 9000, "tcp://10.0.0.5:9000"),
        ("scheduler.dask.svc", 8786, "tcp://scheduler.dask.svc:8786"),
        (" scheduler:9000 ", None, "tcp://scheduler:9000"),
        ("tcp://scheduler:9000", None, "tcp://scheduler:9000"),
        ("tls://scheduler", 9000, "tls://scheduler:9000"),
        ("wss://hub/clusters/7/", 443, "wss://hub:443/clusters/7"),
        ("::1", 9000, "tcp://[::1]:9000"),
        ("2001:db8::5", None, "tcp://[2001:db8::5]:8786"),
        ("[::1]", None, "tcp://[::1]:8786"),
        ("tcp://[::1]:9000", None, "tcp://[::1]:9000"),
    ],
)
def test_a_host_can_be_a_name_an_ip_address_or_a_url(host, port, address):
    assert address_of(host, port) == address


def test_the_port_of_the_host_counts_before_the_field():
    assert address_of("scheduler:9000", 8786) == "tcp://scheduler:9000"


def test_the_protocol_is_tls_where_there_is_a_certificate_authority(tmp_path):
    file = tmp_path / "ca.pem"
    file.touch()
    assert address_of("scheduler", tls_ca_file=str(file)) == "tls://scheduler:8786"
    assert address_of("scheduler", tls_ca_file=str(file), protocol="wss") == "wss://scheduler:8786"
    assert address_of("tcp://scheduler", protocol="tls") == "tcp://scheduler:8786"


def test_everything_else_is_in_the_extra(tmp_path):
    files = {name: str(tmp_path / name) for name in ("tls_ca_file", "tls_cert_file")}
    for file in files.values():
        Path(file).touch()
    given = {**files, "timeout": 2.5, "dashboard": "https://dask.example/status"}
    address = cluster_address("scheduler", None, json.dumps(given))
    assert address.to_json() == {
        "address": "tls://scheduler:8786",
        "tls_key_file": None,
        **given,
    }


@pytest.mark.parametrize("extra", [None, "", "{}", '{"timeout": null, "protocol": ""}'])
def test_what_a_form_leaves_empty_has_its_default(extra):
    address = cluster_address("scheduler", None, extra)
    assert address.address == "tcp://scheduler:8786"
    assert address.timeout == 10
    assert address.dashboard is None


def test_a_number_may_be_a_text_as_it_is_in_a_connection_uri():
    assert cluster_address("scheduler", None, '{"timeout": "30"}').timeout == 30


@pytest.mark.parametrize("host", [None, "", "  ", ":8786", "tcp://"])
def test_a_host_that_is_missing_is_named(host):
    with pytest.raises(SpecError, match=r"^host: it is empty; set the host"):
        cluster_address(host, 8786, None)


@pytest.mark.parametrize("host", ["scheduler:high", "scheduler:99999", "[::1", "a:b:c"])
def test_a_host_that_is_no_address_is_named(host):
    with pytest.raises(SpecError, match=r"^host: it is no address"):
        cluster_address(host, None, None)


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("timeout", "soon", "'soon' is not a number of seconds above 0"),
        ("timeout", 0, "0 is not a number of seconds above 0"),
        ("timeout", True, "True is not a number of seconds above 0"),
        ("timeout", [1], r"\[1\] is not a number of seconds above 0"),
        ("protocol", 4, "4 is not a text"),
        ("tls_ca_file", "/nowhere/ca.pem", "/nowhere/ca.pem is not a file on this machine"),
        ("tls_key_file", {}, "{} is not a text"),
        ("dashboard", "javascript:alert(1)", "'javascript:alert.1.' is not an http:// or"),
    ],
)
def test_a_field_that_cannot_work_is_named_with_its_value(field, value, problem):
    with pytest.raises(SpecError, match=f"^{field}: {problem}"):
        address_of("scheduler", **{field: value})


@pytest.mark.parametrize(
    ("extra", "problem"),
    [("{'secret'", "it is not JSON"), ('"secret"', "it is not a JSON object")],
)
def test_an_extra_that_is_no_json_object_is_refused_and_not_shown(extra, problem):
    with pytest.raises(SpecError, match=f"^extra: {problem}") as caught:
        cluster_address("scheduler", None, extra)
    assert "secret" not in str(caught.value)
