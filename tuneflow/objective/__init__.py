"""User code as a stream of reports; the forms it may have are in `forms` and `command`."""

from __future__ import annotations

from tuneflow.objective.parameters import WithParameters, with_parameters
from tuneflow.objective.python import PythonObjective
from tuneflow.objective.stream import Context, Ended, Objective, RawReport, Stream

__all__ = [
    "Objective",
    "PythonObjective",
    "WithParameters",
    "with_parameters",
    "Stream",
    "Context",
    "RawReport",
    "Ended",
]
