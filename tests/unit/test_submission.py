"""What a submission is made of: how drivers end, where they run, and what is uploaded for them."""

from __future__ import annotations

import importlib
import io
import sys
import zipfile
from types import SimpleNamespace

import pytest

from tuneflow.errors import (
    ClusterError,
    MissingDependencyError,
    ObjectiveError,
    SpecError,
    StorageError,
)
from tuneflow.events import Finished, Halted, Opened
from tuneflow.executors.dask import DaskExecutor
from tuneflow.last_place import LastPlace
from tuneflow.remote.cluster import ClusterAddress
from tuneflow.remote.code import Code, MissingModuleError
from tuneflow.remote.ends import Losses, is_halted, known_end
from tuneflow.remote.orders import DriverOrder
from tuneflow.remote.place import address_of, executor_at, last_address
from tuneflow.remote.seen import check_storage
from tuneflow.remote.submission import How, on_worker
from tuneflow.remote.upload import Upload
from tuneflow.spec import study_from_json

STUDY = study_from_json(
    {
        "name": "study",
        "objective": {"callable": "train"},
        "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}},
        "metric": "loss",
        "mode": "min",
        "searcher": "random",
        "trials": 2,
    }
)
URL = "file:///somewhere/study"


def history(*facts):
    made = STUDY.history()
    made.extend(facts)
    return made


def order(**more):
    return DriverOrder(URL, Code({"function": "a:b"}), **more)


class TestKnownEnd:
    def test_a_running_study_has_none(self):
        assert known_end(order(), STUDY, history(Opened(1, False))) is None

    def test_a_finished_study_says_why(self):
        end = known_end(order(), STUDY, history(Opened(1, False), Finished("enough")))
        assert end == {"state": "finished", "reason": "enough"}

    def test_failed_trials_are_to_be_tried_again_first(self):
        done = history(Opened(1, False), Finished("enough"))
        assert known_end(order(retry_failed=True, epoch=1), STUDY, done) is None
        assert known_end(order(retry_failed=True, epoch=0), STUDY, done) is not None

    def test_an_interrupted_study_goes_on(self):
        left = history(Opened(1, False), Halted("interrupted"))
        assert not is_halted(STUDY, left)
        assert known_end(order(), STUDY, left) is None


class TestLosses:
    def test_five_in_a_row_are_borne(self):
        losses, error = Losses(0), ClusterError("gone")
        for _ in range(5):
            losses.note(error, 0)
        with pytest.raises(ClusterError, match="gone"):
            losses.note(error, 0)

    def test_a_segment_that_ends_begins_the_count_anew(self):
        losses, error = Losses(0), ClusterError("gone")
        for closings in range(20):
            losses.note(error, closings)


class TestPlace:
    def test_an_address_is_read_back_from_what_is_kept(self):
        address = ClusterAddress("tls://a:1", "ca.pem", "cert.pem", "key.pem", timeout=3.0)
        place = LastPlace("/project", executor_at(address))
        assert last_address(URL, place) == address

    def test_what_is_given_comes_first(self):
        place = LastPlace("/project", executor_at(ClusterAddress("tls://a:1", "ca.pem")))
        assert last_address(URL, place, {"address": "tcp://b:2"}) == ClusterAddress("tcp://b:2")
        found = last_address(URL, place, {"tls_ca_file": "mine.pem"})
        assert (found.address, found.tls_ca_file) == ("tls://a:1", "mine.pem")

    @pytest.mark.parametrize("executor", [None, {"type": "inline"}, {"type": "dask", "workers": 2}])
    def test_a_study_that_ran_elsewhere_asks_for_an_address(self, executor):
        with pytest.raises(SpecError, match=r"address: .* does not say which Dask cluster"):
            last_address(URL, LastPlace("/project", executor))
        with pytest.raises(SpecError, match="address: "):
            last_address(URL, None)

    def test_an_executor_gives_address_and_settings(self):
        executor = DaskExecutor("tcp://a:1", isolation="process", parallel=4, connect_timeout=2.0)
        assert address_of(executor) == ClusterAddress("tcp://a:1", timeout=2.0)
        assert How.of(executor) == How("process", None, {"parallel": 4})

    def test_a_storage_of_one_process_is_refused(self):
        with pytest.raises(SpecError, match="storage: 'memory://here' is seen by this process"):
            check_storage("memory://here")
        check_storage("s3://bucket/studies")


