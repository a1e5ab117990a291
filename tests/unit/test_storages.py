"""How tests are chosen by ``pytest --storage``, on a file of tests that another pytest runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.storages import BASE, keys, objects, storage_of
from tuneflow.store import Store

ROOT = Path(__file__).parents[2]
TESTS = """
import os

import pytest

from tuneflow.store import Store


def test_plain():
    pass


def test_uses(storage):
    Store(storage).put("key", b"")


@pytest.mark.one_process
def test_alone(storage, storages):
    Store(storage).put("key", b"")
    assert storage.startswith("file:" if storages.kind == "file" else "memory:")
    assert (os.environ.get("TESTED_BASE") == storage) == (storages.kind != "file")


@pytest.mark.elsewhere
def test_elsewhere(storage):
    Store(storage).put("key", b"")


@pytest.mark.local("why")
@pytest.mark.one_process
def test_local(storage):
    assert storage.startswith("file:")
"""
STRAYS = """
import pytest


@pytest.mark.one_process
def test_strays(storage, tmp_path):
    (tmp_path / "study.json").touch()
"""


def chosen(folder, *options, text=TESTS):
    """Return the tests that passed, and all that pytest printed."""
    (folder / "test_them.py").write_text(text)
    fixed = ("-p", "tests.storages", "-p", "no:cacheprovider", "--rootdir", str(folder), "-v")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *fixed, *options, "test_them.py"],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return re.findall(r"::test_(\w+) PASSED", done.stdout), done.stdout + done.stderr


class TestChoosing:
    def test_without_the_option_all_tests_run_on_local_files(self, tmp_path):
        passed, said = chosen(tmp_path)
        assert passed == ["plain", "uses", "alone", "local"], said

    def test_in_memory_are_those_that_stay_in_one_process(self, tmp_path):
        passed, said = chosen(tmp_path, "--storage", "memory")
        assert passed == ["alone"], said
        assert "4 deselected" in said

    def test_on_a_server_are_those_that_ask_for_a_storage(self, tmp_path):
        _, said = chosen(tmp_path, "--storage", "s3", "--collect-only")
        assert re.findall(r"<Function test_(\w+)>", said) == ["uses", "alone", "elsewhere"]

    def test_what_is_none_is_said(self, tmp_path):
        _, said = chosen(tmp_path, "--storage", "tape")
        assert "invalid choice: 'tape'" in said

    def test_a_test_that_keeps_its_study_elsewhere_is_an_error(self, tmp_path):
        _, said = chosen(tmp_path, "--storage", "memory", text=STRAYS)
        assert "this test did not use its storage, but " in said
        passed, said = chosen(tmp_path, text=STRAYS)
        assert passed == ["strays"], said


class TestLooking:
    def test_studies_are_beside_what_is_in_a_folder_unless_told_otherwise(self, monkeypatch):
        monkeypatch.delenv(BASE, raising=False)
        assert storage_of("/tmp/mine") == "/tmp/mine/tuneflow-results"
        monkeypatch.setenv(BASE, "s3://bucket/x")
        assert storage_of("/tmp/mine") == "s3://bucket/x/mine"

    def test_keys_are_found_as_files_would_be(self, tmp_path):
        store = Store(tmp_path)
        for key in ("trials/1/segments/0.json", "trials/1/log", "trials/segments/0.json", "a.json"):
            store.put(key, key.encode())
        assert keys(tmp_path, "trials/*/segments/*.json") == ["trials/1/segments/0.json"]
        assert keys(tmp_path, "*.json") == ["a.json"]
        assert objects(tmp_path, "trials/*/log") == {"trials/1/log": b"trials/1/log"}
