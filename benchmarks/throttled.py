"""A line of a given speed before a server: ``python -m benchmarks.throttled HOST:PORT MB/S``.

It prints the port that it listens at. What is sent to the server is slowed down, all connections
together; the answers are not.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

_CHUNK = 1 << 16


class Line:
    """Lets through so many bytes a second."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._free = time.monotonic()

    async def send(self, data: bytes) -> None:
        """Wait until the line has taken this."""
        self._free = max(self._free, time.monotonic()) + len(data) / self._rate
        await asyncio.sleep(self._free - time.monotonic())


async def _pipe(source: asyncio.StreamReader, target: asyncio.StreamWriter, line: Line) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(_CHUNK):
            await line.send(data)
            target.write(data)
            await target.drain()
    target.close()


async def _serve(upstream: str, rate: float) -> None:
    host, port = upstream.rsplit(":", 1)
    up, down = Line(rate), Line(float("inf"))

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, int(port))
        await asyncio.gather(_pipe(reader, back, up), _pipe(there, writer, down))

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=_CHUNK)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def throttled(endpoint: str, rate: float) -> Iterator[str]:
    """The address of such a line to ``endpoint``, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.throttled"]
    command += [re.sub("^http://", "", endpoint), str(rate)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            port = process.stdout.readline() if process.stdout else ""
            yield f"http://127.0.0.1:{int(port)}"
        finally:
            process.kill()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], float(sys.argv[2]) * 1e6))
