"""Facts as lines of JSON."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneflow.errors import CorruptError
from tuneflow.events import (
    Closed,
    Elapsed,
    Exhausted,
    Finished,
    Halted,
    Launched,
    Opened,
    Reported,
    Stopped,
    decode,
    encode,
)
from tuneflow.trial import Failure, Report

_NUMBERS = st.integers(0, 10**6)
_LEVELS = _NUMBERS | st.floats(0, 1e9)
_TEXTS = st.text(st.characters())
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=6,
)
_REFS = st.none() | _TEXTS
_PARAMS = st.dictionaries(_TEXTS, _JSON, max_size=3)
_FAILURES = st.none() | st.builds(Failure, _TEXTS, _TEXTS)
_STATUSES = st.sampled_from(["paused", "completed", "stopped", "failed", "lost"])
_REPORTS = st.builds(Report, _LEVELS, st.dictionaries(_TEXTS, st.floats(), max_size=3), _REFS)
FACTS = st.one_of(
    st.builds(
        Launched,
        trial=_NUMBERS,
        segment=_NUMBERS,
        until=st.none() | _LEVELS,
        start=_LEVELS,
        checkpoint=_REFS,
        params=st.none() | _PARAMS,
        bracket=_NUMBERS,
        source=st.none() | _NUMBERS,
        attempt=_NUMBERS,
    ),
    st.builds(Reported, _NUMBERS, _REPORTS),
    st.builds(Stopped, _NUMBERS, _TEXTS),
    st.builds(Closed, _NUMBERS, _STATUSES, _FAILURES, st.booleans()),
    st.builds(Exhausted, _TEXTS),
    st.builds(Finished, _TEXTS),
    st.builds(Halted, _TEXTS),
    st.builds(Opened, _NUMBERS, st.booleans()),
    st.builds(Elapsed, st.floats(0, 1e9), st.floats(0, 1e9)),
)


@given(FACTS)
def test_a_fact_comes_back_as_it_was(fact):
    line = encode(fact)
    assert "\n" not in line
    assert line.isascii()
    assert encode(decode(line)) == line
    if '"NaN"' not in line:
        assert decode(line) == fact


def test_text_that_no_encoding_has_survives():
    broken = b"caf\xe9".decode(errors="surrogateescape")
    fact = Closed(0, "failed", Failure("ValueError", broken))
    assert decode(encode(fact).encode()) == fact


def test_fields_that_have_their_default_are_left_out():
    assert json.loads(encode(Launched(3, 0, None))) == {
        "fact": "launched",
        "trial": 3,
        "segment": 0,
        "until": None,
    }
    assert json.loads(encode(Opened(2))) == {"fact": "opened", "epoch": 2}


def test_metrics_that_json_does_not_have_are_strings():
    metrics = {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 1}
    line = encode(Reported(0, Report(1, metrics)))
    assert json.loads(line)["metrics"] == {"a": "NaN", "b": "Infinity", "c": "-Infinity", "d": 1.0}
    decoded = decode(line).report.metrics
    assert math.isnan(decoded.pop("a"))
    assert decoded == {"b": math.inf, "c": -math.inf, "d": 1.0}


def test_the_time_of_a_report_is_not_journaled():
    assert "time" not in encode(Reported(0, Report(1, {}, time=123.0)))


@pytest.mark.parametrize(
    "line",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"fact":"told"}',
        '{"fact":"closed","trial":1}',
        '{"fact":"closed","trial":1,"status":"paused","mood":"good"}',
        '{"fact":"reported","trial":1,"resource":1,"metrics":{"a":NaN}}',
        '{"fact":"reported","trial":1,"resource":1,"metrics":{"a":"x"}}',
        '{"fact":"closed","trial":1,"status":"failed","failure":{"why":"x"}}',
        '{"fact":"closed","trial":1,"status":',
        b"\xff\xfe",
    ],
)
def test_anything_else_is_refused(line):
    with pytest.raises(CorruptError, match="not a fact"):
        decode(line)
