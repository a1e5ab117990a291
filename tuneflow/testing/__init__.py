"""Contract suites for what others add to tuneflow: inherit from one, and pytest runs its laws."""

from __future__ import annotations

from tuneflow.testing.schedulers import SchedulerSuite
from tuneflow.testing.searchers import SearcherSuite

__all__ = ["SearcherSuite", "SchedulerSuite"]
