"""Take the screenshots of docs/prefect.md anew: ``python -m tests.browser.prefect_screenshots``.

It runs flows/tune_digits.py on a Prefect server, which takes some minutes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.airflow_system import ROOT
from tests.browser.chrome import open_page
from tests.browser.prefect_pages import PrefectPages, artifacts_of
from tests.prefect_server import flow_runs, server, using

IMAGES = ROOT / "docs" / "images"
SETTLED = 5.0
"""Seconds after which nothing moves on a page any more."""


def main() -> None:
    """Run the flow, open its pages, save what is seen."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with server(folder) as api, using(api):
            _run(folder / "studies")
            (run,) = flow_runs("tune-digits")
            with open_page(Path("/usr/bin/chromium"), folder / "profile") as page:
                _take(PrefectPages(page, api), run.id)


def _run(storage: Path) -> None:
    """Run the example as its page says."""
    environment = {**os.environ, "TUNEFLOW_STORAGE": str(storage)}
    script = ROOT / "flows" / "tune_digits.py"
    subprocess.run([sys.executable, script], env=environment, check=True)


def _take(pages: PrefectPages, flow_run_id: object) -> None:
    pages.open_run(flow_run_id, "Task Runs", "schedule round 3")
    _save(pages, "prefect-run.png")
    pages.open_artifacts()
    pages.wait_for("-best")
    _save(pages, "prefect-artifacts.png")
    pages.open_artifact(artifacts_of(flow_run_id)["best"], "import tuneflow")
    _save(pages, "prefect-best.png")


def _save(pages: PrefectPages, name: str) -> None:
    time.sleep(SETTLED)
    pages.page.screenshot(IMAGES / name)


if __name__ == "__main__":
    main()
