"""A store that fails on command fails where it is told to, and is like any other elsewhere."""

from __future__ import annotations

import pytest

from tests.places import new_url
from tuneflow.errors import StorageError
from tuneflow.store import AlreadyExists, Store
from tuneflow.testing import Fault, FaultyStore, PowerCut
from tuneflow.testing.faulty_store import lost_answer


@pytest.fixture
def store():
    return FaultyStore(new_url())


def test_it_is_a_store(store, tmp_path):
    store.create("a", b"1")
    store.put("b", b"2")
    store.upload("c", [b"3"], 1)
    store.download("c", tmp_path / "c")
    assert store.get_many(store.list()) == [b"1", b"2", b"3"]
    assert (tmp_path / "c").read_bytes() == b"3"
    with pytest.raises(AlreadyExists):
        store.create("a", b"4")
    assert store.calls == 7


def test_a_call_fails_before_it_does_anything(store):
    store.plan(Fault(after_calls=1))
    store.put("a", b"1")
    with pytest.raises(PowerCut):
        store.put("b", b"2")
    assert not store.is_planned
    assert store.list() == ["a"]


def test_a_call_fails_when_it_is_done(store):
    store.plan(lost_answer())
    with pytest.raises(StorageError, match="the answer was lost"):
        store.create("a", b"1")
    store.create("a", b"1")
    assert Store(store.url).get("a") == b"1"


def test_nothing_comes_of_a_plan_that_is_given_up(store):
    store.plan(Fault())
    store.plan(None)
    store.put("a", b"1")


def test_while_it_is_away_nothing_is_done(store):
    store.is_away = True
    with pytest.raises(StorageError, match="is away"):
        store.put("a", b"1")
    store.is_away = False
    assert store.list() == []
