"""What Prefect shows of a study, as far as it can be judged without a server."""

from __future__ import annotations

import html
import json
import re
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tests.example_studies import accuracy, make_study, play
from tests.prefect_server import free_port, using
from tuneflow.errors import SpecError
from tuneflow.opened import OpenStudy
from tuneflow.prefect.artifacts import Artifacts
from tuneflow.prefect.kept import key_of
from tuneflow.prefect.markdown import block, escaped, link_target, table
from tuneflow.prefect.pages import (
    MOST_ROWS,
    best_caption,
    best_page,
    summary,
    trials_caption,
    trials_json,
)
from tuneflow.prefect.stored_report import BASE_VARIABLE, StoredReport
from tuneflow.searchers.random import Random
from tuneflow.space import Categorical, Int, Space
from tuneflow.views import text

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "a|b",
    "**bold** __init__ _x_ ~~gone~~",
    "[click](javascript:alert(3))",
    "`code` ``` fence",
    "https://example.org www.example.org",
    "&lt;b&gt; & co",
    "# heading",
    "- item",
    "12. item",
    "---",
    "back\\slash \\*",
)

MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def shown(markdown):
    """Return what a reader of one paragraph of Markdown sees."""
    return html.unescape(MARKDOWN.render(markdown).removeprefix("<p>").removesuffix("</p>\n"))


class TestEscaping:
    @pytest.mark.parametrize("words", HOSTILE)
    def test_what_users_typed_is_read_as_they_typed_it(self, words):
        assert shown(escaped(words)) == words

    @given(st.text(max_size=40).filter(str.strip))
    def test_no_text_at_all_becomes_markup(self, words):
        assert shown(escaped(words)) == text.clean(words)

    @pytest.mark.parametrize("words", ["learning_rate=0.012", "-3", "1e-05", "a (b), c; d/e"])
    def test_ordinary_names_and_numbers_stay_as_they_are(self, words):
        assert escaped(words) == words

    def test_bare_addresses_are_no_longer_such(self):
        assert "https:" not in escaped("https://example.org")
        assert "www." not in escaped("www.example.org")

    @given(st.text(max_size=20), st.text(max_size=20))
    def test_a_cell_of_a_table_stays_one(self, name, value):
        page = MARKDOWN.render(table(("parameter", "value"), [(name, value)]))
        assert (page.count("<th>"), page.count("<td>"), page.count("<tr>")) == (2, 2, 2)

    @given(st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=3))
    def test_nothing_in_a_configuration_ends_its_block_of_code(self, config):
        (token,) = MARKDOWN.parse(block(config))
        assert token.type == "fence"
        assert json.loads(token.content) == config

    @pytest.mark.parametrize("words", HOSTILE)
    def test_an_address_cannot_end_its_link(self, words):
        target = link_target(f"https://example.org/{words}")
        page = MARKDOWN.render(f"[report]({target})")
        assert page.count("<a ") == 1
        assert page.endswith(">report</a></p>\n")


class TestKeys:
    @given(st.text(max_size=200))
    def test_prefect_takes_the_key_of_any_name(self, name):
        key = key_of(name, "file:///studies")
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", key)
        assert len(key) <= 70

    def test_the_key_carries_the_name(self):
        assert key_of("My Digits", "s3://bucket").startswith("my-digits-")

    def test_all_runs_have_one_key(self):
        assert key_of("digits", "s3://a") == key_of("digits", "s3://a")

    def test_one_name_in_two_storages_has_two_keys(self):
        assert key_of("digits", "s3://a") != key_of("digits", "s3://b")

    def test_names_that_look_alike_have_two_keys(self):
        assert key_of("a b", "s3://a") != key_of("a-b", "s3://a")


