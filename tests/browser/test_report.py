"""The HTML report in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.chrome import Page, open_page
from tests.example_studies import accuracy, make_study, play
from tuneflow.events import Closed, Launched, Reported
from tuneflow.schedulers import FIFO
from tuneflow.searchers import Random
from tuneflow.space import Categorical, Float, Int, Space
from tuneflow.trial import Params, Report
from tuneflow.views.html import render

pytestmark = pytest.mark.browser

SCRIPT = "</script><script>alert(1)</script>"
IMAGE = '"><img src=x onerror=alert(2)>'
SET = """
{{
  const field = document.getElementById("{id}");
  field.value = "{value}";
  field.dispatchEvent(new Event("{event}"));
}}
"""
DIALOG = "Page.javascriptDialogOpening"


@pytest.fixture(scope="module")
def page(chromium: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with open_page(chromium, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    played = play(objective=_fails_with_one_layer)
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(played.study, played.history, "./results/digits", played.outcomes))
    return path


def _fails_with_one_layer(params: Params, level: int) -> float:
    if params["layers"] == 1:
        raise ValueError("one layer is too few")
    return accuracy(params, level)


def first_cells(page: Page, column: int) -> list[str]:
    return page.run(
        f"[...document.querySelectorAll('#trials tbody tr:not([hidden])')]"
        f".map((row) => row.cells[{column}].textContent.trim())"
    )


def test_draws_every_figure_without_an_error_or_a_request(page: Page, report: Path) -> None:
    page.events.clear()
    page.open(report)
    drawn = page.run("[...document.querySelectorAll('.figure')].map((f) => f.id)")
    assert drawn == ["history", "curves", "parallel", "importance", "timeline"]
    assert page.run(
        "[...document.querySelectorAll('.figure')].every((f) => f.querySelector('svg'))"
    )
    requests = page.said("Network.requestWillBeSent")
    assert [request["request"]["url"] for request in requests] == [report.as_uri()]
    assert page.said("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled") == []


@pytest.mark.parametrize("count", [2, 3, 4])
def test_draws_the_front_of_several_metrics(page: Page, tmp_path: Path, count: int) -> None:
    study = make_study(
        other_metrics=dict.fromkeys([f"{name}{IMAGE}" for name in "abc"[: count - 1]], "min"),
        searcher=Random(),
        scheduler=FIFO(),
        constraints=["limit <= 0.8"],
    )
    history = study.history()
    for number in range(30):
        params = {"lr": 0.01, "layers": 1 + number % 6, "act": "relu", "opt": {"momentum": 0.5}}
        metrics = {
            name: (number * 7 + 5 * k) % 30 / 30 for k, (name, _) in enumerate(study.objectives)
        }
        history.append(Launched(number, 0, None, params=params))
        history.append(Reported(number, Report(1, {**metrics, "limit": number / 30})))
        history.append(Closed(number, "completed"))
    path = tmp_path / "report.html"
    path.write_text(render(study, history, "./results/digits"))
    page.events.clear()
    page.open(path)
    drawn = page.run("[...document.querySelectorAll('.figure')].map((f) => f.id)")
    assert drawn[0] == "pareto"
    assert page.run("document.querySelectorAll('#pareto .main-svg').length > 0")
    front = {str(trial.number) for trial in history.pareto_front()}
    cells = "[...document.querySelectorAll('[aria-labelledby=front-title] tbody tr')]"
    assert set(page.run(f"{cells}.map((row) => row.cells[0].textContent)")) == front
    inner, scrolled = page.run("[innerWidth, document.documentElement.scrollWidth]")
    assert scrolled <= inner
    assert page.said("Runtime.exceptionThrown", "Log.entryAdded", DIALOG) == []


@pytest.mark.parametrize("width", [360, 390, 1280])
def test_never_scrolls_sideways(page: Page, report: Path, width: int) -> None:
    page.open(report, width)
    inner, scrolled = page.run("[innerWidth, document.documentElement.scrollWidth]")
    assert inner == width
    assert scrolled <= width
    assert page.run("document.querySelector('.scroll.table').clientWidth") < width


def test_sorts_by_a_number_both_ways_with_empty_cells_last(page: Page, report: Path) -> None:
    page.open(report)
    click = "document.querySelectorAll('#trials th button')[2].click()"
    for direction in ("ascending", "descending"):
        page.run(click)
        cells = first_cells(page, 2)
        values = [float(cell) for cell in cells if cell != "-"]
        assert values == sorted(values, reverse=direction == "descending")
        assert len(values) > 15
        assert set(cells[len(values) :]) == {"-"}
        heading = "document.querySelectorAll('#trials th')[2].getAttribute('aria-sort')"
        assert page.run(heading) == direction


def test_filters_by_state_and_by_text(page: Page, report: Path) -> None:
    page.open(report)
    page.run(SET.format(id="state", value="failed", event="change"))
    assert set(first_cells(page, 1)) == {"failed"}
    failed = len(first_cells(page, 1))
    assert page.run("shown.textContent") == f"{failed} of 30"
    page.run(SET.format(id="find", value="no such text", event="input"))
    assert first_cells(page, 1) == []


def test_shows_a_failed_trials_error_and_traceback(page: Page, report: Path) -> None:
    page.open(report)
    failures = page.run("document.querySelector('details').textContent")
    assert "ValueError: one layer is too few" in failures
    assert "Traceback" in failures
    assert "tuneflow logs ./results/digits" in failures


def test_copies_the_best_configuration(page: Page, report: Path) -> None:
    page.open(report)
    page.run("document.getElementById('copy').click()")
    page.run("new Promise((done) => setTimeout(done, 0))")
    told = page.run(
        "new Promise((done) => { const look = () => copied.textContent "
        "? done(copied.textContent) : setTimeout(look, 20); look(); })"
    )
    assert told == "Copied."


def test_follows_the_dark_scheme(page: Page, report: Path) -> None:
    page.open(report, dark=True)
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(17, 20, 26)"
    assert page.run("document.getElementById('history').layout.font.color") == "#e6e9ef"


def test_names_from_a_hostile_study_are_only_text(page: Page, tmp_path: Path) -> None:
    space = Space(
        {
            SCRIPT: Categorical((SCRIPT, IMAGE, "plain")),
            IMAGE: Int(1, 9),
            "x": Float(0.0, 1.0),
        }
    )
    study = make_study(
        name="<b>name</b>", space=space, objective={"command": [SCRIPT]}, metric="accuracy"
    )

    def objective(params: Params, level: int) -> float:
        if params["x"] > 0.8:
            raise RuntimeError(SCRIPT + IMAGE)
        return params["x"] * level

    played = play(study, objective)
    path = tmp_path / "hostile.html"
    path.write_text(render(study, played.history, f"./{IMAGE}", played.outcomes))
    page.events.clear()
    page.open(path)
    page.run("document.querySelector('details').open = true")
    assert page.said(DIALOG) == []
    assert page.run("document.querySelectorAll('img, h1 b').length") == 0
    assert page.run("document.querySelector('h1').textContent") == "<b>name</b>"
    assert SCRIPT in page.run("document.getElementById('config').textContent")
    assert page.said("Runtime.exceptionThrown", "Log.entryAdded") == []


def test_a_script_that_got_in_would_not_run(page: Page, report: Path, tmp_path: Path) -> None:
    path = tmp_path / "injected.html"
    path.write_text(report.read_text().replace("<main>", f"<main>{SCRIPT[9:]}", 1))
    page.events.clear()
    page.open(path)
    assert page.said(DIALOG) == []
    refused = [entry["entry"]["text"] for entry in page.said("Log.entryAdded")]
    assert any("Content Security Policy" in text for text in refused)


def test_a_study_without_trials_is_a_page_of_sentences(page: Page, tmp_path: Path) -> None:
    study = make_study()
    path = tmp_path / "empty.html"
    path.write_text(render(study, study.history(), "./results/digits"))
    page.events.clear()
    page.open(path)
    assert page.run("document.documentElement.dataset.drawn") == "0"
    assert "No trial has begun." in page.run("document.body.textContent")
    assert page.said("Runtime.exceptionThrown", "Log.entryAdded") == []
