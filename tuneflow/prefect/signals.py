"""Signals at the wrong moment."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def signals_later() -> Iterator[None]:
    """Have SIGINT and SIGTERM take effect when this is left.

    Prefect raises an exception for them, wherever the main thread happens to be. In the middle of
    a call of pydantic's that becomes one of its errors, and Prefect would take the flow run for
    one that has failed, and may retry it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def note(number: int, frame: Any) -> None:
        came.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for signal_number in came:
            signal.raise_signal(signal_number)
