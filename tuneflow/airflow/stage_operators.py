"""The operators of a stage."""

from __future__ import annotations

from tuneflow.airflow.best_operator import BestOperator
from tuneflow.airflow.schedule_operator import ScheduleOperator
from tuneflow.airflow.search_operator import SearchOperator
from tuneflow.airflow.trial_operator import TrialOperator

__all__ = ["BestOperator", "ScheduleOperator", "SearchOperator", "TrialOperator"]
