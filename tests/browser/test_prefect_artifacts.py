"""The artifacts of a flow run in Chromium, on the pages of a real server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.chrome import open_page
from tests.browser.prefect_pages import PrefectPages, artifacts_of
from tests.prefect_server import flow_runs
from tuneflow.prefect import tune_flow
from tuneflow.space import Categorical, Float, Int

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.slow]

SCRIPT = "<script>alert(1)</script>"
IMAGE = '"><img src=x onerror=alert(2)>'
LINK = "[a](javascript:alert(3)) | `b` **c**"
TYPED = "<b>typed</b>"
DIALOG = "Page.javascriptDialogOpening"


@pytest.fixture(scope="module")
def pages(
    chromium: Path, prefect_api: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrefectPages]:
    with open_page(chromium, tmp_path_factory.mktemp("profile")) as page:
        yield PrefectPages(page, prefect_api)


def run(name: str, folder: Path, metric: str = "accuracy", **more: Any) -> Any:
    """Run a small study as a flow; return its artifacts."""

    def train(config: dict[str, Any]) -> Iterator[dict[str, float]]:
        for epoch in range(1, 4):
            if config["layers"] == 4:
                raise ValueError(f"four layers are too many {SCRIPT}")
            yield {metric: config["rate"] * epoch}

    tune_flow(
        train,
        name=name,
        space={"rate": Float(0.1, 1.0), "layers": Int(1, 4), **more},
        metric=metric,
        mode="max",
        searcher="random",
        scheduler={"type": "successive_halving", "max_resource": 3, "n_trials": 9},
        trials=9,
        storage=folder,
    )()
    (found,) = flow_runs(re.sub(r"[/%&<>]", "-", name))
    return artifacts_of(found.id)


@pytest.fixture(scope="module")
def plain(prefect_api: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run("pictured", tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def hostile(prefect_api: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    more = {SCRIPT.replace("/", "|"): Categorical([IMAGE, LINK])}
    folder = tmp_path_factory.mktemp("hostile")
    return run(TYPED.replace("/", "|"), folder, metric=TYPED, **more)


def test_the_page_of_all_artifacts_has_one_of_each_kind(pages: PrefectPages, plain: Any) -> None:
    pages.open_artifacts()
    assert set(plain) == {"progress", "trials", "best", "report"}
    for artifact in plain.values():
        pages.wait_for(artifact.key)
    assert "Finished: best accuracy" in pages.text()


def test_the_progress_is_whole_in_the_end(pages: PrefectPages, plain: Any) -> None:
    pages.open_artifact(plain["progress"], "Progress: 100%")


def test_the_table_has_a_row_for_each_trial_the_best_first(pages: PrefectPages, plain: Any) -> None:
    pages.open_artifact(plain["trials"], "9 Items")
    head = pages.page.run("[...document.querySelectorAll('th')].map(cell => cell.innerText)")
    assert head == ["trial", "accuracy", "level", "state", "configuration"]
    rows = pages.page.run(
        "[...document.querySelectorAll('tbody tr')]"
        ".map(row => [...row.cells].map(cell => cell.innerText.trim()))"
    )
    assert len(rows) == 9
    values = [float(row[1]) for row in rows if row[1]]
    assert values == sorted(values, reverse=True)
    assert rows[0][3] == "completed"
    assert rows[0][4].startswith("rate=0.")


def test_the_best_configuration_can_be_read_and_copied(pages: PrefectPages, plain: Any) -> None:
    pages.open_artifact(plain["best"], "pictured")
    pages.wait_for("import tuneflow")
    text = pages.text()
    assert re.search(r"accuracy [\d.]+, the highest of 9: trial \d at 3", text)
    assert re.search(r'{\s*"rate": 0\.\d+,\s*"layers": [123]\s*}', text)


def test_the_link_leads_to_the_report_in_the_storage(
    pages: PrefectPages, plain: Any, tmp_path: Path
) -> None:
    pages.open_artifact(plain["report"], "Tuning report")
    links = "[...document.querySelectorAll('a')]"
    href = pages.page.run(f"{links}.find(a => a.innerText.startsWith('Tuning report')).href")
    assert href.endswith("/pictured/report.html")
    report = Path(href.removeprefix("file://"))
    assert "<h1>pictured</h1>" in report.read_text()


@pytest.mark.parametrize("kind", ["progress", "trials", "best", "report"])
def test_what_users_typed_is_only_text(pages: PrefectPages, hostile: Any, kind: str) -> None:
    pages.page.events.clear()
    pages.open_artifact(hostile[kind], "Tuning report" if kind == "report" else TYPED, 1600)
    if kind in ("trials", "best"):
        text = re.sub(r"\s+", " ", pages.text())
        assert any(f"{word}" in text for word in (IMAGE, LINK))
        assert "alert(1)<|script>" in text
    made = "document.querySelectorAll('img[src=x], a[href^=javascript]').length"
    assert pages.page.run(made) == 0
    assert pages.page.said(DIALOG) == []
