"""Libraries of searchers in environments of their own.

An environment is made once and kept in the user's cache. The library runs there in one process,
which all studies of this process ask; see `tuneflow.environments.serving` for its side.
`tuneflow.searchers.library` opens this package by name.
"""

from tuneflow.environments.asking import connect, prepare

__all__ = ["connect", "prepare"]
