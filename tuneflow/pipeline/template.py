"""A study as a pipeline has it, and what becomes of it in one of the pipeline's runs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeGuard

from tuneflow.errors import SpecError
from tuneflow.remote.code import Code, Train
from tuneflow.spec import study_from_json
from tuneflow.study import Study

Existing: TypeAlias = Literal["resume", "new"]

PARAMS = ("trials", "space", "budget", "existing", "retry_failed")
"""What a user can set when triggering a run; None leaves what the pipeline says."""

_LONGEST = 60
"""Characters of a run's id in the name of a study; a file's name may have 255 in all."""


@dataclass(frozen=True)
class StudyTemplate:
    """A study whose name and storage are known when a pipeline runs.

    Attributes:
        spec: the keys of `tuneflow.study.Study` as plain data, without ``name``.
        train: the objective, as it was given.
        base: the folder of the pipeline's file, where ``file.py:function`` starts.
        existing: what a new run does with a study of the same name: "resume" goes on with it,
            "new" makes one of its own for each run.
        isolation: "thread" runs a trial in its worker, "process" in a process of its own.
        timeout: the most seconds that a segment may take, or None.
    """

    spec: Mapping[str, Any]
    # Airflow writes a template's text into the serialized DAG. That of a function has an address in
    # it, and would make each parse a new version of the DAG.
    train: Train = field(repr=False)
    base: Path
    existing: Existing = "resume"
    isolation: Literal["thread", "process"] = "thread"
    timeout: float | None = None

    def check(self) -> Study:
        """Return the study as it is without params. Raises SpecError."""
        return study_from_json({**self.spec, "name": "study"})

    def code(self) -> Code:
        """Return the objective on its way to the workers; see `Code.of`."""
        return Code.of(self.train, self.base)

    def study(self, name: str, run_id: str, params: Mapping[str, Any]) -> Study:
        """Return the study of one run.

        Args:
            name: the rendered name.
            run_id: tells this run from all others.
            params: of the run; see `PARAMS`.

        Raises:
            SpecError: a param cannot work.
        """
        spec = {**self.changed(params), "name": self.name(name, run_id, params)}
        return study_from_json(spec)

    def changed(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the spec with what a run's params say otherwise. Raises SpecError."""
        spec = dict(self.spec)
        if params.get("trials") is not None:
            spec["trials"] = params["trials"]
        if params.get("space") is not None:
            spec["space"] = _merged(spec["space"], _mapping("space", params["space"]))
        if params.get("budget") is not None:
            spec["budget"] = {**(spec.get("budget") or {}), **_mapping("budget", params["budget"])}
        return spec

    def name(self, name: str, run_id: str, params: Mapping[str, Any]) -> str:
        """Return the study's name in one run; a function of the arguments, so the same again."""
        existing = params.get("existing") or self.existing
        if existing not in ("resume", "new"):
            raise SpecError("existing", f"{existing!r} is neither 'resume' nor 'new'")
        return name if existing == "resume" else f"{name}-{slug(run_id)}"


def slug(run_id: str) -> str:
    """Return a run's id as a part of a name in storage: readable, short, and no other's."""
    text = re.sub(r"[^A-Za-z0-9]+", "-", run_id).strip("-")[:_LONGEST]
    if text == run_id:
        return text
    digest = hashlib.sha256(run_id.encode()).hexdigest()[:8]
    return f"{text}-{digest}" if text else digest


def _mapping(key: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SpecError(key, f"{value!r} is not a mapping of names to values")
    return value


def _merged(space: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a search space with some parameters replaced or added, those of groups too."""
    merged = dict(space)
    for name, node in changes.items():
        known = space.get(name)
        merged[name] = _merged(known, node) if _is_group(known) and _is_group(node) else node
    return merged


def _is_group(node: Any) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(node, Mapping) and not isinstance(node.get("type"), str)
