"""Chromium, driven over a pair of pipes with its DevTools protocol."""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--remote-debugging-pipe",
)
_PATIENCE = 60.0


class Page:
    """One page; every event that the browser tells about it is kept in ``events``."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._ids = itertools.count(1)
        self._buffer = b""
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        message: dict[str, Any] = {"id": next(self._ids), "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read(time.monotonic() + _PATIENCE)
            if answer.get("id") == message["id"]:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def _read(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], deadline - time.monotonic())
            data = os.read(self._from, 1 << 20) if ready else b""
            assert data, "chromium does not answer"
            self._buffer += data
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        if "method" in message:
            self.events.append(message)
        return message

    def open(self, path: Path, width: int = 1280, *, dark: bool = False) -> None:
        """Load a file at a width, and wait until its figures are drawn."""
        self.visit(path.as_uri(), width, dark=dark)
        self.wait_for("document.documentElement?.dataset.drawn")

    def visit(self, url: str, width: int = 1280, height: int = 900, *, dark: bool = False) -> None:
        """Load a page at a size, and wait until the browser calls it loaded."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        begun = len(self.events)
        self.call("Page.navigate", url=url)
        while all(event["method"] != "Page.loadEventFired" for event in self.events[begun:]):
            self._read(time.monotonic() + _PATIENCE)

    def wait_for(self, script: str) -> None:
        """Wait until an expression is true."""
        self.run(
            "new Promise((done) => { const look = () => "
            f"({script}) ? done(true) : setTimeout(look, 20); look(); }})"
        )

    def screenshot(self, path: Path) -> None:
        """Save what is seen as a PNG file."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def run(self, script: str) -> Any:
        """Return the value of an expression, awaited, as if the user had clicked."""
        answer = self.call(
            "Runtime.evaluate",
            expression=script,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def said(self, *methods: str) -> list[dict[str, Any]]:
        """Return the parameters of the events of these kinds so far."""
        return [event["params"] for event in self.events if event["method"] in methods]


@contextmanager
def open_page(chromium: Path, profile: Path) -> Iterator[Page]:
    """Start a browser with a profile of its own, and end it."""
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    theirs = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (to_read, from_write)]
    command = f'exec "$0" "$@" 3<&{theirs[0]} 4>&{theirs[1]}'
    process = subprocess.Popen(
        ["bash", "-c", command, str(chromium), *_FLAGS, f"--user-data-dir={profile}"],
        pass_fds=theirs,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for fd in (to_read, from_write, *theirs):
        os.close(fd)
    try:
        yield Page(to_write, from_read)
    finally:
        os.close(to_write)
        process.terminate()
        process.wait(30)
        os.close(from_read)
