"""Airflow's web pages of a DAG's run, in a browser, as a user opens them."""

from __future__ import annotations

import json

from tests.browser.chrome import Page

EXPAND = "document.querySelector('[data-testid=expand-all-button]')"


class RunPages:
    """The pages of one run of a DAG.

    Args:
        page: a browser's page.
        url: of Airflow's API server.
        dag_id: which DAG.
        run_id: which run of it.
    """

    def __init__(self, page: Page, url: str, dag_id: str, run_id: str) -> None:
        self.page = page
        self.run = f"{url}/dags/{dag_id}/runs/{run_id}"

    def open_grid(self, task_id: str = "", *, left: int = 35) -> None:
        """Open the grid with all groups expanded, and beside it a mapped task, or all tasks.

        Args:
            task_id: the task.
            left: how much of the width the grid has, in percent.
        """
        self.page.visit(f"{self.run}/tasks/{task_id}/mapped" if task_id else self.run, 1440)
        self._divide(left)
        self._expand()
        self.page.wait_for("document.querySelectorAll('table tbody tr').length > 0")

    def text(self) -> str:
        """Return what can be read on the page."""
        return self.page.run("document.body.innerText")

    def _divide(self, left: int) -> None:
        """Give the left panel a width; Airflow keeps it in the browser."""
        layout = {"details-panel,main-panel": {"expandToSizes": {}, "layout": [left, 100 - left]}}
        key = "react-resizable-panels:grid-ltr"
        self.page.run(f"localStorage.setItem({key!r}, {json.dumps(json.dumps(layout))})")
        url = self.page.run("location.href")
        self.page.visit(url, 1440)

    def _expand(self) -> None:
        self.page.wait_for(f"{EXPAND} && !{EXPAND}.disabled")
        self.page.run(f"{EXPAND}.click()")
