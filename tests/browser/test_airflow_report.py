"""The report of a study, in Airflow's page of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.airflow_world import World
from tests.browser.chrome import open_page

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

FRAME = "document.querySelector('iframe[title=\"Tuning report\"]')"


def test_a_run_has_a_tab_that_shows_the_report(
    chromium: Path, airflow_system: World, rungs: str, tmp_path: Path
) -> None:
    site = airflow_system.airflow.url
    with open_page(chromium, tmp_path) as page:
        page.visit(f"{site}/dags/rungs/runs/{rungs}")
        page.wait_for("document.body.innerText.includes('Tuning report')")
        page.run("[...document.querySelectorAll('a')].find((a) => /report/.test(a.href)).click()")
        # To the page around it, what is in the frame comes to be another site.
        page.wait_for(f"{FRAME} && {FRAME}.contentDocument === null")
        url = page.run(f"{FRAME}.src")
        assert url.startswith(f"{site}/tuneflow/report/rungs/manual__")
        page.visit(url)
        page.wait_for("document.documentElement?.dataset.drawn")
        assert "rungs" in page.run("document.querySelector('h1').innerText")
        assert page.run("document.documentElement.dataset.drawn") != "0"
