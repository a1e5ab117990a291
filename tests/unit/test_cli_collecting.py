"""``tuneflow gc``, called in this process."""

from __future__ import annotations

import json

import pytest

import tuneflow
from tests.trainer import save
from tuneflow.checkpointing import Keep
from tuneflow.cli import main
from tuneflow.errors import TrialsFailedError
from tuneflow.retention import kept
from tuneflow.store import Store


def train(config):
    for level in range(1, 100):
        state = {"level": level}
        tuneflow.report(
            loss=config["x"] + 1 / level, checkpoint=lambda folder, s=state: save(s, folder)
        )


BOTH = pytest.mark.parametrize("study", ["finished", "halted"], indirect=True)


@pytest.fixture
def study(request, tmp_path):
    """A study of two trials with four checkpoints each, which has ended or can be gone on with."""
    is_halted = getattr(request, "param", "finished") == "halted"

    def objective(config):
        if is_halted and tuneflow.current_trial().number == 2:
            raise ValueError("this cannot be learned")
        return train(config)

    try:
        tuneflow.tune(
            objective,
            space={"x": tuneflow.space.uniform(0, 1)},
            metric="loss",
            mode="min",
            scheduler={"type": "fifo", "max_resource": 4},
            trials=4 if is_halted else 2,
            budget={"fail_fast": is_halted},
            storage=tmp_path,
            name="example",
            progress=False,
        )
    except TrialsFailedError:
        assert is_halted
    return tuneflow.load(tmp_path / "example")


@pytest.fixture
def call(capsys):
    """Calls the command; returns its exit code, stdout and stderr."""

    def call(*arguments):
        code = main(["gc", *(str(argument) for argument in arguments)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def manifests(study):
    return {key for key in Store(study.url).list("trials") if "/checkpoints/" in key}


def test_a_study_that_keeps_all_keeps_all(call, study):
    code, out, _ = call(study.url)
    assert code == 0
    assert "nothing" in out
    assert "checkpoints: all are kept" in out
    assert "freed 0 bytes" in out
    assert len(manifests(study)) == 8


def test_a_dry_run_removes_nothing_and_says_what_would_go(call, study):
    code, out, _ = call(study.url, "--dry-run", "--keep-last", "1")
    assert code == 0
    assert "would be removed" in out
    assert "checkpoints that are not needed any more" in out
    assert "would free" in out
    assert len(manifests(study)) == 8


def test_what_is_said_here_goes_before_what_the_study_says(call, study):
    assert call(study.url, "--keep-last", "2", "--keep-best", "1")[0] == 0
    keep = Keep(last=2, best=1)
    assert manifests(study) == kept(study.study, study.history, keep)


@BOTH
def test_json_is_one_document_and_the_files_wait_where_a_study_may_go_on(call, study):
    code, out, err = call(study.url, "--keep-last", "1", "--json")
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert document["study"] == study.url
    assert len(document["superseded"]) == 6
    assert len(document["kept"]) == 2
    is_over = study.state == "finished"
    # Both trials save the same four files.
    assert (len(document["blobs"]), len(document["waiting"])) == ((3, 0) if is_over else (0, 3))


def test_an_age_is_a_number_with_a_unit(call, study):
    for text in ("3600", "90m", "1h", "2d", "1.5h"):
        assert call(study.url, "--older-than", text)[0] == 0
    code, _, err = call(study.url, "--older-than", "soon")
    assert code == 2
    assert "--older-than: 'soon' is no time; write 5400, 90m, 1h or 2d" in err


@BOTH
def test_an_age_that_is_not_safe_is_refused_unless_nothing_can_run(call, study):
    code, _, err = call(study.url, "--older-than", "59m")
    assert code == (0 if study.state == "finished" else 2)
    assert study.state == "finished" or "give 3600 seconds or more" in err


def test_what_something_else_refers_to_can_be_kept(call, study):
    uri = f"{study.url}/{study.trials[0].reports[0].checkpoint}"
    assert call(study.url, "--keep-last", "1", "--keep-ref", uri)[0] == 0
    assert len(manifests(study)) == 3
    code, _, err = call(study.url, "--keep-ref", "s3://models/latest")
    assert code == 2
    assert "--keep-ref: 's3://models/latest' is no checkpoint of a study" in err


def test_where_there_is_no_study_it_says_so(call, tmp_path):
    code, _, err = call(tmp_path / "nothing")
    assert code == 2
    assert "there is no study" in err
