"""Prefect's web pages of a flow run and its artifacts, in a browser, as a user opens them."""

from __future__ import annotations

import json
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter

from tests.browser.chrome import Page


class PrefectPages:
    """The pages of a server.

    Args:
        page: a browser's page.
        api: the URL of the server's API.
    """

    def __init__(self, page: Page, api: str) -> None:
        self.page = page
        self.url = api.removesuffix("/api")

    def open_artifacts(self) -> None:
        """Open the page of all artifacts."""
        self._open("artifacts", "Artifacts")

    def open_artifact(self, artifact: Any, word: str, height: int = 900) -> None:
        """Open the page of one artifact, and wait until a word is on it."""
        self._open(f"artifacts/artifact/{artifact.id}", word, height)

    def open_run(self, flow_run_id: Any, tab: str, word: str) -> None:
        """Open a tab of the page of a flow run, and wait until a word is on it."""
        self._open(f"runs/flow-run/{flow_run_id}", tab)
        self.page.run(
            "[...document.querySelectorAll('body *')]"
            f".filter(one => !one.children.length && one.innerText == {json.dumps(tab)})[0].click()"
        )
        self.wait_for(word)

    def text(self) -> str:
        """Return what can be read on the page."""
        found: str = self.page.run("document.body.innerText")
        return found

    def wait_for(self, word: str) -> None:
        """Wait until a word can be read on the page."""
        self.page.wait_for(f"document.body?.innerText.includes({json.dumps(word)})")

    def _open(self, path: str, word: str, height: int = 900) -> None:
        self.page.visit(f"{self.url}/{path}", 1440, height)
        self.wait_for(word)


def artifacts_of(flow_run_id: Any) -> dict[str, Any]:
    """Return the artifacts of a flow run by the last word of their keys."""
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id={"any_": [flow_run_id]})
        )
    return {artifact.key.rpartition("-")[2]: artifact for artifact in found}
