"""What README.md and docs/ show works as it stands there."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import tuneflow
from tuneflow import yaml_text
from tuneflow.api import make_executor
from tuneflow.study_file import load_study_file

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NUMBER = {"type": "float", "low": 0.0001, "high": 1.0}
STUDY = {
    "name": "example",
    "objective": "train.py:train",
    "space": {"lr": NUMBER, "layers": {"type": "int", "low": 1, "high": 8}},
    "metric": "loss",
    "mode": "min",
    "trials": 3,
}


def blocks(language):
    """Return the code blocks of a language in all pages, as parameters named by page and line."""
    found = []
    for page in PAGES:
        text = page.read_text()
        for block in re.finditer(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            line = text.count("\n", 0, block.start()) + 1
            found.append(pytest.param(block[1], id=f"{page.name}:{line}"))
    return found


def is_whole(code):
    return re.search(r"^(import|from) ", code, re.MULTILINE)


@pytest.mark.parametrize("code", [b for b in blocks("python") if is_whole(b.values[0])])
def test_a_program_in_the_documentation_runs(code, tmp_path):
    """One that imports what it needs is a program; the others are sketches."""
    (tmp_path / "program.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning", "program.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("code", [b for b in blocks("python") if not is_whole(b.values[0])])
def test_a_sketch_in_the_documentation_is_python(code):
    compile(code, "sketch", "exec")


@pytest.mark.parametrize("text", blocks("yaml"))
def test_a_part_of_a_study_file_in_the_documentation_is_valid(text, tmp_path):
    part = yaml_text.parse(text)
    study = {**STUDY, **part}
    if "{model.layers}" in text:
        study["space"] = {**study["space"], "model": {"layers": NUMBER}}
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study))
    make_executor(load_study_file(path).executor)


def test_the_page_on_python_has_every_name_that_users_have():
    known = re.findall(r"[`.](\w+)", (ROOT / "docs" / "python.md").read_text())
    names = [name for name in tuneflow.__all__ if not inspect.ismodule(getattr(tuneflow, name))]
    names += [name for name in vars(tuneflow.Result) if not name.startswith("_")]
    assert [name for name in names if name not in known] == []


def sentences(page):
    """Return what a page says that tasks say, without what the orchestrator itself does."""
    table = (ROOT / "docs" / page).read_text().split("## Troubleshooting")[1]
    cells = re.findall(r"^\| (`.+?`) \|", table.split("\n## ")[0], re.MULTILINE)
    return [one for cell in cells for one in re.findall(r"`([^`]+)`", cell)]


def messages():
    """Yield every text in the code, with an ellipsis where it has a value."""
    for path in (ROOT / "tuneflow").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
            elif isinstance(node, ast.JoinedStr):
                parts = (getattr(part, "value", "") for part in node.values)
                yield "".join(part if isinstance(part, str) else "…" for part in parts)


@pytest.mark.parametrize("page", ["airflow.md", "prefect.md"])
def test_the_sentences_that_are_explained_are_those_that_the_code_says(page):
    said, explained = list(messages()), sentences(page)
    assert len(explained) > 10
    assert [one for one in explained if not any(one in message for message in said)] == []
