"""Leaving Python while a thread still thinks.

At the end Python ends such a thread wherever it is, and a library in C++ aborts the process for
that, PyTorch for one. So the thread is interrupted before: it ends as soon as the library comes
back to Python.
"""

from __future__ import annotations

import atexit
import ctypes
import threading
import time
from typing import Final
from weakref import WeakSet

_GRACE: Final = 5.0
"""Seconds that a library has to come back to Python."""

_PAUSE: Final = 0.05
"""Seconds between two interruptions: a library may swallow one."""

_threads: WeakSet[threading.Thread] = WeakSet()


def ended_at_exit(thread: threading.Thread) -> None:
    """Have a thread interrupted when Python ends, if it is alive then."""
    _threads.add(thread)


@atexit.register
def _leave() -> None:
    deadline = time.monotonic() + _GRACE
    for thread in list(_threads):
        while thread.is_alive() and time.monotonic() < deadline:
            interrupt(thread)
            thread.join(_PAUSE)


def interrupt(thread: threading.Thread) -> None:
    """Raise SystemExit in a thread, at its next step in Python."""
    if thread.ident is not None:
        number, error = ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(number, error)
