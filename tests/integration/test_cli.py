"""The ``tuneflow`` command as people run it: in a process of its own."""

from __future__ import annotations

import json
import socket

import pytest

from tests.command import TRAIN, error_of, journal, run, shell, tuneflow, url_of, write
from tests.end_to_end import outcomes
from tuneflow.store import Store

pytestmark = pytest.mark.integration


@pytest.fixture
def folder(tmp_path, storage):
    (tmp_path / "train.py").write_text(TRAIN)
    return tmp_path


class TestRun:
    def test_a_run_ends_with_zero_and_says_what_to_do_next(self, folder):
        write(folder)
        done = run(folder)
        assert done.returncode == 0, done.stderr
        url = Store(url_of(folder)).url
        for words in ("best", "trials", "logs", "report"):
            assert f"tuneflow {words} {url}" in done.stdout
        assert "finished" in done.stderr

    def test_json_is_the_only_thing_on_stdout_and_progress_is_on_stderr(self, folder):
        write(folder)
        done = run(folder, "--json")
        status = json.loads(done.stdout)
        assert status["state"] == "finished"
        assert status["best"]["config"].keys() == {"x"}
        assert "best: trial" in done.stderr

    def test_no_progress_with_json_leaves_stderr_empty(self, folder):
        write(folder)
        assert run(folder, "--json", "--no-progress").stderr == ""

    @pytest.mark.local("is about the folder in which the command is run")
    def test_paths_of_the_objective_start_at_the_folder_of_the_file(self, folder):
        write(folder)
        elsewhere = folder / "elsewhere"
        elsewhere.mkdir()
        done = tuneflow("run", "../study.yaml", "--json", cwd=elsewhere)
        assert done.returncode == 0, done.stderr
        assert (elsewhere / "tuneflow-results" / "example" / "study.json").exists()

    def test_the_same_file_again_goes_on_and_runs_nothing_twice(self, folder):
        write(folder)
        run(folder)
        before = journal(folder)
        done = run(folder)
        assert done.returncode == 0
        assert "is finished" in done.stderr
        assert journal(folder) == before

    def test_a_command_runs_in_the_folder_of_the_file(self, folder):
        (folder / "value").write_text('{"accuracy": 0.25}')
        write(folder, **shell("cat value"))
        done = run(folder, "--json")
        assert json.loads(done.stdout)["best"]["value"] == 0.25

    def test_settings_on_the_command_line_win_over_the_file(self, folder):
        write(folder)
        done = run(folder, "--json", "--set", "trials=2", "--set", "space.x.low=5e-1")
        status = json.loads(done.stdout)
        assert sum(status["counts"].values()) == 2
        assert status["best"]["config"]["x"] >= 0.5

    def test_trials_run_on_dask_when_asked_to(self, folder):
        write(folder)
        done = run(folder, "--executor", "dask", "--set", "executor.workers=1", "--json")
        assert done.returncode == 0, done.stderr
        outcome = outcomes(url_of(folder))["trials/000000/segments/0000.json"]
        assert json.loads(outcome)["worker"] == "worker-0"


