"""The ``tuneflow`` command, called in this process."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys

import optuna
import pandas
import pytest

import tuneflow
from tuneflow.cli import main
from tuneflow.cli.app import app
from tuneflow.cli.ending import EXIT_CODES
from tuneflow.errors import StorageError, TuneflowError
from tuneflow.opened import OpenStudy


def train(config):
    sys.stdout.write(f"x is {config['x']}\n")
    for epoch in range(1, 10):
        if config["x"] > 0.9:
            raise ValueError("x is too large")
        tuneflow.report(
            loss=(config["x"] - 0.3) ** 2 + 1 / epoch,
            checkpoint=lambda folder, epoch=epoch: (folder / "epoch").write_text(str(epoch)),
        )


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """A finished study of 12 trials, of which trial 3 has failed."""
    result = tuneflow.tune(
        train,
        space={"x": tuneflow.space.uniform(0, 1)},
        metric="loss",
        mode="min",
        scheduler={"type": "asha", "max_resource": 4, "reduction_factor": 2},
        searcher={"type": "random", "points_to_evaluate": [{"x": 0.1}, {"x": 0.3}, {"x": 0.95}]},
        trials=8,
        storage=tmp_path_factory.mktemp("studies"),
        name="example",
        progress=False,
    )
    assert [trial.number for trial in result.failed][:1] == [2]
    return result.url


@pytest.fixture
def call(capsys):
    """Calls the command; returns its exit code, stdout and stderr."""

    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


class TestStatus:
    def test_json_has_the_promised_keys(self, call, url):
        code, out, err = call("status", url, "--json")
        document = json.loads(out)
        assert code == 0
        assert err == ""
        assert document["name"] == "example"
        assert document["url"] == url
        assert document["state"] == "finished"
        assert document["reason"] == "all 8 trials are done"
        assert (document["metric"], document["mode"], document["trials"]) == ("loss", "min", 8)
        assert document["counts"].keys() == {
            "running",
            "paused",
            "completed",
            "stopped",
            "failed",
        }
        assert sum(document["counts"].values()) == 8
        assert document["resource"] > 8
        assert document["best"]["trial"] == 1
        assert document["best"]["config"] == {"x": 0.3}
        assert document["best"]["value"] == pytest.approx(1 / 4)

    def test_the_table_names_state_best_and_failures(self, call, url):
        code, out, _ = call("status", url)
        assert code == 0
        assert "finished: all 8 trials are done" in out
        assert "ValueError: x is too large" in out


class TestBest:
    def test_shows_the_configuration(self, call, url):
        code, out, _ = call("best", url)
        assert code == 0
        assert "best: trial 1" in out
        assert "0.3" in out

    def test_json_is_the_best_of_the_status(self, call, url):
        _, best, _ = call("best", url, "--json")
        _, status, _ = call("status", url, "--json")
        assert json.loads(best) == json.loads(status)["best"]

    def test_downloads_the_checkpoint(self, call, url, tmp_path):
        code, out, _ = call("best", url, "--checkpoint", tmp_path / "model")
        assert code == 0
        assert (tmp_path / "model" / "epoch").read_text() == "4"
        assert str(tmp_path / "model") in out

    def test_a_folder_that_is_not_empty_is_refused(self, call, url, tmp_path):
        (tmp_path / "mine").touch()
        code, _, err = call("best", url, "--checkpoint", tmp_path)
        assert code != 0
        assert err.startswith("error: ")
        assert list(tmp_path.iterdir()) == [tmp_path / "mine"]


class TestTrials:
    def test_lists_every_trial_by_number(self, call, url):
        _, out, _ = call("trials", url, "--json")
        table = json.loads(out)
        assert [row["trial"] for row in table] == list(range(8))
        assert table[1]["params.x"] == 0.3

    def test_csv_can_be_read_back(self, call, url):
        _, out, _ = call("trials", url, "--csv")
        table = list(csv.DictReader(io.StringIO(out)))
        assert [int(row["trial"]) for row in table] == list(range(8))
        assert float(table[1]["params.x"]) == 0.3

    def test_sorting_by_value_puts_the_best_first_and_trials_without_one_last(self, call, url):
        _, out, _ = call("trials", url, "--json", "--sort", "value")
        values = [row["value"] for row in json.loads(out)]
        have = [value for value in values if value is not None]
        assert have == sorted(have)
        assert values[len(have) :] == [None] * (8 - len(have))
        assert len(have) < 8

    def test_a_minus_turns_the_order_round(self, call, url):
        _, out, _ = call("trials", url, "--json", "--sort", "-params.x", "--limit", "2")
        assert json.loads(out)[0]["params.x"] == max(
            row["params.x"] for row in json.loads(call("trials", url, "--json")[1])
        )
        assert len(json.loads(out)) == 2

    def test_only_trials_in_the_wanted_states(self, call, url):
        _, out, _ = call("trials", url, "--json", "--state", "failed")
        assert {row["state"] for row in json.loads(out)} == {"failed"}

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--sort", "valu"], "--sort: there is no column 'valu'; did you mean 'value'?"),
            (["--state", "fail"], "--state: 'fail' is no state; did you mean 'failed'?"),
            (["--limit", "0"], "--limit"),
        ],
    )
    def test_what_cannot_be_listed_is_refused(self, call, url, arguments, words):
        code, out, err = call("trials", url, *arguments)
        assert code == 2
        assert words in err
        assert out == ""


class TestLogs:
    def test_prints_what_the_trial_printed(self, call, url):
        code, out, err = call("logs", url, 1, "--segment", 0)
        assert (code, out, err) == (0, "x is 0.3\n", "")

    def test_all_segments_come_in_order(self, call, url):
        _, out, _ = call("logs", url, 2)
        assert out.startswith("x is 0.95\n")

    def test_a_failed_trial_shows_its_traceback(self, call, url):
        _, out, _ = call("logs", url, 2)
        assert "Traceback" in out
        assert out.rstrip().endswith("ValueError: x is too large")

    def test_a_trial_that_is_not_there(self, call, url):
        code, _, err = call("logs", url, 99)
        assert code == 2
        assert err == "error: TRIAL: the study has no trial 99; it has 0 to 7\n"

    def test_a_segment_that_is_not_there(self, call, url):
        code, _, err = call("logs", url, 2, "--segment", 5)
        assert code == 2
        assert "trial 2 has no segment 5; it has 0 to 0" in err

    def test_a_trial_that_printed_nothing(self, call, tmp_path):
        result = tuneflow.tune(
            lambda config: config["x"],
            space={"x": tuneflow.space.uniform(0, 1)},
            metric="loss",
            mode="min",
            trials=1,
            storage=tmp_path,
            progress=False,
        )
        code, out, err = call("logs", result.url, 0)
        assert (code, out) == (0, "")
        assert err.startswith("trial 0 has no log")


class TestSharing:
    def test_exports_csv(self, call, url, tmp_path):
        code, _, err = call("export", url, "--to", f"csv:{tmp_path / 'trials.csv'}")
        assert code == 0
        assert len((tmp_path / "trials.csv").read_text().splitlines()) == 9
        assert "trials.csv" in err

    def test_exports_parquet(self, call, url, tmp_path):
        assert call("export", url, "--to", f"parquet:{tmp_path / 'trials.parquet'}")[0] == 0
        assert len(pandas.read_parquet(tmp_path / "trials.parquet")) == 8

    def test_exports_to_optuna(self, call, url, tmp_path):
        storage = f"sqlite:///{tmp_path / 'optuna.db'}"
        assert call("export", url, "--to", f"optuna:{storage}")[0] == 0
        assert len(optuna.load_study(study_name="example", storage=storage).trials) == 8

    def test_exporting_to_optuna_twice_is_one_clear_error(self, call, url, tmp_path):
        target = f"optuna:sqlite:///{tmp_path / 'optuna.db'}"
        call("export", url, "--to", target)
        code, _, err = call("export", url, "--to", target)
        assert code == 2
        assert "already" in err

    @pytest.mark.parametrize("to", ["excel:x", "csv", "csv:"])
    def test_other_forms_are_refused(self, call, url, to):
        code, _, err = call("export", url, "--to", to)
        assert code == 2
        assert "optuna:URL, csv:PATH, parquet:PATH" in err

    def test_writes_the_report(self, call, url, tmp_path):
        code, _, err = call("report", url, "-o", tmp_path / "report.html")
        assert code == 0
        assert "<html" in (tmp_path / "report.html").read_text()
        assert "report.html" in err


class TestValidate:
    @pytest.fixture
    def file(self, tmp_path):
        (tmp_path / "train.py").write_text("def train(config):\n    return 1.0\n")
        path = tmp_path / "study.yaml"
        path.write_text(
            "name: example\n"
            "objective: train.py:train\n"
            "space: {lr: {type: float, low: 1e-4, high: 1e-1, log: true}}\n"
            "metric: loss\n"
            "mode: min\n"
            "scheduler: {type: hyperband, max_resource: 9}\n"
        )
        return path

    def test_says_what_would_run_and_writes_nothing(self, call, file):
        before = sorted(file.parent.iterdir())
        code, out, _ = call("validate", file)
        assert code == 0
        assert out.startswith("ok: 'example' would run 17 trials of train.py:train")
        assert [path.name for path in sorted(file.parent.iterdir()) if path not in before] in (
            [],
            ["__pycache__"],
        )

    def test_json_has_the_brackets(self, call, file):
        _, out, _ = call("validate", file, "--json")
        document = json.loads(out)
        assert document["trials"] == 17
        assert document["brackets"] == [
            [[9, 1], [3, 3], [1, 9]],
            [[5, 3], [1, 9]],
            [[3, 9]],
        ]

    def test_settings_count(self, call, file):
        _, out, _ = call("validate", file, "--json", "--set", "scheduler=fifo", "--set", "trials=3")
        assert json.loads(out) == {"ok": True, "name": "example", "trials": 3, "brackets": []}

    def test_what_deciding_needs_is_missed(self, call, file, monkeypatch):
        # A scheduler may need a package.
        monkeypatch.setitem(sys.modules, "numpy", None)
        changed = ["--set", "scheduler={type: pb2, max_resource: 3}", "--set", "trials=4"]
        code, _, err = call("validate", file, "--set", "searcher=random", *changed)
        assert code == 2
        assert "numpy" in err

    def test_a_run_that_cannot_be_decided_creates_no_study(self, call, file, tmp_path):
        storage = ["--storage", tmp_path / "studies", "--no-progress"]
        judge = "stop={type: function, function: 'nowhere:judge'}"
        code, _, err = call("run", file, *storage, "--set", judge)
        assert code == 2
        assert "stop.function: nowhere:judge cannot be imported" in err
        assert call("run", file, *storage)[0] == 0

    def test_a_probe_finds_a_storage_that_cannot_be_used(self, call, file, tmp_path):
        (tmp_path / "taken").touch()
        arguments = ["validate", file, "--storage", tmp_path / "taken" / "below"]
        assert call(*arguments)[0] == 0
        assert call(*arguments, "--probe")[0] == 4

    def test_a_probe_finds_a_study_with_another_spec(self, call, file, tmp_path):
        storage = ["--storage", tmp_path / "studies"]
        assert call("run", file, *storage, "--no-progress")[0] == 0
        assert call("validate", file, *storage, "--probe")[0] == 0
        code, _, err = call("validate", file, *storage, "--probe", "--set", "seed=7")
        assert code == 2
        assert "it differs in seed" in err


class TestTheCommandItself:
    def test_every_command_has_help(self, call):
        groups = app.registered_commands
        names = [group.name or group.callback.__name__ for group in groups]
        assert {"run", "resume", "status", "logs", "validate"} <= set(names)
        for name in names:
            code, out, _ = call(name, "--help")
            assert code == 0
            assert f"tuneflow {name}" in out

    def test_the_help_names_every_exit_code(self, call):
        _, out, _ = call("--help")
        for code in EXIT_CODES:
            assert f"{code} " in out[out.index("Exit codes") :]

    def test_every_error_has_a_documented_exit_code(self):
        def family(cls):
            return {cls, *(found for sub in cls.__subclasses__() for found in family(sub))}

        codes = {cls.exit_code for cls in family(TuneflowError)}
        assert codes - {1} <= EXIT_CODES.keys()

    def test_the_help_needs_no_heavy_library(self):
        """It takes a tenth of a second, because none of these is imported."""
        heavy = "dask distributed optuna numpy pandas obstore pydantic yaml plotly tuneflow.api"
        code = (
            "import sys; from tuneflow.cli import main; main(['--help']); "
            f"sys.exit(','.join(set('{heavy}'.split()) & set(sys.modules)) or 0)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def test_version_names_tuneflow(self, call):
        assert f"tuneflow {tuneflow.__version__}" in call("version")[1]
        assert json.loads(call("version", "--json")[1])["tuneflow"] == tuneflow.__version__

    def test_an_unexpected_error_is_one_line_and_1(self, call, url, monkeypatch):
        def broken(url):
            raise RuntimeError("this\nis a bug")

        monkeypatch.setattr(OpenStudy, "open", broken)
        code, _, err = call("status", url)
        assert code == 1
        assert err.startswith("error: unexpected RuntimeError: this is a bug (set TUNEFLOW_DEBUG=1")
        assert err.count("\n") == 1

    def test_an_error_cannot_steer_the_terminal(self, call, url, monkeypatch):
        def broken(url):
            raise StorageError("\x1b[31mred")

        monkeypatch.setattr(OpenStudy, "open", broken)
        code, out, err = call("status", url, "--json")
        assert code == 4
        assert err == "error: \\x1b[31mred\n"
        assert json.loads(out)["error"]["exit_code"] == 4

    def test_ctrl_c_is_130(self, call, url, monkeypatch):
        def interrupted(url):
            raise KeyboardInterrupt

        monkeypatch.setattr(OpenStudy, "open", interrupted)
        code, _, err = call("status", url)
        assert code == 130
        assert "interrupted" in err
