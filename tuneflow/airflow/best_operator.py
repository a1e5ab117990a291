"""`best`: what a pipeline's study has found."""

from __future__ import annotations

from typing import Any

from tuneflow.airflow.best import emit
from tuneflow.airflow.failures import explained
from tuneflow.airflow.stage_operator import StageOperator
from tuneflow.airflow.versions import AirflowFailException
from tuneflow.pipeline.best import best_of


class BestOperator(StageOperator):
    """Returns the best trial of a finished study, and lets its asset events say so.

    Args:
        kwargs: see `StageOperator`; ``stage`` is the number of stages.
    """

    def __init__(self, **kwargs: Any) -> None:
        # Stages that nobody needs are skipped.
        super().__init__(**{**kwargs, "trigger_rule": "none_failed_min_one_success"})

    def execute(self, context: Any) -> dict[str, Any]:
        """Return the study, the trial, its value, configuration and checkpoint."""
        with explained():
            opened = self.opened(context)
            if opened.history.state not in ("finished", "halted"):
                raise AirflowFailException(
                    f"the study {opened.url} is not finished after {self.stage} stages; trigger "
                    "the DAG again to go on with it, or raise stages="
                )
            best = best_of(opened)
        self.log.info("best: trial %s, %s %s", best["trial"], best["metric"], best["value"])
        emit(context, self.outlets or (), best["study"], best)
        # So that a task can take a part of it. Airflow 3.0 cannot pass on that there is none.
        for key, value in best.items():
            if value is not None:
                context["ti"].xcom_push(key=key, value=value)
        return best