class TestBadInput:
    """Each is one line, an exit code that says what kind, and leaves nothing half done."""

    @pytest.mark.local("ends before it has looked at a storage")
    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"metrik": "accuracy"}, "metrik: unknown key; did you mean 'metric'?"),
            ({"metric": None}, "metric: this key is needed and missing"),
            ({"mode": "maximum"}, "mode: 'maximum'"),
            ({"trials": "four"}, "trials: 'four'"),
            ({"seed": "one"}, "seed: 'one'"),
            ({"scheduler": {"type": "asha", "max_resorce": 4}}, "did you mean 'max_resource'?"),
            ({"scheduler": {"type": "ashaa"}}, "did you mean 'asha'?"),
            ({"scheduler": {"type": "asha", "max_resource": "many"}}, "scheduler.max_resource"),
            ({"searcher": "randm"}, "did you mean 'random'?"),
            ({"executor": {"type": "dusk"}}, "did you mean 'dask'?"),
            ({"executor": {"type": "dask", "worker": 2}}, "did you mean 'workers'?"),
            ({"budget": {"wall_clok": 3}}, "did you mean 'wall_clock'?"),
            ({"budget": {"plateau": {"segmens": 3}}}, "did you mean 'segments'?"),
            ({"resources": {"gpus": 1}}, "did you mean 'gpu'?"),
            ({"space": {"x": {"type": "flot", "low": 0, "high": 1}}}, "did you mean 'float'?"),
            ({"space": {"x": {"type": "float", "lo": 0, "high": 1}}}, "space.x.lo"),
            ({"space": {"x": {"type": "float", "low": 2, "high": 1}}}, "space.x"),
            ({"space": {"x": {"type": "float", "low": 0, "high": 1, "log": True}}}, "space.x"),
            ({"space": {"x": {"type": "int", "low": "a", "high": 1}}}, "space.x.low"),
            ({"objective": "train.py:trian"}, "did you mean 'train'?"),
            ({"objective": "no_such_module:train"}, "no_such_module"),
            ({"objective": "nothing.py:train"}, "nothing.py does not exist"),
            ({"objective": "train"}, "file.py:function"),
            ({"objective": {"comand": ["x"]}}, "did you mean 'command'?"),
            ({"objective": {"command": ["prog", "{xx}"]}}, "did you mean 'x'?"),
            ({"name": "a/b"}, "name: 'a/b'"),
            ({"storage": "ftp://x/y"}, "'ftp:' is no kind of storage"),
            ({"trials": None, "scheduler": "fifo"}, "trials: nothing says when this study ends"),
        ],
    )
    def test_a_study_file_that_cannot_work(self, folder, changes, words):
        write(folder, **changes)
        for name in ("run", "validate"):
            done = tuneflow(name, "study.yaml", cwd=folder)
            assert done.returncode == 2
            assert words in error_of(done)
            assert done.stdout == ""
        assert not (folder / "tuneflow-results" / "example").exists()

    @pytest.mark.local("ends before it has looked at a storage")
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("name: [", "is not YAML"),
            ("- a\n- b\n", "is not a mapping"),
            ("name: a\nname: b\n", "the key 'name' is there twice, line 2"),
        ],
    )
    def test_a_file_that_is_no_study_file(self, folder, text, words):
        (folder / "study.yaml").write_text(text)
        done = run(folder)
        assert done.returncode == 2
        assert words in error_of(done)

    @pytest.mark.local("ends before it has looked at a storage")
    def test_no_file(self, folder):
        done = run(folder)
        assert done.returncode == 2
        assert "study.yaml cannot be read: No such file or directory" in error_of(done)

    @pytest.mark.local("ends before it has looked at a storage")
    def test_an_objective_whose_import_fails_says_where(self, folder):
        (folder / "train.py").write_text("import json\nimport no_such_library\n")
        write(folder)
        done = run(folder)
        assert done.returncode == 2
        assert "no_such_library" in error_of(done)
        assert "line 2" in error_of(done)

    @pytest.mark.local("ends before it has looked at a storage")
    def test_the_error_is_json_too_where_json_was_asked_for(self, folder):
        write(folder, mode="maximum")
        done = run(folder, "--json")
        assert done.returncode == 2
        error = json.loads(done.stdout)["error"]
        assert error["type"] == "SpecError"
        assert error["field"] == "mode"
        assert error["exit_code"] == 2
        assert error["message"] == error_of(done)

    @pytest.mark.local("ends before it has looked at a storage")
    def test_debug_shows_the_traceback(self, folder):
        write(folder, mode="maximum")
        for done in (
            run(folder, env={"TUNEFLOW_DEBUG": "1"}),
            tuneflow("--debug", "run", "study.yaml", cwd=folder),
        ):
            assert "Traceback" in done.stderr
            assert done.returncode == 2

    @pytest.mark.local("ends before it has looked at a storage")
    @pytest.mark.parametrize("arguments", [["rnu"], ["run"], ["run", "a", "--trials", "3"]])
    def test_a_command_line_that_cannot_be_read(self, folder, arguments):
        done = tuneflow(*arguments, cwd=folder)
        assert done.returncode == 2
        assert error_of(done)

    def test_an_existing_study_with_another_spec_is_left_alone(self, folder):
        write(folder)
        run(folder)
        before = journal(folder)
        write(folder, trials=7, seed=3)
        done = run(folder)
        assert done.returncode == 2
        assert "it differs in trials, seed" in error_of(done)
        assert journal(folder) == before

    @pytest.mark.local("a file is where its folder should be")
    def test_storage_that_is_not_writable(self, folder):
        write(folder)
        (folder / "file").touch()
        done = run(folder, "--storage", "file/below")
        assert done.returncode == 4
        assert "file/below is not writable" in error_of(done)

    def test_a_cluster_that_cannot_be_reached_leaves_a_study_that_can_be_resumed(self, folder):
        write(folder)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
            where = ["--set", f"executor.address={address}", "--set", "executor.connect_timeout=1"]
            done = run(folder, "--executor", "dask", *where)
        assert done.returncode == 4
        assert address in error_of(done)
        url = url_of(folder)
        done = tuneflow("resume", url, cwd=folder)
        assert done.returncode == 4, "a resume goes where the study ran last"
        assert address in error_of(done)
        done = tuneflow("resume", url, "--executor", "inline", "--json", cwd=folder)
        assert json.loads(done.stdout)["state"] == "finished"

    @pytest.mark.local("is about a folder by its relative path")
    def test_a_study_that_is_not_there(self, folder):
        for name in ("status", "watch", "best", "trials", "resume", "report"):
            done = tuneflow(name, "tuneflow-results/none", cwd=folder)
            assert done.returncode == 2
            assert "there is no study at" in error_of(done)

    def test_a_broken_journal_entry(self, folder):
        write(folder)
        run(folder)
        url = url_of(folder)
        store, entry = Store(url), "journal/00000000000000000002.jsonl"
        torn = store.get(entry)[:-20]
        store.put(entry, torn)
        for name in ("status", "resume"):
            done = tuneflow(name, url, cwd=folder)
            assert done.returncode == 6
            assert "00000000000000000002.jsonl is torn or altered" in error_of(done)
        assert store.get(entry) == torn
        store.delete([entry])
        done = tuneflow("status", url, cwd=folder)
        assert done.returncode == 6
        assert "00000000000000000002.jsonl is missing" in error_of(done)


