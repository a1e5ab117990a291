"""A secret that a trial has, prints and fails with is in nothing that a study leaves."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.clusters import cluster

pytestmark = pytest.mark.integration

SECRET = "hf_s3cret/Value+1234"
TRAIN = """
import os, sys

def train(config):
    secret = os.environ["HF_TOKEN"]
    print("my token is", secret)
    print(f"https://me:{secret}@host/x", file=sys.stderr)
    yield {"loss": config["x"]}
    if config["x"] > 0.5:
        raise RuntimeError(f"401 for {secret}")
    yield {"loss": config["x"] / 2}
"""
STUDY = {
    "name": "secretive",
    "objective": "train.py:train",
    "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}},
    "metric": "loss",
    "mode": "min",
    "searcher": "random",
    "trials": 6,
    "trackers": [{"type": "jsonl", "path": "facts.jsonl"}],
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    (tmp_path / "train.py").write_text(TRAIN)
    return tmp_path


def tuneflow(folder, *arguments, code=0):
    """Run the command; return all that it says."""
    command = [sys.executable, "-m", "tuneflow", *map(str, arguments)]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def left(folder):
    """Return the files that have the secret in them, and how many there are without it."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    with_it = [path for path in files if SECRET.encode() in path.read_bytes()]
    return with_it, len(files) - len(with_it)


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_nothing_that_a_study_on_dask_leaves_has_it(folder, isolation):
    with cluster(2) as address:
        place = {"type": "dask", "address": address, "isolation": isolation}
        (folder / "study.yaml").write_text(json.dumps({**STUDY, "executor": place}))
        said = tuneflow(folder, "run", "study.yaml", "--storage", "results", code=3)
    url = folder / "results" / "secretive"
    said += tuneflow(folder, "report", url, "-o", "report.html")
    for command in ("trials", "status", "best"):
        said += tuneflow(folder, command, url)
        said += tuneflow(folder, command, url, "--json")
    with_it, without = left(folder)
    assert with_it == []
    assert without > 20
    assert SECRET not in said
    logs = [path.read_text() for path in url.glob("trials/*/logs/*.txt")]
    assert len(logs) == 6
    assert all("my token is ***" in log and "https://***@host/x" in log for log in logs)
    assert "401 for ***" in (folder / "report.html").read_text()


def test_a_command_objective_prints_it_in_vain(folder):
    (folder / "main.py").write_text(
        "import json\nfrom train import train\n"
        "for said in train({'x': 0.2}):\n    print(json.dumps(said), flush=True)\n"
    )
    objective = {"command": [sys.executable, "main.py"], "cwd": "."}
    (folder / "study.yaml").write_text(json.dumps({**STUDY, "objective": objective, "trials": 2}))
    said = tuneflow(folder, "run", "study.yaml", "--storage", "results")
    with_it, without = left(folder)
    assert with_it == []
    assert without > 5
    assert SECRET not in said


def test_a_spec_that_holds_it_is_refused_and_nothing_is_stored(folder):
    objective = {"function": "train.py:train", "env": {"HF_TOKEN": SECRET}}
    (folder / "study.yaml").write_text(json.dumps({**STUDY, "objective": objective}))
    before = left(folder)[1]
    said = tuneflow(folder, "run", "study.yaml", "--storage", "results", code=2)
    assert "objective.env.HF_TOKEN" in said
    assert SECRET not in said
    assert left(folder) == ([folder / "study.yaml"], before)
