"""``tuneflow environments``, called in this process."""

from __future__ import annotations

import json

import pytest

from tuneflow.cli import main
from tuneflow.environments.cache import CACHE, Cached, cache_folder

STUDY = """
objective: train.py:train
space: {x: {type: float, low: 0, high: 1}}
metric: loss
mode: min
searcher: SEARCHER
trials: 3
"""


@pytest.fixture
def call(capsys):
    """Calls the command; returns its exit code, stdout and stderr."""

    def call(*arguments):
        code = main(["environments", *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Two environments, of which one was not made to its end."""
    monkeypatch.setenv(CACHE, str(tmp_path))
    made, half = Cached(cache_folder() / "aa11"), Cached(cache_folder() / "ab22")
    for place in (made, half):
        place.folder.mkdir(parents=True)
        place.log.write_text("x" * 100_000)
    made.complete({"library": "dragonfly", "python": "3.11.7", "requirements": ["dragonfly-opt"]})
    return made, half


class TestList:
    def test_shows_whose_it_is_and_what_is_in_it(self, call, places):
        code, out, _ = call("list")
        assert code == 0
        lines = [" ".join(line.split()) for line in out.splitlines()]
        assert lines[2].startswith("aa11 dragonfly 3.11.7 0")
        assert lines[2].endswith("dragonfly-opt")
        assert lines[3] == "ab22 not made to its end - 0 -"

    def test_has_it_as_json(self, call, places):
        made, half = json.loads(call("list", "--json")[1])
        assert (made["key"], made["library"], made["python"]) == ("aa11", "dragonfly", "3.11.7")
        assert made["bytes"] >= 100_000
        assert made["folder"] == str(places[0].folder)
        assert made["used"] > 0
        assert (half["library"], half["used"]) == (None, None)

    def test_says_where_there_would_be_some(self, call, tmp_path, monkeypatch):
        monkeypatch.setenv(CACHE, str(tmp_path))
        assert call("list")[1] == f"there are no environments in {tmp_path}/environments\n"


class TestRemove:
    def test_takes_the_beginning_of_a_key(self, call, places):
        assert call("remove", "aa")[:2] == (0, "removed aa11\n")
        assert not places[0].folder.exists()
        assert places[1].folder.exists()

    def test_removes_all_of_them(self, call, places):
        assert call("remove", "--all")[:2] == (0, "removed aa11\nremoved ab22\n")

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ((), "nothing says which environments"),
            (("aa", "--all"), "nothing says which environments"),
            (("a",), "2 environments begin with 'a'"),
            (("zz",), "no environments begin with 'zz'"),
        ],
    )
    def test_asks_back_when_it_is_not_clear_which(self, arguments, said, call, places):
        code, _, err = call("remove", *arguments)
        assert code == 2
        assert said in err
        assert places[0].folder.exists()


class TestMake:
    def test_says_that_nothing_is_missing(self, call, tmp_path):
        (tmp_path / "study.yaml").write_text(STUDY.replace("SEARCHER", "random"))
        assert call("make", tmp_path / "study.yaml")[:2] == (0, "'random' has all that it needs\n")