class TestTrialsThatFail:
    """The study goes on, keeps what it has, and the exit code is 3."""

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"objective": "train.py:always_raises"}, "ValueError: never works"),
            ({"objective": "train.py:nan", "scheduler": "fifo"}, "accuracy is nan"),
            ({"objective": "train.py:nan"}, "trial 0: accuracy is nan"),
            ({"objective": "train.py:wrong_metric"}, "no 'accuracy'; it reported 'accuracyy'"),
            (shell("echo nothing here"), "no 'accuracy'"),
            (shell("cat garbage; head -c 300 /dev/urandom"), "no 'accuracy'"),
            (shell("exit 7"), "exited with status 7"),
            (shell("kill -SEGV $$"), "killed by SIGSEGV"),
            (shell("sleep 600", timeout=0.3), "took more than 0.3 seconds"),
            ({"objective": {"command": ["./no-such-program"]}, "scheduler": "fifo"}, "no-such"),
        ],
    )
    def test_when_all_fail_the_error_says_why_the_first_did(self, folder, changes, words):
        (folder / "garbage").write_text('{"accuracy": \n{"accuracy": "high"}\n[1]\n')
        write(folder, trials=2, **changes)
        done = run(folder)
        assert done.returncode == 3
        assert "no trial of" in error_of(done)
        assert words in error_of(done)
        status = json.loads(tuneflow("status", url_of(folder), "--json", cwd=folder).stdout)
        assert status["best"] is None
        assert status["state"] == "finished"

    def test_a_python_objective_that_hangs_past_its_timeout_fails(self, folder):
        objective = {"function": "train.py:hangs", "timeout": 0.3}
        write(folder, trials=1, objective=objective, scheduler="fifo")
        done = run(folder)
        assert done.returncode == 3
        assert "took more than 0.3 seconds" in done.stderr

    def test_some_failures_end_with_3_and_keep_the_best(self, folder):
        write(folder, objective="train.py:raises", scheduler="fifo", trials=8)
        done = run(folder, "--json")
        assert done.returncode == 3
        document = json.loads(done.stdout)
        assert document["state"] == "finished"
        assert 0 < document["best"]["value"] <= 0.5
        assert "trials failed" in document["error"]["message"]
        assert "ValueError: x is too large" in error_of(done)

    def test_failures_that_the_budget_allows_are_no_error(self, folder):
        changes = {"objective": "train.py:raises", "scheduler": "fifo", "trials": 8}
        write(folder, budget={"max_failures": 8}, **changes)
        assert run(folder).returncode == 0

    def test_too_many_failures_halt_the_study_and_a_resume_tries_again(self, folder):
        changes = {"objective": "train.py:raises", "scheduler": "fifo", "trials": 8}
        write(folder, budget={"fail_fast": True}, **changes)
        done = run(folder, "--json")
        assert done.returncode == 3
        assert json.loads(done.stdout)["state"] == "halted"
        assert "tuneflow resume" in error_of(done)
        (folder / "train.py").write_text(TRAIN.replace('if config["x"] > 0.5', "if False"))
        elsewhere = folder / "elsewhere"
        elsewhere.mkdir()
        done = tuneflow("resume", url_of(folder), "--json", cwd=elsewhere)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["counts"]["completed"] == 8

    def test_retry_failed_runs_the_failed_trials_of_a_finished_study_again(self, folder):
        write(folder, objective="train.py:raises", scheduler="fifo", trials=8)
        assert run(folder).returncode == 3
        (folder / "train.py").write_text(TRAIN.replace('if config["x"] > 0.5', "if False"))
        done = tuneflow("resume", url_of(folder), "--retry-failed", "--json", cwd=folder)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["counts"]["failed"] == 0

    def test_a_trial_that_kills_its_dask_worker_is_lost_and_the_command_survives(self, folder):
        write(folder, objective="train.py:dies", scheduler="fifo", trials=1)
        where = ["--executor", "dask", "--set", "executor.workers=1"]
        budget = ["--set", "budget.max_losses_per_trial=0"]
        done = run(folder, *where, *budget, timeout=110)
        assert done.returncode == 3
        assert "lost" in done.stderr.splitlines()[-1]
