"""`schedule`: close a stage's round; promote, prune, and decide on the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    DownstreamTasksSkipped,
)

from tuneflow.airflow.failures import explained
from tuneflow.airflow.stage_operator import StageOperator
from tuneflow.airflow.tables import rung_table
from tuneflow.events import Fact, Launched, Stopped
from tuneflow.opened import OpenStudy
from tuneflow.outcomes import read_outcome
from tuneflow.result import Result
from tuneflow.rounds import open_round
from tuneflow.trial import Outcome, Segment, TrialState, outcome_path


class ScheduleOperator(StageOperator):
    """Takes the outcomes of a stage in, and decides what is run next.

    It returns which trials were promoted, stopped and failed, and the best one so far. When the
    study is finished, all later stages are skipped.

    Args:
        later_tasks: the ids of the tasks of all later stages.
        kwargs: see `StageOperator`.
    """

    def __init__(self, *, later_tasks: Sequence[str], **kwargs: Any) -> None:
        kwargs.setdefault("trigger_rule", "all_done")
        super().__init__(**kwargs)
        self.later_tasks = list(later_tasks)

    def execute(self, context: Any) -> dict[str, Any]:
        """Close the round, open the next, and return what became of the trials."""
        self._require_search(context)
        with explained():
            opened = self.opened(context)
            number = self.round_number(opened, context)
            if opened.rounds <= number:
                raise AirflowFailException(f"this stage is not open; clear {self._search}")
            if opened.rounds == number + 1:
                _require_results(opened)
            following = open_round(opened, number + 1)
        facts = _facts_of(opened, number + 1)
        verdict = _verdict(opened, facts)
        self.log.info("stage %d:\n%s", self.stage, rung_table(opened, facts))
        if following.state == "halted":
            raise AirflowFailException(
                f"the study {opened.url} was halted: {opened.history.halted}; mend the cause, and "
                "trigger the DAG again to go on"
            )
        said = {"stage": self.stage, "state": following.state, **verdict}
        if following.segments or not self.later_tasks:
            return said
        context["ti"].xcom_push(key="return_value", value=said)
        raise DownstreamTasksSkipped(tasks=self.later_tasks)

    def _require_search(self, context: Any) -> None:
        """Fail, or be skipped, as the search of this stage was: trials may fail, it may not.

        Of the stages after a failure none is marked as failed but the first: there the cause is.
        """
        state = _state(context, self._search)
        if state == "failed" or (state == "upstream_failed" and not self.stage):
            raise AirflowFailException(f"{self._search} has not opened this stage; see its log")
        if state != "success":
            raise AirflowSkipException(f"{self._search} was not run")

    @property
    def _search(self) -> str:
        return f"{self.task_id.rpartition('.')[0]}.search"


def _state(context: Any, task_id: str) -> str | None:
    """Return the state of another task of this run."""
    run_id = context["run_id"]
    states: Mapping[str, Mapping[str, str]] = context["ti"].get_task_states(
        dag_id=context["dag"].dag_id, task_ids=[task_id], run_ids=[run_id]
    )
    return states.get(run_id, {}).get(task_id)


def _require_results(opened: OpenStudy) -> None:
    """Raise AirflowException unless there is something in the round to go on with.

    Taking the outcomes in is for good, so it must not be done because a cluster was away.
    """
    segments = list(opened.history.open_segments())
    outcomes = _outcomes(opened, segments)
    count = len(segments)
    if segments and not outcomes:
        raise AirflowException(
            f"none of the {count} trials of this stage has an outcome; see their logs, mend the "
            "cause and clear them"
        )
    failed = [outcome for outcome in outcomes if outcome.failure is not None]
    if len(failed) == count and count and opened.history.best() is None:
        first = failed[0]
        raise AirflowException(
            f"all {count} trials of this stage failed, trial {first.trial} with {first.failure}; "
            "mend the cause and clear them"
        )


def _outcomes(opened: OpenStudy, segments: Iterable[Segment]) -> list[Outcome]:
    paths = [outcome_path(*segment.key) for segment in segments]
    return [
        read_outcome(data, f"{opened.url}/{path}")
        for path, data in zip(paths, opened.store.get_many(paths), strict=True)
        if data is not None
    ]


def _facts_of(opened: OpenStudy, number: int) -> list[Fact]:
    """Return the facts of a round's entry: the outcomes before it and the decisions of it."""
    ends = [0, *opened.round_ends]
    if number >= len(opened.round_ends):
        return []
    return opened.history.facts[ends[number] : ends[number + 1]]


def _verdict(opened: OpenStudy, facts: Iterable[Fact]) -> dict[str, Any]:
    facts = list(facts)
    history = opened.history
    return {
        "promoted": [f.trial for f in facts if isinstance(f, Launched) and f.segment],
        "stopped": [f.trial for f in facts if isinstance(f, Stopped)],
        "failed": [t.number for t in history.trials if t.state is TrialState.FAILED],
        "best": _best(opened),
    }


def _best(opened: OpenStudy) -> Mapping[str, Any] | None:
    result, best = Result(opened), opened.history.best()
    if best is None:
        return None
    return {"trial": best.number, "value": result.value(best), "config": best.params}
