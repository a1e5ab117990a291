"""docs/reliability.md names tests that exist, and every test of a fault."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "reliability.md"


def rows():
    """Return the rows of all tables, each as its cells."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in cells if row[0] not in ("fault", "---")]


def named():
    """Return the tests that the rows name, in order."""
    return [name for row in rows() for name in re.findall(r"`([^`]*::[^`]*)`", row[-1])]


def names_in(path):
    """Return the names of a file's tests, with their classes, as pytest calls them."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        inner = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        found |= {
            f"{prefix}{one.name}"
            for one in inner
            if isinstance(one, ast.FunctionDef) and one.name.startswith("test_")
        }
    return found


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0][:60])
def test_a_row_says_everything_and_its_tests_exist(row):
    assert len(row) == 4
    assert all(row)
    names = re.findall(r"`([^`]*::[^`]*)`", row[-1])
    assert names
    for name in names:
        path, _, test = name.partition("::")
        assert test in names_in(TESTS / path), name


def test_no_row_is_there_twice():
    faults = [row[0] for row in rows()]
    assert len(faults) == len(set(faults))


@pytest.mark.parametrize(
    "path", sorted(TESTS.glob("*/test_faults_*.py")), ids=lambda path: path.name
)
def test_every_test_of_a_fault_is_named(path):
    prefix = f"{path.relative_to(TESTS).as_posix()}::"
    missing = {f"{prefix}{test}" for test in names_in(path)} - set(named())
    assert not missing
