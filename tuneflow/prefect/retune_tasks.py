"""The steps of a retune as tasks; what lies between them are the tasks of any study.

Each may be done again: what is stored is in the line, and another try finds it there.
"""

from __future__ import annotations

import json
from typing import Any

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tuneflow.errors import StudyConflictError
from tuneflow.jsonio import loads
from tuneflow.prefect.failures import is_mendable
from tuneflow.retune import stages
from tuneflow.retune.line import Line, Retune
from tuneflow.retune.plan import Plan


def begin_retune(line: str, plan: str, run: str, data_version: str, trigger: str) -> dict[str, Any]:
    """Begin a retune, or go on with the one that this run has begun.

    Args:
        line: the URL of the line.
        plan: the text of `Plan`; Prefect does not look into a text.
        run: tells this run from all others.
        data_version: which data it is about.
        trigger: what set it off.

    Returns:
        ``line`` and ``retune``, the number; and ``study``, the URL of the study that measures the
        champion, or None where there is no champion.

    Raises see `tuneflow.retune.stages.begin`.
    """
    wanted = Plan.from_json(loads(plan.encode()))
    wanted.check().prepare()
    retune = stages.begin(line, wanted, run=run, data_version=data_version, trigger=trigger)
    champion = retune.study("champion")
    get_run_logger().info("retune %d of %s begins", retune.number, line)
    return {
        "line": line,
        "retune": retune.number,
        "study": champion.url if champion is not None else None,
    }


def make_search(line: str, retune: int) -> str:
    """Make the study of the search, with what earlier ones have found; return its URL.

    Raises see `tuneflow.retune.stages.prepare_search`.
    """
    begun = _retune(line, retune)
    opened = stages.prepare_search(begun)
    for note in begun.notes():
        get_run_logger().info("%s", note)
    return opened.url


def make_challenger(line: str, retune: int) -> str | None:
    """Make the study that measures what the search has found, if that is anything.

    Raises see `tuneflow.retune.stages.prepare_challenger`.
    """
    opened = stages.prepare_challenger(_retune(line, retune))
    if opened is None:
        get_run_logger().info("there is no challenger to measure")
    return opened.url if opened is not None else None


def give_verdict(line: str, retune: int) -> dict[str, Any]:
    """Promote the challenger or keep the champion, and return what `said` does.

    Raises see `tuneflow.retune.stages.judge`.
    """
    begun = _retune(line, retune)
    verdict = begun.summary(stages.judge(begun))
    word = "promoted" if verdict["promoted"] else "kept"
    get_run_logger().info("%s: %s", word, verdict["reason"])
    return verdict


def plan_text(plan: Plan) -> str:
    """Return a plan as `begin_retune` takes it."""
    return json.dumps(plan.to_json())


def may_be_mended(task: Any, task_run: Any, state: Any) -> bool:
    """Whether Prefect should try a step again; a retune that was overtaken stays so."""
    overtaken = isinstance(state.data, StudyConflictError)
    return not overtaken and is_mendable(task, task_run, state)


def _step(function: Any, name: str) -> Any:
    return Task(
        function,
        name=name,
        task_run_name=name,
        retry_condition_fn=may_be_mended,
        cache_policy=NO_CACHE,
        persist_result=False,
    )


begin: Any = _step(begin_retune, "begin")
prepare_search: Any = _step(make_search, "prepare search")
prepare_challenger: Any = _step(make_challenger, "prepare challenger")
judge: Any = _step(give_verdict, "judge")


def _retune(line: str, number: int) -> Retune:
    return Line.open(line).retune(number)
