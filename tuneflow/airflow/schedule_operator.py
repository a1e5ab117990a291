"""`schedule`: close a stage's round; promote, prune, and decide on the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tuneflow.airflow.failures import explained
from tuneflow.airflow.stage_operator import StageOperator
from tuneflow.airflow.versions import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    DownstreamTasksSkipped,
)
from tuneflow.opened import OpenStudy
from tuneflow.pipeline.collecting import collect_between_rounds
from tuneflow.pipeline.results import problem_of_round
from tuneflow.pipeline.stage_result import StageResult
from tuneflow.rounds import Round, open_round
from tuneflow.trial import TrialState


class ScheduleOperator(StageOperator):
    """Takes the outcomes of a stage in, and decides what is run next.

    It returns which trials were promoted, stopped and failed, and the best one so far. When the
    study is finished, all later stages are skipped.

    Args:
        later_tasks: the ids of the tasks of all later stages.
        kwargs: see `StageOperator`.
    """

    def __init__(self, *, later_tasks: Sequence[str], **kwargs: Any) -> None:
        # A rung is compared without those of its trials that have failed.
        super().__init__(**{**kwargs, "trigger_rule": "all_done"})
        self.later_tasks = list(later_tasks)

    def execute(self, context: Any) -> dict[str, Any]:
        """Close the round, open the next, and return what became of the trials."""
        self._require_search(context)
        with explained():
            opened = self.opened(context)
            following = self._close(opened, context)
            collect_between_rounds(opened, self.log)
        result = StageResult.read(opened, following.number)
        if result.closed:
            self.log.info("stage %d:\n%s", self.stage, result.table())
        said = {"stage": self.stage, "state": following.state, **result.to_json()}
        if following.state != "finished" or not self.later_tasks:
            return said
        context["ti"].xcom_push(key="return_value", value=said)
        raise DownstreamTasksSkipped(tasks=self.later_tasks)

    def _close(self, opened: OpenStudy, context: Any) -> Round:
        """Return the round after the one of this stage.

        Raises AirflowFailException when the study is halted. Whoever clears this task after that
        has it go on: trials that failed are tried again in the stage after the next.
        """
        number = self.round_number(opened, context)
        if opened.rounds <= number:
            raise AirflowFailException(f"this stage is not open; clear {self._search}")
        is_new = opened.rounds == number + 1
        if is_new:
            problem = problem_of_round(opened, may_all_fail=self.template.may_all_fail)
            if problem is not None:
                raise AirflowException(f"{problem}; see their logs, mend the cause and clear them")
        again = self._is_to_retry(opened, context)
        following = open_round(opened, number + 1, retry_failed=again)
        if opened.history.halted is not None and (is_new or context["ti"].try_number == 1):
            raise AirflowFailException(
                f"the study {opened.url} was halted: {opened.history.halted}; mend the cause and "
                "clear this task, and the trials that failed are tried again"
            )
        if opened.history.halted is not None:
            open_round(opened, opened.rounds)
        return following

    def _is_to_retry(self, opened: OpenStudy, context: Any) -> bool:
        """Whether trials are tried again that had failed when this run began with a round open.

        In a study that had no round open, the first search has seen to them.
        """
        is_first = self.stage == 0 and bool(context["params"].get("retry_failed"))
        return is_first and opened.history.counts[TrialState.FAILED] > 0

    def _require_search(self, context: Any) -> None:
        """Fail, or be skipped, as the search of this stage was: trials may fail, it may not.

        Of the stages after a failure none is marked as failed but the first: there the cause is.
        Where a task makes the study, what comes after this one looks at that task, too.
        """
        state = _state(context, self._search)
        is_first = not self.stage and not self.template.is_made
        if state == "failed" or (state == "upstream_failed" and is_first):
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
