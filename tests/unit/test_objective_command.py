"""Programs in any language as streams of reports."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.objectives import context, is_running, levels, pull, pull_all, script, until_true
from tuneflow.errors import ObjectiveError, SpecError
from tuneflow.objective.command import validate_command
from tuneflow.objective.lines import LINE_LIMIT
from tuneflow.objective.reference import load


@pytest.fixture
def opened(tmp_path):
    streams = []

    def open_stream(spec, **options):
        objective = load(spec) if isinstance(spec, dict) else spec
        stream = objective.open(context(tmp_path, **options))
        streams.append(stream)
        return stream

    yield open_stream
    for stream in streams:
        stream.close(0)


def sh(text):
    """Return a shell script as a spec, its braces taken as they are."""
    return {"command": ["sh", "-c", text.replace("{", "{{").replace("}", "}}")]}


def test_lines_that_are_json_objects_with_numbers_are_reports(opened):
    stream = opened(
        sh(
            """
            echo starting
            echo '{"loss": 2, "note": "ignored", "done": true, "nothing": null}'
            echo '{"loss": NaN, "accuracy": 0.5, "resource": 10}'
            echo 'not {"loss": 1}'
            echo '{"broken": '
            echo '{"text": "no number"}'
            echo '[1, 2]'
            echo '{"loss": 3}' >&2
            printf '  {"loss": -Infinity}'
            """
        )
    )
    reports, failure = pull_all(stream)
    assert failure is None
    assert levels(reports) == [1, 10, 11]
    assert reports[0].metrics == {"loss": 2.0}
    assert reports[1].metrics["accuracy"] == 0.5
    assert reports[1].metrics["loss"] != reports[1].metrics["loss"]
    assert reports[2].metrics == {"loss": float("-inf")}
    log = stream._context.log.getvalue().decode()
    assert "starting\n" in log
    assert '{"loss": 3}\n' in log


def test_awk_reports(opened):
    program = 'BEGIN { for (i = 1; i <= 3; i++) { printf "{\\"loss\\": %f}\\n", lr / i } }'
    spec = {"command": ["awk", "-v", "lr={lr}", program.replace("{", "{{").replace("}", "}}")]}
    reports, failure = pull_all(opened(spec))
    assert failure is None
    assert [r.metrics["loss"] for r in reports] == [0.5, 0.25, 0.166667]


def test_bash_goes_on_from_a_checkpoint(opened, tmp_path):
    text = """
    set -eu
    value=0
    if [ -n "${TUNEFLOW_RESTORE_DIR:-}" ]; then value=$(cat "$TUNEFLOW_RESTORE_DIR/value"); fi
    for step in 1 2; do
      value=$((value + 1))
      mkdir -p "$TUNEFLOW_CHECKPOINT_DIR/$value"
      echo $value > "$TUNEFLOW_CHECKPOINT_DIR/$value/value"
      echo "{\\"loss\\": $value, \\"checkpoint\\": \\"$value\\"}"
    done
    """
    (tmp_path / "train.sh").write_text(text)
    spec = {"command": ["bash", str(tmp_path / "train.sh")]}
    reports, failure = pull_all(opened(spec))
    assert failure is None
    assert [(r.checkpoint / "value").read_text() for r in reports] == ["1\n", "2\n"]
    again, _ = pull_all(opened(spec, restore=reports[-1].checkpoint, start=2))
    assert [(r.resource, r.metrics["loss"]) for r in again] == [(3, 3.0), (4, 4.0)]


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_node_reads_its_configuration_from_a_file(opened, tmp_path):
    (tmp_path / "train.js").write_text(
        """
        const config = JSON.parse(require("fs").readFileSync(process.env.TUNEFLOW_CONFIG));
        for (let step = 1; step <= 2; step++) {
          console.log(JSON.stringify({loss: config.lr / step, momentum: config.opt.momentum}));
        }
        """
    )
    spec = {"command": ["node", str(tmp_path / "train.js")]}
    reports, failure = pull_all(opened(spec, params={"lr": 1, "opt": {"momentum": 0.9}}))
    assert failure is None
    assert [r.metrics for r in reports] == [
        {"loss": 1.0, "momentum": 0.9},
        {"loss": 0.5, "momentum": 0.9},
    ]


def test_arguments_and_environment_are_templates(opened):
    spec = {
        "command": [
            sys.executable,
            "-c",
            "import os, sys; print(sys.argv[1:], os.environ['OPT']); print('{{\"loss\": 1}}')",
            "--lr={lr}",
            "{opt.name}",
            "{lr:.3f}",
            "{opt}",
            "{flag}",
            "{trial}/{start}/{until}",
            "{{literal}}",
            "[{restore_dir}]",
        ],
        "env": {"OPT": "{opt.name}-{trial}", "NUMBER": 3},
    }
    stream = opened(
        spec, params={"lr": 0.5, "opt": {"name": "sgd"}, "flag": True}, until=9, trial=4
    )
    pull_all(stream)
    assert stream._context.log.getvalue().decode().splitlines()[0] == (
        "['--lr=0.5', 'sgd', '0.500', '{\"name\": \"sgd\"}', 'true', '4/0/9', '{literal}', '[]'] "
        "sgd-4"
    )


def test_the_environment_says_all_of_the_trial(opened, tmp_path, monkeypatch):
    monkeypatch.setenv("TUNEFLOW_RESTORE_DIR", "of another trial")
    monkeypatch.delenv("TUNEFLOW_CACHE", raising=False)
    program = script(
        tmp_path,
        "import json, os\n"
        "print(json.dumps({k: v for k, v in os.environ.items() if k.startswith('TUNEFLOW')}))\n"
        "print(open(os.environ['TUNEFLOW_CONFIG']).read())\n"
        "print(os.path.isdir(os.environ['TUNEFLOW_CHECKPOINT_DIR']), os.getcwd())\n",
    )
    stream = opened(program, until=9, max_resource=27, start=3, env={"TUNEFLOW_EXTRA": "x"})
    pull_all(stream)
    variables, config, rest = stream._context.log.getvalue().decode().splitlines()
    root = tmp_path / "trial"
    assert json.loads(variables) == {
        "TUNEFLOW_TRIAL": "7",
        "TUNEFLOW_SEGMENT": "0",
        "TUNEFLOW_START": "3",
        "TUNEFLOW_UNTIL": "9",
        "TUNEFLOW_MAX_RESOURCE": "27",
        "TUNEFLOW_CPU": "1",
        "TUNEFLOW_GPU": "0",
        "TUNEFLOW_DIR": str(root / "work"),
        "TUNEFLOW_CONFIG": str(root / "config.json"),
        "TUNEFLOW_CHECKPOINT_DIR": str(root / "checkpoints"),
        "TUNEFLOW_CHECKPOINT_EVERY": "1",
        "TUNEFLOW_CHECKPOINT_SECONDS": "",
        "TUNEFLOW_EXTRA": "x",
    }
    assert json.loads(config) == {"lr": 0.5, "opt": {"name": "sgd"}}
    assert rest == f"True {root / 'work'}"


def test_it_runs_in_the_folder_that_the_spec_says(tmp_path):
    (tmp_path / "project").mkdir()
    objective = load({"command": ["pwd"], "cwd": "project"}, tmp_path)
    stream = objective.open(context(tmp_path))
    pull_all(stream)
    assert stream._context.log.getvalue().decode() == f"{tmp_path / 'project'}\n"


def test_it_reads_nothing_from_the_terminal(opened):
    reports, failure = pull_all(opened(sh("cat; echo '{\"loss\": 1}'")))
    assert (levels(reports), failure) == ([1], None)


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("exit 3", "exit", "exited with status 3"),
        ("kill -KILL $$", "signal", "killed by SIGKILL, perhaps for want of memory"),
        ("kill -SEGV $$", "signal", "killed by SIGSEGV"),
    ],
)
def test_how_it_died_is_said_with_its_last_lines(opened, text, kind, message):
    reports, failure = pull_all(
        opened(sh(f"seq 100; echo '{{\"loss\": 1}}'; echo oh no >&2; {text}"))
    )
    assert levels(reports) == [1]
    assert (failure.kind, failure.message) == (kind, message)
    lines = failure.traceback.splitlines()
    assert len(lines) == 20
    assert "oh no" in lines
    assert "100" in lines


def test_a_program_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ObjectiveError, match=r"cannot start 'no-such-program' in .*: No such file"):
        load({"command": ["no-such-program"]}).open(context(tmp_path))


def test_a_parameter_that_this_configuration_lacks_is_said(tmp_path):
    objective = load({"command": ["echo", "{momentum}"]})
    with pytest.raises(
        ObjectiveError, match=r"uses \{momentum\}, which this configuration has not"
    ):
        objective.open(context(tmp_path))


def test_closing_sends_sigterm_first(opened):
    stream = opened(
        sh("trap 'echo caught; exit 0' TERM; echo '{\"loss\": 1}'; while :; do sleep 0.05; done")
    )
    pull(stream)
    stream.close(10)
    assert "caught" in stream._context.log.getvalue().decode()


def test_closing_kills_what_ignores_sigterm_and_all_it_started(opened):
    stream = opened(
        sh(
            "trap '' TERM; sleep 60 & "
            'echo "{\\"loss\\": $$, \\"helper\\": $!}"; '
            "while :; do sleep 1; done"
        )
    )
    pids = [int(pid) for pid in pull(stream).metrics.values()]
    began = time.monotonic()
    stream.close(0.3)
    assert 0.3 <= time.monotonic() - began < 10
    until_true(lambda: not any(is_running(pid) for pid in pids))


def test_a_command_that_floods_its_output_can_still_be_ended(opened):
    stream = opened(sh("echo '{\"loss\": 1}'; trap '' TERM; yes 0123456789"))
    pull(stream)
    began = time.monotonic()
    stream.close(0.3)
    assert time.monotonic() - began < 10
    assert len(stream._context.log.getvalue()) <= 1_000_100


def test_helpers_left_behind_by_a_command_end_with_it(opened):
    stream = opened(sh('sleep 60 & echo "{\\"loss\\": $!}"'))
    (only,), failure = pull_all(stream)
    assert failure is None
    until_true(lambda: not is_running(int(only.metrics["loss"])))


def test_huge_output_is_bounded_and_reports_are_found_in_it(opened, tmp_path):
    program = script(
        tmp_path,
        "import sys\n"
        "print('x' * 3_000_000)\n"
        "sys.stdout.buffer.write(bytes(range(256)) * 10_000 + b'\\n')\n"
        "print('{\"loss\": 1}')\n"
        "print('{\"loss\": 2, \"pad\": \"' + 'x' * 2_000_000 + '\"}')\n"
        "print('{\"loss\": 3}')\n",
    )
    stream = opened(program)
    reports, failure = pull_all(stream)
    assert failure is None
    assert [r.metrics["loss"] for r in reports] == [1, 3]
    log = stream._context.log.getvalue()
    assert len(log) < LINE_LIMIT + 100
    assert log.startswith(b"[")
    assert log.endswith(b'{"loss": 3}\n')


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"loss": 1, "resource": 3}', "must be finite and above 3"),
        ('{"loss": 1, "resource": "x"}', "resource is 'x' (str)"),
        ('{"loss": 1, "checkpoint": "none"}', "checkpoint 'none' is not in"),
        ('{"loss": 1, "checkpoint": "../.."}', "checkpoint '../..' is not below"),
    ],
)
def test_a_report_that_cannot_be_right_fails_the_trial(opened, line, message):
    reports, failure = pull_all(opened(sh(f"echo '{line}'; sleep 60"), start=3))
    assert reports == []
    assert message in failure.message


def test_the_whole_checkpoint_directory_may_be_a_checkpoint(opened):
    stream = opened(
        sh('echo x > $TUNEFLOW_CHECKPOINT_DIR/f; echo \'{"loss": 1, "checkpoint": "."}\'')
    )
    (only,), failure = pull_all(stream)
    assert failure is None
    assert (only.checkpoint / "f").read_text() == "x\n"
    assert not only.temporary


def test_a_checkpoint_that_is_not_wanted_is_not_stored(opened):
    line = 'echo "{\\"loss\\": 1, \\"checkpoint\\": \\".\\"}"; '
    reports, _ = pull_all(opened(sh(line * 3), every=2))
    assert [r.checkpoint is not None for r in reports] == [False, True, False]


def test_a_pull_can_be_interrupted(opened):
    stream = opened({"command": ["sleep", "60"]})
    stream.interrupt()
    assert stream.next(30) is None
    assert stream.next(0.05) is None


def test_a_process_that_left_the_group_does_not_hold_the_end_up(opened, tmp_path):
    pid_file = tmp_path / "pid"
    code = (
        "import subprocess, pathlib\n"
        "p = subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
        f"pathlib.Path({str(pid_file)!r}).write_text(str(p.pid))\n"
        "print('{\"loss\": 1}')\n"
    )
    began = time.monotonic()
    reports, failure = pull_all(opened(script(tmp_path, code)))
    assert (levels(reports), failure) == ([1], None)
    assert time.monotonic() - began < 20
    os.kill(int(pid_file.read_text()), signal.SIGKILL)


def test_commands_end_with_the_interpreter(tmp_path):
    code = (
        "from pathlib import Path\n"
        "from tests.objectives import context, pull\n"
        "from tuneflow.objective.reference import load\n"
        "spec = {'command': ['sh', '-c', 'echo \"{{\\\\\"loss\\\\\": $$}}\"; sleep 60']}\n"
        f"stream = load(spec).open(context(Path({str(tmp_path)!r})))\n"
        "print(int(pull(stream).metrics['loss']))\n"
    )
    from tests.objectives import environ_with_repository

    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environ_with_repository(),
        check=True,
    )
    until_true(lambda: not is_running(int(done.stdout)))


PATHS = ["lr", "opt.name", "opt.momentum"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"command": ["x", "{lrr}"]}, "command[1]: {lrr} is not a parameter; did you mean 'lr'?"),
        ({"command": ["x"], "env": {"A": "{opt.nam}"}}, "env.A: {opt.nam} is not a parameter; did"),
        ({"command": ["x", '{"a": 1}']}, "Write {{ for a brace that is meant"),
        ({"command": ["x", "{lr"]}, "command[1]: '{lr' is no template"),
        ({"command": "python x.py"}, 'is one string; write a list: ["python", "x.py"]'),
        ({"command": []}, "command: [] is not a list of program and arguments"),
        ({"command": ["x", True]}, 'command[1]: True is not a string; write "True"'),
        ({"command": ["x"], "env": ["A"]}, "env: ['A'] is not a mapping"),
        ({"command": ["x"], "timeout": 0}, "timeout: 0 is not a number of seconds above 0"),
        ({"command": ["x"], "timeout": "1h"}, "timeout: '1h' is not a number"),
        ({"command": ["x"], "cwd": 3}, "cwd: 3 is not a path"),
        ({"command": ["x"], "comand": 3}, "comand: unknown key; did you mean 'command'?"),
    ],
)
def test_a_spec_that_cannot_work_is_refused_by_field(spec, message):
    with pytest.raises(SpecError) as caught:
        validate_command(spec, PATHS)
    assert message in str(caught.value)


def test_a_good_spec_passes():
    validate_command(
        {
            "command": ["x", "{lr}", "{opt}", "{opt.name}", "{until}", "{config_file}", 3, 0.5],
            "env": {"A": "{checkpoint_dir}", "B": 1},
            "timeout": 1.5,
            "cwd": "here",
        },
        PATHS,
    )
