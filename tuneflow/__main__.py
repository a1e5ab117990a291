"""``python -m tuneflow`` is the ``tuneflow`` command."""

from __future__ import annotations

import sys

from tuneflow.cli import main

if __name__ == "__main__":
    sys.exit(main())