class TestOrder:
    def test_it_is_read_back_from_json(self):
        given = order(settings={"parallel": 3})
        assert DriverOrder.from_json(given.to_json()) == given

    def test_one_of_an_earlier_release_is_read(self):
        data = order().to_json()
        del data["settings"], data["code"]["uploads"]
        assert DriverOrder.from_json(data) == order()

    def test_code_with_another_upload_is_other_code(self, tmp_path):
        (tmp_path / "own.py").write_text("def train(config):\n    return 1.0\n")
        code = Code.of("own.py:train", tmp_path)
        again = Code(code.reference, code.source, uploads=("a",))
        assert code.load() is code.load()
        assert again.load() is not code.load()


class TestErrorsOfWorkers:
    def test_a_missing_module_can_be_brought_along(self):
        told = on_worker(MissingModuleError("the worker a has no module 'b'; install it there"))
        assert type(told) is ObjectiveError
        assert str(told).endswith("install it there, or bring it along with --upload (uploads=[…])")

    def test_a_missing_package_says_where_it_is_missing(self):
        told = on_worker(MissingDependencyError("optuna", "optuna"))
        assert str(told).startswith("the worker of the study's driver lacks a package: optuna is")
        assert told.exit_code == 2

    def test_a_storage_says_who_cannot_use_it(self):
        told = on_worker(StorageError("no credentials"))
        assert isinstance(told, StorageError)
        assert "the worker of the study's driver cannot use the storage" in str(told)


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "project" / "tunable"
    (folder / "deep").mkdir(parents=True)
    (folder / "__pycache__").mkdir()
    for name in ("__init__.py", "deep/__init__.py", "deep/data.csv", "__pycache__/x.pyc", ".env"):
        (folder / name).write_text("")
    return folder


def names(upload):
    return zipfile.ZipFile(io.BytesIO(upload.data)).namelist()


class TestUpload:
    def test_a_package_is_packed_with_its_data_under_its_name(self, package):
        assert names(Upload.of(package)) == [
            "tunable/__init__.py",
            "tunable/deep/__init__.py",
            "tunable/deep/data.csv",
        ]

    def test_a_link_to_what_is_gone_stays_behind(self, package):
        before = Upload.of(package)
        (package / "weights.bin").symlink_to(package / "on-another-machine")
        assert Upload.of(package) == before

    def test_of_a_folder_of_modules_the_modules_are_packed(self, package):
        (package.parent / "helping.py").touch()
        found = names(Upload.of(package.parent))
        assert {"helping.py", "tunable/__init__.py"} <= set(found)

    def test_a_file_is_packed_alone(self, package):
        assert names(Upload.of(package / "__init__.py")) == ["__init__.py"]

    def test_an_archive_goes_as_it_is(self, package, tmp_path):
        path = tmp_path / "tunable-1.0-py3-none-any.whl"
        path.write_bytes(Upload.of(package).data)
        assert Upload.of(path).data == path.read_bytes()

    def test_versions_of_a_wheel_have_one_name(self, package, tmp_path):
        for version in ("1.0", "1.1"):
            path = tmp_path / f"tunable-{version}-py3-none-any.whl"
            path.write_bytes(Upload.of(package).data)
            assert Upload.of(path).name == "tunable"

    def test_the_same_files_are_the_same_version(self, package):
        before = Upload.of(package)
        (package / "deep/data.csv").touch()
        assert Upload.of(package) == before
        (package / "deep/data.csv").write_text("1")
        assert Upload.of(package).digest != before.digest

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("missing.py", "missing.py does not exist"),
            ("notes.txt", "cannot be imported by workers; give a .py file, a folder, or a ZIP"),
            ("broken.zip", "cannot be imported by workers"),
            ("empty", "has no Python file in it"),
        ],
    )
    def test_what_cannot_be_imported_is_refused(self, tmp_path, name, said):
        (tmp_path / "notes.txt").touch()
        (tmp_path / "broken.zip").write_text("this is no archive")
        (tmp_path / "empty").mkdir()
        with pytest.raises(SpecError, match=said):
            Upload.of(tmp_path / name)

    def test_what_is_too_large_is_refused_before_it_is_read(self, package):
        with (package / "weights.bin").open("wb") as file:
            file.truncate(60_000_000)
        with pytest.raises(SpecError, match="takes 60 MB; at most 50 MB can be uploaded"):
            Upload.of(package)


