"""Nothing that lies in a storage makes a reader do anything but read it or refuse it."""

from __future__ import annotations

import pytest

from tests.fuzzing import TARGETS, attack


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_and_hostile_bytes_are_read_or_refused(name):
    attack(name, seed=6, times=400)


@pytest.mark.parametrize("name", TARGETS)
def test_the_samples_themselves_are_read(name):
    for sample in TARGETS[name].samples:
        TARGETS[name].read(sample)
