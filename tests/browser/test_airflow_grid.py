"""A study in Airflow's own pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.airflow_world import World
from tests.browser.airflow_pages import RunPages
from tests.browser.chrome import open_page

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def pages(
    chromium: Path, airflow_system: World, rungs: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunPages]:
    """The pages of a finished study of three rungs."""
    with open_page(chromium, tmp_path_factory.mktemp("profile")) as page:
        yield RunPages(page, airflow_system.airflow.url, "rungs", rungs)


def test_the_grid_shows_the_stages_and_what_came_of_each_trial(pages: RunPages) -> None:
    pages.open_grid("tune.stage_0.trial")
    pages.page.wait_for("document.body.innerText.includes('schedule')")
    # The mapped tasks come with an answer of their own.
    pages.page.wait_for("(document.body.innerText.match(/ · loss 0\\./g) || []).length >= 9")
    text = pages.text()
    for name in ("stage_0", "stage_1", "stage_2", "search", "trial", "schedule", "best"):
        assert name in text
    labels = re.findall(r"trial \d · rate 0\.\d+ · loss 0\.\d+", text)
    assert len(set(labels)) == 9