class TestUnpacking:
    @pytest.fixture
    def worker(self, tmp_path, monkeypatch):
        """What a worker is to a plugin; what it imports is forgotten in the end."""
        monkeypatch.setattr(sys, "path", list(sys.path))
        before = set(sys.modules)
        yield SimpleNamespace(local_directory=str(tmp_path / "worker"))
        for name in set(sys.modules) - before:
            del sys.modules[name]

    @staticmethod
    def version(tmp_path, text):
        path = tmp_path / "tunable_piece.py"
        path.write_text(text)
        return Upload.of(path).plugin

    def test_it_can_be_imported_then(self, worker, tmp_path):
        self.version(tmp_path, "VALUE = 1").setup(worker)
        assert importlib.import_module("tunable_piece").VALUE == 1

    def test_a_newer_version_replaces_what_was_imported(self, worker, tmp_path):
        first = self.version(tmp_path, "VALUE = 1")
        first.setup(worker)
        importlib.import_module("tunable_piece")
        self.version(tmp_path, "VALUE = 2").setup(worker)
        assert importlib.import_module("tunable_piece").VALUE == 2
        first.setup(worker)
        assert importlib.import_module("tunable_piece").VALUE == 1

    def test_a_data_file_that_is_called_like_a_module_replaces_none(self, worker, tmp_path):
        (tmp_path / "project").mkdir()
        for name in ("tunable_piece.py", "logging.yaml"):
            (tmp_path / "project" / name).touch()
        before = sys.modules["logging"]
        Upload.of(tmp_path / "project").plugin.setup(worker)
        assert sys.modules["logging"] is before

    def test_it_comes_before_what_lies_elsewhere(self, worker, tmp_path, monkeypatch):
        plugin = self.version(tmp_path, "VALUE = 2")
        (tmp_path / "tunable_piece.py").write_text("VALUE = 1")
        monkeypatch.syspath_prepend(tmp_path)
        assert importlib.import_module("tunable_piece").VALUE == 1
        plugin.setup(worker)
        assert importlib.import_module("tunable_piece").VALUE == 2

    def test_the_same_version_again_leaves_what_was_imported(self, worker, tmp_path):
        plugin = self.version(tmp_path, "VALUE = 1")
        plugin.setup(worker)
        module = importlib.import_module("tunable_piece")
        plugin.setup(worker)
        assert importlib.import_module("tunable_piece") is module

    def test_a_worker_that_was_killed_meanwhile_unpacks_it_again(self, worker, tmp_path):
        plugin = self.version(tmp_path, "VALUE = 1")
        half = tmp_path / "worker" / plugin.name
        half.mkdir(parents=True)
        (half / f"{Upload.of(tmp_path / 'tunable_piece.py').digest}.part").mkdir()
        plugin.setup(worker)
        assert importlib.import_module("tunable_piece").VALUE == 1
