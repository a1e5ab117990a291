"""Ways in which what is stored may be damaged."""

from __future__ import annotations

from pathlib import Path

KINDS = ("torn", "empty", "flipped", "missing")


def damage(path, kind):
    """Damage a file in one of the ways."""
    path, data = Path(path), Path(path).read_bytes()
    if kind == "missing":
        path.unlink()
    else:
        path.write_bytes(damaged(data, kind))


def damaged(data, kind):
    """Return what is left of an object that is damaged in one of the ways."""
    if kind == "flipped":
        middle = len(data) // 2
        return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    return data[: len(data) // 2] if kind == "torn" else b""


def everywhere(data):
    """Yield an object torn at each place, and with one bit of each byte flipped."""
    for position in range(len(data)):
        yield data[:position]
        flipped = bytearray(data)
        flipped[position] ^= 1 << position % 8
        yield bytes(flipped)
