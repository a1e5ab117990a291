"""What a tracker is: it follows a study and writes down elsewhere what happens in it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from tuneflow.events import Fact
from tuneflow.history import History
from tuneflow.study import Study


class Tracker(ABC):
    """Follows a study, to write down elsewhere what happens in it.

    A subclass is a dataclass, whose fields are the keys that a study file may set. A field that
    holds a `pathlib.Path` may be relative; in a study file it starts at the file's folder.
    Secrets belong into the environment: the other settings are kept beside the study.

    What a driver promises, and a tracker may rely on:

    * `open` comes first and gets what has happened so far; each call after it gets what was
      committed since, in the order of the commits, nothing twice and nothing left out.
    * What a tracker is told is in the journal already. It is told from one thread.
    * `close` comes last, however the driver ends, unless its process is killed. So what a tracker
      was last told may be short of what is in the journal; the next `open` has it.

    What a tracker does is no concern of the study. A SpecError or MissingDependencyError of
    `open` is raised before any trial runs. After any other error the tracker is dropped: the
    error is logged once, and the study goes on without it. While a tracker is at work nothing is
    decided, but running trials do not wait for it; one that talks to a slow service should hand
    over to a thread of its own.
    """

    type: ClassVar[str]
    """The name that study files use."""

    @abstractmethod
    def open(self, study: Study, url: str, history: History) -> None:
        """Get ready to follow a study.

        Args:
            study: its spec.
            url: its URL.
            history: what has happened so far; nothing when the study is new. To be read only.
        """

    @abstractmethod
    def __call__(self, history: History, facts: Sequence[Fact]) -> None:
        """Take note of a commit.

        Args:
            history: all that has happened, the new facts included. To be read only.
            facts: the new facts.
        """

    @abstractmethod
    def close(self) -> None:
        """Finish what is begun and let go of everything; also after an error of `open`."""
