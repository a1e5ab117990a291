"""A process with a group of its own, whose output is read without threads that may lag behind."""

from __future__ import annotations

import atexit
import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

Sink: TypeAlias = Callable[[bytes], None]
"""Called with what was read; with nothing at the end."""

_READ = 65536
_PIPE_SIZE = 1 << 20


class ProcessGroup:
    """A started process and all that it starts.

    Nothing is read but in `pump`, `drain`, `stop` and `finish`, so that a reader that is behind
    holds the process back. All methods but `wake` are called by one thread at a time.

    Args:
        arguments: program and arguments.
        env: its whole environment.
        cwd: its working directory.
        stdout: gets its standard output.
        stderr: gets its standard error output.
        extra: further pipes to read: the parent's end and who gets the data.
        pass_fds: file descriptors that it inherits.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        stdout: Sink,
        stderr: Sink,
        extra: Mapping[int, Sink] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - running it is what was asked for
            arguments,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            pass_fds=pass_fds,
        )
        assert self._process.stdout is not None  # noqa: S101 - as PIPE was asked for
        assert self._process.stderr is not None  # noqa: S101
        self._wake_read, self._wake_write = os.pipe()
        self._wake_lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._add(self._wake_read, None)
        self._add(self._process.stdout.fileno(), stdout)
        self._add(self._process.stderr.fileno(), stderr)
        for fd, sink in (extra or {}).items():
            self._add(fd, sink)
        self._closed = False
        _started.add(self)
        threading.Thread(target=self._await_exit, name="process-exit", daemon=True).start()

    def _add(self, fd: int, sink: Sink | None) -> None:
        os.set_blocking(fd, False)
        self._selector.register(fd, selectors.EVENT_READ, sink)

    @property
    def pid(self) -> int:
        """The number of the process and of its group."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status, the negative number of the signal that ended it, or None."""
        return self._process.returncode

    def pump(self, timeout: float | None = None) -> None:
        """Wait for output, the process's end or `wake`, and pass on what has come."""
        exited = self.returncode is not None
        for key, _ in self._selector.select(0 if exited else timeout):
            self._read(key.fd, key.data)

    def drain(self) -> None:
        """Pass on the last output of a process that has ended, and end what it left behind.

        A descendant that has left the group may hold the pipes, and even go on writing: no more
        is read than a pipe can hold.
        """
        self.signal(signal.SIGKILL)
        for key in list(self._selector.get_map().values()):
            for _ in range(_PIPE_SIZE // _READ):
                if not self._read(key.fd, key.data):
                    break

    def _read(self, fd: int, sink: Sink | None) -> bool:
        """Read once and return whether there may be more."""
        try:
            data = os.read(fd, _READ)
        except BlockingIOError:
            return False
        if sink is not None:
            sink(data)
            if not data:
                self._selector.unregister(fd)
        return bool(data)

    def wake(self) -> None:
        """Make a `pump` return. Safe from any thread."""
        with self._wake_lock:
            if self._wake_write >= 0:
                os.write(self._wake_write, b"w")

    def _await_exit(self) -> None:
        self._process.wait()
        self.wake()

    def signal(self, number: int) -> None:
        """Send a signal to the process and all that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def stop(self, grace: float) -> None:
        """End the whole group: SIGTERM, then SIGKILL after ``grace`` seconds; 0 kills at once."""
        if self._closed:
            return
        if self.returncode is None and grace > 0:
            self.signal(signal.SIGTERM)
        self.finish(grace)

    def finish(self, grace: float) -> None:
        """Wait for the process to end by itself, at most ``grace`` seconds; kill what is left."""
        if self._closed:
            return
        self._pump_until_exit(grace)
        self.signal(signal.SIGKILL)
        self._process.wait()
        self.drain()
        self._close()

    def _pump_until_exit(self, grace: float) -> None:
        """Wait for the end, reading on, because a full pipe would keep it from ending."""
        deadline = time.monotonic() + grace
        while self.returncode is None and (left := deadline - time.monotonic()) > 0:
            self.pump(left)

    def _close(self) -> None:
        self._closed = True
        _started.discard(self)
        self._selector.close()
        with self._wake_lock:
            os.close(self._wake_write)
            self._wake_write = -1
        os.close(self._wake_read)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()


_started: weakref.WeakSet[ProcessGroup] = weakref.WeakSet()
_owner = os.getpid()


@atexit.register
def _kill_all() -> None:
    """Leave no process behind; a fork of this process owns none."""
    if os.getpid() == _owner:
        for group in list(_started):
            group.signal(signal.SIGKILL)
