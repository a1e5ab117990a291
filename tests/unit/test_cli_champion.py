"""``tuneflow champion`` and ``tuneflow drift``, called in this process."""

from __future__ import annotations

import json
import re

import pytest

import tuneflow
from tests.champions import CHAMPION, keep, log_of, promote
from tuneflow.cli import main
from tuneflow.cli.ending import DRIFTED
from tuneflow.retune.champions import ChampionLog
from tuneflow.store import Store


@pytest.fixture
def call(capsys):
    """Calls the command; returns its exit code, stdout and stderr."""

    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture
def url(tmp_path):
    """A line with two champions: record 2, measured anew in 4, and record 6."""
    log = log_of(Store(tmp_path / "line"))
    before = promote(log, "first", 0.8).champion
    keep(log, "second", 0.75)
    promote(log, "third", 0.9, before, config={"lr": 0.5, "model": {"layers": 8, "act": "gelu"}})
    return Store(tmp_path / "line").url


class TestShow:
    def test_has_configuration_value_and_reason(self, call, url):
        code, out, err = call("champion", "show", url)
        assert (code, err) == (0, "")
        assert "champion: accuracy 0.9 ± 0.0058 with 3 seeds at 9" in out
        assert "model.layers  8" in out
        assert "2026-11-23 23:00 UTC, record 6, by retune 3" in out
        assert "the challenger is better by" in out
        assert "under way" not in out

    def test_says_when_a_champion_was_measured_anew(self, call, url):
        call("champion", "rollback", url)
        keep(ChampionLog(Store(url)).read(), "fourth", 0.7)
        _, out, _ = call("champion", "show", url)
        assert "since         2026-11-23 19:00 UTC, record 2, by retune 1" in out
        assert "measured" in out
        assert "UTC, record 9" in out

    def test_json_has_the_promised_keys(self, call, url):
        document = json.loads(call("champion", "show", url, "--json")[1])
        assert document["url"] == url
        assert (document["record"], document["type"]) == (6, "promoted")
        assert document["since"] == document["at"] == "2026-11-23T23:00:00Z"
        assert document["champion"]["config"]["lr"] == 0.5
        assert document["champion"].keys() == CHAMPION.to_json().keys()
        assert document["under_way"] is None
        assert document["reason"]

    def test_names_the_retune_that_is_under_way(self, call, url):
        ChampionLog(Store(url)).read().begin(run="tuesday")
        assert "retune 4 (run tuesday) is under way since" in call("champion", "show", url)[1]
        document = json.loads(call("champion", "show", url, "--json")[1])
        assert document["under_way"]["retune"] == 4

    def test_downloads_the_checkpoint(self, call, tmp_path):
        def train(config):
            tuneflow.report(
                accuracy=config["lr"],
                checkpoint=lambda folder: (folder / "weights").write_text("good"),
            )

        study = tuneflow.tune(
            train,
            space={"lr": 0.5},
            metric="accuracy",
            mode="max",
            searcher="random",
            trials=1,
            name="study",
            storage=tmp_path,
            progress=False,
        )
        uri = f"{study.url}/{study.best_trial.checkpoint}"
        promote(log_of(Store(tmp_path / "line")), "first", checkpoint=uri)
        target = tmp_path / "model"
        code, out, _ = call("champion", "show", tmp_path / "line", "--checkpoint", target)
        assert code == 0
        assert (target / "weights").read_text() == "good"
        assert f"checkpoint: {target}" in out

    def test_without_a_checkpoint_there_is_none_to_download(self, call, url, tmp_path):
        code, _, err = call("champion", "show", url, "--checkpoint", tmp_path / "model")
        assert code == 2
        assert err.startswith("error: --checkpoint: the champion has no checkpoint")

    def test_of_a_place_without_retunes_says_what_a_line_is(self, call, tmp_path):
        code, out, err = call("champion", "show", tmp_path, "--json")
        assert code == 2
        assert "there is no champion at file:///" in err
        assert json.loads(out)["error"]["type"] == "StudyNotFoundError"

    def test_of_a_line_without_a_champion_says_how_far_it_came(self, call, tmp_path):
        log = log_of(Store(tmp_path))
        log.append("failed", {"reason": "no data"}, retune=log.begin(run="first"))
        code, _, err = call("champion", "show", tmp_path)
        assert code == 2
        assert "has no champion yet: the newest, record 2 is 'failed'" in err

    def test_of_a_damaged_log_names_the_object(self, call, url, tmp_path):
        path = tmp_path / "line" / "champions" / f"{2:020d}.json"
        path.write_bytes(path.read_bytes().replace(b"0.8", b"0.9", 1))
        code, _, err = call("champion", "show", url)
        assert code == 6
        assert f"{2:020d}.json is torn or altered" in err


