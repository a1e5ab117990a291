"""What this process may do to the system: some tests need more than being root in a container."""

from __future__ import annotations

from pathlib import Path

# Numbers of capabilities, see capabilities(7).
NET_ADMIN = 12
SYS_ADMIN = 21


def may(*capabilities):
    """Whether this process has all of these capabilities; on Linux alone it can have any."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return False
    line = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    effective = int(line.split()[1], 16)
    return all(effective >> number & 1 for number in capabilities)
