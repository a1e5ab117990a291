"""The ``tuneflow`` command.

A module for each group of commands: `running`, `looking`, `trials`, `sharing` and `checking`;
`app` puts them together and `ending` turns errors into one line and an exit code. Everything
heavy is imported inside the commands, so that ``tuneflow --help`` is quick.
"""

from __future__ import annotations

from tuneflow.cli.app import main

__all__ = ["main"]