class TestHistory:
    def test_has_a_line_and_a_reason_for_each_record(self, call, url):
        code, out, _ = call("champion", "history", url)
        lines = out.splitlines()
        assert code == 0
        assert len(lines) == 1 + 2 * 6
        assert " ".join(lines[3].split()) == "2 2026-11-23 19:00 1 promoted 0.8 ± 0.0058"
        assert lines[4].strip() == "it is the first champion"
        assert lines[5].split()[-1] == "began"
        assert lines[6].strip() == "run second, by cron"

    def test_json_is_what_is_stored(self, call, url):
        records = json.loads(call("champion", "history", url, "--json")[1])
        assert [record["number"] for record in records] == [1, 2, 3, 4, 5, 6]
        assert [record["retune"] for record in records] == [1, 1, 2, 2, 3, 3]
        assert records[5]["comparison"]["test"] == "t"
        assert records == [record.to_json() for record in ChampionLog(Store(url)).read().records]

    def test_says_where_a_rollback_went_and_why(self, call, url):
        call("champion", "rollback", url, "--to", 2, "--reason", "bad \x1b[31mdata")
        out = call("champion", "history", url)[1]
        assert "to record 2: bad \\x1b[31mdata" in out


class TestRollback:
    def test_goes_to_the_champion_before(self, call, url):
        code, out, err = call("champion", "rollback", url, "--reason", "it was wrong")
        assert (code, err) == (0, "")
        assert "the champion is that of record 4 again" in out
        assert "accuracy 0.75" in out
        log = ChampionLog(Store(url)).read()
        assert log.champion.value == 0.75
        assert log.records[-1].data["reason"] == "it was wrong"

    def test_goes_to_the_record_that_is_named(self, call, url):
        assert call("champion", "rollback", url, "--to", "2")[0] == 0
        assert ChampionLog(Store(url)).read().champion.value == 0.8

    def test_says_that_a_retune_under_way_is_overtaken(self, call, url):
        ChampionLog(Store(url)).read().begin(run="tuesday")
        assert "retune 4, which is under way, will not" in call("champion", "rollback", url)[1]

    @pytest.mark.parametrize(
        ("to", "said"),
        [
            (3, "--to: there is no record 3 with a champion; those that have one are 2, 4"),
            (6, "--to: the champion of record 6 is the present one; those that have one are 2, 4"),
        ],
    )
    def test_to_nowhere_lists_where_to(self, call, url, to, said):
        code, _, err = call("champion", "rollback", url, "--to", to)
        assert code == 2
        assert err == f"error: {said}\n"

    def test_without_an_earlier_champion_changes_nothing(self, call, url):
        assert [call("champion", "rollback", url)[0] for _ in range(2)] == [0, 2]
        assert len(ChampionLog(Store(url)).read().records) == 7


class TestDrift:
    @pytest.fixture
    def file(self, tmp_path):
        path = tmp_path / "metrics.json"
        path.write_text('{"accuracy": 0.93}')
        return path

    def test_that_there_is_none_is_0(self, call, file):
        code, out, _ = call("drift", file, "--metric", "accuracy", "--below", 0.9)
        assert code == 0
        assert out == "accuracy has not drifted: 0.93 is not below 0.9\n"

    def test_that_there_is_one_is_10_and_no_error(self, call, file):
        code, out, err = call("drift", file, "--metric", "accuracy", "--below", 0.95)
        assert code == DRIFTED == 10
        assert out == "accuracy has drifted: 0.93 is below 0.95\n"
        assert err == ""

    def test_json_has_value_and_verdict(self, call, file):
        code, out, _ = call("drift", file, "--metric", "accuracy", "--above", 0.9, "--json")
        assert code == 10
        assert json.loads(out) == {
            "metric": "accuracy",
            "value": 0.93,
            "is_drifted": True,
            "sentence": "accuracy has drifted: 0.93 is above 0.9",
        }

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--metric", "acuracy", "--below", 1], "--metric: .* did you mean 'accuracy'"),
            (["--metric", "accuracy"], "--below: there is no threshold"),
        ],
    )
    def test_bad_input_is_2(self, call, file, arguments, said):
        code, _, err = call("drift", file, *arguments)
        assert code == 2
        assert re.search(said, err)

    def test_a_file_that_is_not_there_is_2(self, call, tmp_path):
        code, _, err = call("drift", tmp_path / "none.csv", "--metric", "a", "--below", 1)
        assert code == 2
        assert "FILE: there is no file at file:///" in err


@pytest.mark.parametrize("name", ["show", "history", "rollback"])
def test_every_command_has_help(call, name):
    code, out, _ = call("champion", name, "--help")
    assert code == 0
    assert f"tuneflow champion {name}" in out