class TestTable:
    def test_the_best_trial_comes_first_and_failed_ones_last(self):
        def objective(params, level):
            if params["layers"] == 1:
                raise ValueError("too few")
            return accuracy(params, level)

        played = play(objective=objective)
        rows = json.loads(trials_json(played.study, played.history))
        best = played.history.best()
        assert len(rows) == len(played.history.trials)
        assert rows[0]["trial"] == best.number
        values = [row["accuracy"] for row in rows if row["accuracy"] is not None]
        assert values == sorted(values, reverse=True)
        assert rows[-1]["state"] == "failed"
        assert rows[-1]["configuration"].startswith("ValueError: too few (lr=")

    def test_it_has_the_best_rows_alone_of_a_large_study_and_says_so(self):
        played = play(make_study(trials=MOST_ROWS + 50))
        rows = json.loads(trials_json(played.study, played.history))
        assert len(rows) == MOST_ROWS
        assert rows[0]["trial"] == played.history.best().number
        caption = trials_caption(played.history)
        assert caption.startswith(f"the best {MOST_ROWS} of {MOST_ROWS + 50} trials: ")

    def test_rows_stay_small_whatever_a_configuration_holds(self):
        space = Space({f"parameter_{n}": Categorical(("x" * 200, "y" * 200)) for n in range(50)})
        played = play(make_study(space=space), lambda params, level: float(level))
        rows = json.loads(trials_json(played.study, played.history))
        assert max(len(row["configuration"]) for row in rows) <= 300

    def test_a_metric_that_is_called_like_a_column_has_one_of_its_own(self):
        played = play()
        study = make_study(metric="level")
        (row, *_) = json.loads(trials_json(study, played.history))
        assert {"level", "metric level"} <= set(row)


class TestBest:
    def test_the_page_has_the_configuration_the_value_and_how_to_go_on(self):
        played = play()
        page = best_page(played.study, played.history, "s3://bucket/digits")
        best = played.history.best()
        assert f"trial {best.number} at 27" in page
        caption = best_caption(played.study, played.history)
        assert re.fullmatch(rf"accuracy 0\.\d+ \(trial {best.number}\)", caption)
        assert "| opt.momentum |" in page
        assert json.dumps(best.params, indent=2) in page
        assert "tuneflow.load('s3://bucket/digits')" in page

    def test_names_and_values_of_a_hostile_study_are_only_text(self):
        space = Space({name: Categorical(HOSTILE) for name in HOSTILE} | {"n": Int(1, 9)})
        study = make_study(name="<b>name</b> | _x_", metric="a*b*", space=space)
        played = play(make_study(space=space), lambda params, level: float(level))
        page = MARKDOWN.render(best_page(study, played.history, "file:///studies/x"))
        tags = set(re.findall(r"<(\w+)", page))
        assert tags <= {"h1", "p", "strong", "table", "thead", "tbody", "tr", "th", "td"} | {
            "pre",
            "code",
        }
        assert page.count("<td>") == 2 * (len(HOSTILE) + 1)
        assert "&lt;b&gt;name&lt;/b&gt; | _x_" in page

    def test_a_study_without_a_usable_value_says_so(self):
        study = make_study()
        page = best_page(study, study.history(), "file:///studies/digits")
        assert "No trial yet has a finite accuracy." in page
        assert "best_config" not in page
        assert best_caption(study, study.history()) == "no accuracy yet"

    def test_a_run_that_did_not_finish_says_why(self):
        played = play(segments=5)
        page = best_page(played.study, played.history, "file:///x/digits", "halted: 3 of 4 failed")
        assert "**The study is not finished:** halted: 3 of 4 failed" in page
        assert summary(None, "halted: 3 of 4 failed") == "halted: 3 of 4 failed"


class TestReport:
    @pytest.fixture
    def opened(self, tmp_path):
        return OpenStudy.create(make_study(searcher=Random()), str(tmp_path))

    def test_it_is_stored_beside_the_journal_and_opens_from_there(self, opened, tmp_path):
        stored = StoredReport(opened)
        stored.store()
        assert stored.address == (tmp_path / "digits" / "report.html").as_uri()
        assert "<h1>digits</h1>" in (tmp_path / "digits" / "report.html").read_text()

    def test_where_a_browser_finds_the_storage_can_be_said(self, opened, monkeypatch):
        monkeypatch.setenv(BASE_VARIABLE, "https://studies.example.org/")
        assert StoredReport(opened).address == "https://studies.example.org/digits/report.html"
        other = StoredReport(opened, "https://other.example.org")
        assert other.address == "https://other.example.org/digits/report.html"

    def test_a_base_that_no_browser_opens_is_refused(self, opened):
        with pytest.raises(SpecError, match="is no address of a web server"):
            StoredReport(opened, "javascript:alert(1)//")

    def test_it_is_not_made_again_at_each_round(self, opened, monkeypatch):
        now = 1000.0
        monkeypatch.setattr("time.monotonic", lambda: now)
        stored = StoredReport(opened)
        assert not stored.is_due
        now += 61
        assert stored.is_due
        stored.store()
        assert not stored.is_due


