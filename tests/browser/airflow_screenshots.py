"""Take the screenshot of docs/airflow.md anew: ``python -m tests.browser.airflow_screenshots``.

It runs dags/tune_digits_hyperband.py in a whole Airflow, which takes some minutes.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from tests.airflow_system import ROOT
from tests.airflow_world import world
from tests.browser.airflow_pages import RunPages
from tests.browser.chrome import open_page

DAG = "tune_digits_hyperband"
IMAGES = ROOT / "docs" / "images"
SETTLED = 5.0
"""Seconds after which nothing moves on a page any more."""


def main() -> None:
    """Run the DAG, open its page, save what is seen."""
    with tempfile.TemporaryDirectory() as folder, world(ROOT / "dags", Path(folder)) as system:
        run_id = system.complete(DAG, seconds=900)
        profile = Path(folder) / "profile"
        with open_page(Path("/usr/bin/chromium"), profile) as page:
            pages = RunPages(page, system.airflow.url, DAG, run_id)
            pages.open_grid("tune.stage_1.trial")
            _save(pages, IMAGES / "airflow-grid.png")


def _save(pages: RunPages, path: Path) -> None:
    time.sleep(SETTLED)
    pages.page.screenshot(path)


if __name__ == "__main__":
    main()
