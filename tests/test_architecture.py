"""The architecture, read from the imports: one direction, and a line below which all is pure."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "tuneflow"

PURE = (
    "errors",
    "jsonio",
    "rng",
    "shapes",
    "trial",
    "events",
    "index",
    "goals",
    "pareto",
    "history",
    "nearest",
    "budget",
    "checkpointing",
    "space",
    "schedulers",
    "stoppers",
    "libraries",
    "searchers",
    "study",
    "recording",
    "retention",
)
"""The modules below the line, lowest first."""

ABOVE = (
    "redaction",
    "job",
    "interrupt",
    "plugins",
    "credentials",
    "store_errors",
    "store_urls",
    "store_clients",
    "local_files",
    "patience",
    "in_flight",
    "large_objects",
    "object_requests",
    "store",
    "storage_clock",
    "journal",
    "checkpoint_parts",
    "checkpoint_files",
    "manifest",
    "staging",
    "blobs",
    "storing",
    "restoring",
    "checkpoints",
    "outcomes",
    "last_place",
    "objective",
    "preemption",
    "environments",
    "saving",
    "running",
    "worker",
    "executors",
    "spec",
    "opened",
    "collecting",
    "ahead",
    "stream",
    "rounds",
    "preview",
    "convert",
    "trackers",
    "views",
    "result",
    "asktell",
    "yaml_text",
    "study_file",
    "driving",
    "remote",
    "pipeline",
    "api",
    "submitting",
    "retune",
    "airflow",
)
"""The modules above the line, lowest first. What is not named here lies above them all."""

ORDER = (*PURE, *ABOVE)

# No os, io, pathlib, time, threading, socket, subprocess, logging or secrets.
STANDARD = {
    "__future__",
    "abc",
    "bisect",
    "collections",
    "contextlib",
    "dataclasses",
    "datetime",
    "difflib",
    "enum",
    "fractions",
    "functools",
    "hashlib",
    "heapq",
    "importlib",
    "inspect",
    "itertools",
    "json",
    "math",
    "numbers",
    "operator",
    "random",
    "re",
    "reprlib",
    "statistics",
    "typing",
    "warnings",
}
"""What pure modules may use of the standard library."""

LIBRARIES = {"schedulers": {"numpy"}, "searchers": {"optuna", "scipy", "numpy"}}
"""What pure modules may use beside it."""

ADAPTERS = "libraries"
"""The modules that adapt search libraries, and run wherever these are installed."""

HEAVY = (
    "airflow",
    "blake3",
    "dask",
    "distributed",
    "jinja2",
    "numpy",
    "obstore",
    "optuna",
    "pandas",
    "plotly",
    "prefect",
    "pydantic",
    "rich",
    "scipy",
    "sklearn",
    "torch",
    "typer",
    "yaml",
)


@dataclass(frozen=True)
class Import:
    """One import: which file, which unit of tuneflow it belongs to, and what it names."""

    file: str
    line: int
    unit: str
    name: str

    @property
    def target(self) -> str | None:
        """The unit of tuneflow that is imported, or None."""
        return self.name.split(".")[1] if self.name.startswith("tuneflow.") else None

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.name}"


def files(units: tuple[str, ...] | None = None) -> Iterator[tuple[str, Path]]:
    """Yield every module of the package with the unit that it belongs to."""
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = path.relative_to(PACKAGE)
        unit = inside.parts[0].removesuffix(".py")
        if unit != "__init__" and (units is None or unit in units):
            yield unit, path


def checked_only(tree: ast.Module) -> set[int]:
    """Return the nodes that only a type checker sees."""
    guards = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
    ]
    return {id(node) for guard in guards for node in ast.walk(guard)}


def imports(units: tuple[str, ...] | None = None) -> Iterator[Import]:
    """Yield every import that is ever run, those inside functions too."""
    for unit, path in files(units):
        tree = ast.parse(path.read_text())
        unseen = checked_only(tree)
        for node in ast.walk(tree):
            if id(node) not in unseen:
                for name in names(node):
                    yield Import(str(path.relative_to(PACKAGE)), node.lineno, unit, name)


def names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module is not None:
        if node.module == "tuneflow":
            return [f"tuneflow.{alias.name}" for alias in node.names]
        return [node.module]
    return []


def test_the_order_names_what_there_is_and_each_once():
    existing = {unit for unit, _ in files()}
    assert set(ORDER) <= existing
    assert len(set(ORDER)) == len(ORDER)


def test_imports_go_downwards():
    rank = {unit: position for position, unit in enumerate(ORDER)}
    wrong = [
        str(found)
        for found in imports()
        if found.target in rank and rank[found.target] > rank.get(found.unit, len(ORDER))
    ]
    assert wrong == []


def test_nothing_below_knows_what_lies_above_everything():
    top = {unit for unit, _ in files()} - set(ORDER)
    wrong = [str(found) for found in imports(ORDER) if found.target in top]
    # Views are opened by name, at the last moment.
    assert wrong == []


def test_pure_modules_import_only_pure_ones():
    wrong = [
        str(found)
        for found in imports(PURE)
        if found.unit != ADAPTERS
        and found.target not in PURE
        and found.name.split(".")[0] not in STANDARD | LIBRARIES.get(found.unit, set())
    ]
    assert wrong == []


def test_adapters_of_libraries_import_each_other_and_nothing_else_of_tuneflow():
    inside = [found for found in imports((ADAPTERS,)) if found.name.startswith("tuneflow")]
    assert inside
    assert [str(found) for found in inside if found.target != ADAPTERS] == []


def test_pure_modules_touch_no_file_no_clock_and_no_global_generator():
    forbidden = {"open", "print", "input", "exec", "eval", "hash"}
    wrong = []
    for _, path in files(PURE):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            # A hash of a string differs between processes; __hash__ itself must use it.
            is_own_hash = called == "hash" and path.parts[-2] == "space"
            is_global = called.startswith("random.") and called != "random.Random"
            is_clock = called.endswith((".now", ".today", ".utcnow"))
            if (called in forbidden and not is_own_hash) or is_global or is_clock:
                wrong.append(f"{path.name}:{node.lineno} calls {called}")
    assert wrong == []


def test_pure_modules_do_not_go_through_sets_in_the_order_they_happen_to_have():
    wrong = []
    for _, path in files(PURE):
        for node in ast.walk(ast.parse(path.read_text())):
            iterated = getattr(node, "iter", None)
            if isinstance(iterated, ast.Set | ast.SetComp) or (
                isinstance(iterated, ast.Call) and ast.unparse(iterated.func) == "set"
            ):
                wrong.append(f"{path.name}:{iterated.lineno} iterates over a set")
    assert wrong == []


@pytest.mark.parametrize(
    "module", ["tuneflow", "tuneflow.study", "tuneflow.schedulers", "tuneflow.objective.session"]
)
def test_importing_it_imports_no_heavy_library(module):
    script = f"import sys, {module}; print(*sorted(set(sys.modules) & set({HEAVY!r})))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=PACKAGE.parent,
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout.split() == []
