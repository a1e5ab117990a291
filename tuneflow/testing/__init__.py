"""Contract suites for what others add to tuneflow: inherit from one, and pytest runs its laws.

`FaultyStore` is a store that fails on command, for tests of what goes on beside one.
"""

from __future__ import annotations

from tuneflow.testing.faulty_store import Fault, FaultyStore, PowerCut
from tuneflow.testing.schedulers import SchedulerSuite
from tuneflow.testing.searchers import SearcherSuite

__all__ = ["SearcherSuite", "SchedulerSuite", "Fault", "FaultyStore", "PowerCut"]
