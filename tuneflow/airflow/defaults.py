"""What our operators have when neither the user nor any default_args say otherwise.

They are the defaults of arguments of the operators' own ``__init__``: Airflow takes what a DAG's
default_args have first, and looks at the same defaults for tasks that are mapped.
"""

from __future__ import annotations

from datetime import timedelta

RETRIES = 2
"""A worker that is lost, or a cluster that is away for a moment, must not fail a task."""

RETRY_DELAY = timedelta(seconds=10)
"""What is tried again finds all that was finished before, so there is little to wait for."""