class Recorder:
    """Stands where Prefect's server is asked to keep artifacts; some kinds it cannot keep."""

    def __init__(self):
        self.kept = []
        self.broken = set()

    def keep(self, kind, form, data, description=None):
        self.kept.append(kind)
        if kind in self.broken:
            raise RuntimeError(f"no {kind} today")


@pytest.fixture
def clock(monkeypatch):
    """The time, which stands still unless it is set."""
    now = SimpleNamespace(time=1000.0)
    monkeypatch.setattr("time.monotonic", lambda: now.time)
    return now


class TestKeeping:
    @pytest.fixture
    def artifacts(self, tmp_path, monkeypatch, clock):
        made = Artifacts(OpenStudy.create(make_study(searcher=Random()), str(tmp_path)))
        monkeypatch.setattr(made, "_kept", Recorder())
        return made

    def test_progress_is_shown_every_two_seconds_at_most(self, artifacts, clock):
        artifacts.began()
        for _ in range(10):
            artifacts.progress(1, 10, "1 of 10")
        assert artifacts._kept.kept == ["progress"]
        clock.time += 2
        artifacts.progress(2, 10, "2 of 10")
        artifacts.progress(3, None, "3 of nobody knows")
        assert artifacts._kept.kept == ["progress", "progress"]

    def test_rounds_that_follow_one_another_quickly_are_shown_together(self, artifacts, clock):
        for _ in range(10):
            artifacts.round_closed(None)
        assert artifacts._kept.kept == ["trials", "best"]
        clock.time += 5
        artifacts.round_closed(None)
        assert artifacts._kept.kept == ["trials", "best"] * 2

    def test_what_cannot_be_shown_is_one_warning_and_the_rest_goes_on(
        self, artifacts, clock, caplog
    ):
        artifacts._kept.broken = {"trials"}
        for _ in range(4):
            artifacts.round_closed(None)
            clock.time += 20
        assert artifacts._kept.kept.count("best") == 4
        assert artifacts._kept.kept.count("trials") == 2
        (record,) = caplog.records
        assert "cannot show the trials of file://" in record.message
        assert record.message.endswith("in Prefect: no trials today")

    def test_the_end_is_shown_also_by_what_has_failed_a_moment_ago(self, artifacts):
        artifacts._kept.broken = {"trials"}
        artifacts.round_closed(None)
        artifacts._kept.broken = set()
        artifacts.finished(None)
        assert artifacts._kept.kept == ["trials", "best", "trials", "best", "progress"]

    def test_a_report_that_cannot_be_drawn_is_a_warning(self, artifacts, monkeypatch, caplog):
        monkeypatch.setitem(sys.modules, "plotly", None)
        artifacts.began()
        artifacts.finished(None)
        assert "report" not in artifacts._kept.kept
        assert "plotly is not installed; run: pip install 'tuneflow[report]'" in caplog.text

    def test_a_wrong_base_is_a_warning(self, artifacts, monkeypatch, caplog):
        monkeypatch.setenv(BASE_VARIABLE, "studies.example.org")
        artifacts.began()
        artifacts.finished(None)
        assert "'studies.example.org' is no address of a web server" in caplog.text

    def test_a_server_that_is_away_harms_nobody(self, tmp_path, caplog):
        artifacts = Artifacts(OpenStudy.create(make_study(searcher=Random()), str(tmp_path)))
        with using(f"http://127.0.0.1:{free_port()}/api"):
            artifacts.began()
            artifacts.finished(None)
        kinds = [record.args[0] for record in caplog.records if "cannot show" in record.msg]
        assert sorted(kinds) == ["best", "progress", "report", "trials"]
