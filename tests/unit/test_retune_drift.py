"""Drift: the newest value of a metric in a file, and the thresholds it may not leave."""

from __future__ import annotations

import json
import math
import uuid

import pytest

from tuneflow.errors import SpecError, StorageError
from tuneflow.retune.drift import has_drifted, read_metric
from tuneflow.store import Store


@pytest.fixture
def write(tmp_path):
    """Writes a metric file, and returns its path."""

    def write(text, name="metrics"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


@pytest.mark.parametrize(
    "text",
    [
        '{"accuracy": 0.93, "loss": 2}',
        '{\n  "loss": 2,\n  "accuracy": 0.93\n}\n',
        '{"accuracy": 0.5}\n{"accuracy": 0.93}\n',
        '{"accuracy": 0.93}\n{"loss": 3}\n\n',
        '{"accuracy": 0.93}\n{"accuracy": null}\n',
        "time,accuracy\n2026-11-23,0.5\n2026-11-24,0.93\n",
        "time,accuracy\r\n2026-11-23,0.93\r\n2026-11-24,\r\n",
        b'\xef\xbb\xbf{"accuracy": 0.93}',
        b"\xef\xbb\xbfaccuracy\n0.93\n",
    ],
)
def test_the_newest_value_is_read_in_every_form(write, text):
    assert read_metric(write(text), "accuracy") == 0.93


def test_a_nested_metric_has_a_dotted_name(write):
    assert read_metric(write('{"eval": {"accuracy": 0.93}}'), "eval.accuracy") == 0.93


def test_a_whole_number_is_a_value(write):
    assert read_metric(write('{"errors": 3}'), "errors") == 3.0


def test_a_file_may_be_in_any_storage():
    store = Store(f"memory://{uuid.uuid4().hex}/monitor")
    store.put("new est.json", b'{"accuracy": 0.93}')
    assert read_metric(f"{store.url}/new est.json", "accuracy") == 0.93
    assert read_metric(f"{store.url}/new%20est.json", "accuracy") == 0.93


def test_a_file_may_be_named_by_a_url(write):
    path = write('{"a": 1}')
    assert read_metric(f"file://{path}", "a") == 1.0


@pytest.mark.parametrize(
    ("value", "limits", "drifted", "said"),
    [
        (0.89, (0.9, None), True, "a has drifted: 0.89 is below 0.9"),
        (0.9, (0.9, None), False, "a has not drifted: 0.9 is not below 0.9"),
        (0.9, (None, 0.9), False, "a has not drifted: 0.9 is not above 0.9"),
        (0.91, (None, 0.9), True, "a has drifted: 0.91 is above 0.9"),
        (0.5, (0.1, 0.9), False, "a has not drifted: 0.5 is not below 0.1 and not above 0.9"),
        (0.0, (0.1, 0.9), True, "a has drifted: 0 is below 0.1"),
        (1.0, (0.1, 0.9), True, "a has drifted: 1 is above 0.9"),
    ],
)
def test_a_value_beyond_a_threshold_is_drift(write, value, limits, drifted, said):
    below, above = limits
    found = has_drifted(write(json.dumps({"a": value})), "a", below=below, above=above)
    assert found.is_drifted is drifted
    assert bool(found) is drifted
    assert found.value == value
    assert found.sentence == said


@pytest.mark.parametrize(
    ("text", "metric", "field", "said"),
    [
        ('{"accuracy": 1}', "acuracy", "metric", "has no 'acuracy'; did you mean 'accuracy'"),
        ('{"a": 1}\n{"b": 2}', "metric", "metric", "has no 'metric'; known: a, b"),
        ("a,b\n1,2\n", "c", "metric", "has no 'c'; known: a, b"),
        ("a,b\n", "a", "metric", "has no 'a'"),
        ('{"a": "high"}', "a", "metric", "is 'high', which is not a number"),
        ('{"a": true}', "a", "metric", "is True, which is not a number"),
        ('{"a": NaN}', "a", "metric", "is nan, which is not a number"),
        (f'{{"a": 1{"0" * 400}}}', "a", "metric", "which is not a number"),
        ("a\nnan\n", "a", "metric", "is 'nan', which is not a number"),
        ('{"a": [1]}', "a", "metric", r"is \[1\], which is not a number"),
        ("", "a", "url", "is empty"),
        (" \n", "a", "url", "is empty"),
        ("[1, 2]", "a", "url", "is neither a JSON object nor JSON lines"),
        ('{"a": 1}\n{"a": 2', "a", "url", 'a line that is not JSON: {"a": 2'),
        (b"\xff\xfe\x00", "a", "url", "is not text in UTF-8"),
    ],
)
def test_what_cannot_be_read_is_named(write, text, metric, field, said):
    with pytest.raises(SpecError, match=said) as caught:
        read_metric(write(text), metric)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("below", "above", "said"),
    [
        (None, None, "there is no threshold"),
        (math.nan, None, "below: nan is no threshold"),
        (None, math.inf, "above: inf is no threshold"),
        (0.9, 0.1, "0.9 is more than 0.1, so that every value would be drift"),
    ],
)
def test_thresholds_that_cannot_work_are_refused_before_the_file_is_read(below, above, said):
    with pytest.raises(SpecError, match=said):
        has_drifted("/nowhere/at/all", "a", below=below, above=above)


@pytest.mark.parametrize("url", ["{tmp}/none.json", "memory://no-such-place/none.json"])
def test_a_file_that_is_not_there_is_bad_input(tmp_path, url):
    with pytest.raises(SpecError, match=r"there is no file at .*none\.json"):
        read_metric(url.format(tmp=tmp_path), "a")


def test_a_bucket_alone_is_no_file():
    with pytest.raises(SpecError, match="s3://bucket names no object; write s3://bucket/metrics"):
        read_metric("s3://bucket", "a")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(StorageError, match=r"cannot read .*: is a directory"):
        read_metric(str(tmp_path), "a")


def test_a_storage_that_cannot_be_used_says_so(monkeypatch):
    def refuses(self, path):
        raise StorageError("the credentials were refused")

    monkeypatch.setattr(Store, "get", refuses)
    with pytest.raises(StorageError, match="refused"):
        read_metric("s3://bucket/metrics.json", "a")
