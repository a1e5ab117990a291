"""From the arguments that a pipeline is made with to the spec of its study."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import FrameType
from typing import Any, Literal

from tuneflow.errors import ObjectiveError, SpecError
from tuneflow.executors.base import check_isolation
from tuneflow.objective.importing import split_reference
from tuneflow.pipeline.template import StudyTemplate
from tuneflow.remote.code import Train, reference_of
from tuneflow.spec import plain_spec
from tuneflow.study import Study


def study_spec(
    train: Train,
    *,
    isolation: Literal["thread", "process"],
    timeout: float | None,
    **study: Any,
) -> dict[str, Any]:
    """Return the spec of a `StudyTemplate`.

    Args:
        train: the objective; it is neither imported nor pickled.
        isolation: see `StudyTemplate`.
        timeout: see `StudyTemplate`.
        study: arguments of `tuneflow.tune`, from ``space`` to ``resources``.

    Raises:
        SpecError: one of them cannot work.
    """
    check_isolation(isolation, timeout)
    return plain_spec(objective=_reference(train), **study)


def checked(template: StudyTemplate) -> Study:
    """Return the study that a template is of, without params. Raises SpecError."""
    template.name("study", "run", {})
    return template.check()


def calling_frame(orchestrator: str) -> FrameType | None:
    """Return the frame of the user's code: neither ours nor the orchestrator's package."""
    frame = inspect.currentframe()
    while frame is not None and _package(frame) in ("tuneflow", orchestrator):
        frame = frame.f_back
    return frame


def _package(frame: FrameType) -> str:
    name: str = frame.f_globals.get("__name__", "")
    return name.partition(".")[0]


def _reference(train: Train) -> Mapping[str, Any]:
    try:
        reference = reference_of(train)
        if "function" in reference:
            split_reference(reference["function"])
    except SpecError as error:
        raise error.under("objective") from None
    except ObjectiveError as error:
        raise SpecError("objective", str(error)) from None
    return reference
