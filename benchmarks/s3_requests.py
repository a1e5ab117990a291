"""Count the requests that a study's journal costs on an S3 server."""

from __future__ import annotations

import os
import socket
import threading
from collections import Counter
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def count_requests(folder: str) -> dict[str, float]:
    """Run a study whose storage is a moto server in this process, and count what it asks for."""
    from moto.server import DomainDispatcherApplication, create_backend_app

    counts: Counter[str] = Counter()
    moto = DomainDispatcherApplication(create_backend_app)

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        if "/journal/" in path or "journal" in environ.get("QUERY_STRING", ""):
            counts["journal"] += 1
        if "/snapshots/" in path:
            counts["snapshots"] += 1
        return moto(environ, start_response)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = make_server("127.0.0.1", port, app, handler_class=_Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }
    import boto3

    boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"]).create_bucket(Bucket="bench")
    counts.clear()
    figures = _study()
    server.shutdown()
    return figures | {
        "journal_requests": counts["journal"],
        "requests_per_commit": (counts["journal"] - 1) / figures["commits"],
        "snapshot_requests": counts["snapshots"],
    }


def _study() -> dict[str, float]:
    from ours import curve

    import tuneflow

    result = tuneflow.tune(
        curve,
        space={"x": tuneflow.space.uniform(0, 1)},
        metric="loss",
        mode="min",
        searcher="random",
        scheduler=tuneflow.schedulers.ASHA(max_resource=81, reduction_factor=3, variant="stopping"),
        trials=20,
        storage="s3://bench/studies",
        executor="inline",
        progress=False,
        name="requests",
    )
    reports = sum(len(trial.reports) for trial in result.trials)
    return {"commits": result.opened.journal.commits, "reports": reports}
