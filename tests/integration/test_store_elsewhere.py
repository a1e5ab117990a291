"""The contract of a store where ``pytest --storage`` says, and checkpoints there."""

from __future__ import annotations

import pytest

from tests.integration import test_store_s3
from tuneflow.checkpoints import Checkpoints
from tuneflow.store import Store

pytestmark = [pytest.mark.integration, pytest.mark.elsewhere, pytest.mark.one_process]


@pytest.fixture
def store(storage):
    return Store(f"{storage}/inner")


class TestChosenStore(test_store_s3.TestEveryStore):
    """What every store does."""


def test_it_is_fit_for_studies(store):
    store.probe()
    assert store.list() == []


def test_a_checkpoint_of_many_and_of_large_files_comes_back(store, tmp_path):
    folder = tmp_path / "saved"
    for number in range(60):
        file = folder / f"part-{number % 3}" / f"{number}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(f"{number}".encode() * (number + 1))
    (folder / "large.bin").write_bytes(bytes(range(256)) * (45 << 10))
    checkpoints = Checkpoints(store)
    checkpoints.save("trials/000000/checkpoints/0000-1.json", folder, resource=1)
    checkpoints.restore("trials/000000/checkpoints/0000-1.json", tmp_path / "restored")
    for file in folder.rglob("*.bin"):
        there = tmp_path / "restored" / file.relative_to(folder)
        assert there.read_bytes() == file.read_bytes()
