"""The hint that says where a study ran last."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuneflow.last_place import PATH, LastPlace, base_folder
from tuneflow.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "study")


def test_what_is_remembered_is_recalled(store, tmp_path):
    place = LastPlace(str(tmp_path), {"type": "dask", "workers": 2})
    place.remember(store)
    assert LastPlace.recall(store) == place


def test_the_newest_place_counts(store):
    LastPlace("/first").remember(store)
    LastPlace("/second").remember(store)
    assert LastPlace.recall(store) == LastPlace("/second")


def test_nothing_that_looks_like_a_credential_is_kept(store):
    executor = {
        "type": "cloud",
        "address": "tls://user:pass@10.0.0.5:8786",
        "token": "abc",
        "options": {"api_key": "abc", "client_secret": "abc", "region": "eu"},
        "hosts": ["tcp://u:p@a:1", "tcp://b:1"],
        "tls_key_file": "/etc/key.pem",
    }
    LastPlace("/folder", executor).remember(store)
    assert LastPlace.recall(store).executor == {
        "type": "cloud",
        "options": {"region": "eu"},
        "hosts": ["tcp://b:1"],
        "tls_key_file": "/etc/key.pem",
    }


@pytest.mark.parametrize("data", [b"", b"[1]", b"{", b'{"where": 1}', b"\xff"])
def test_a_hint_that_cannot_be_read_is_no_hint(store, data):
    store.put(PATH, data)
    assert LastPlace.recall(store) is None


def test_no_hint(store):
    assert LastPlace.recall(store) is None


def test_relative_paths_start_where_they_did_unless_the_folder_is_gone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    assert base_folder(LastPlace(str(tmp_path / "there"))) == tmp_path / "there"
    assert base_folder(LastPlace(str(tmp_path / "gone"))) == Path.cwd()
    assert base_folder(None) == Path.cwd()
