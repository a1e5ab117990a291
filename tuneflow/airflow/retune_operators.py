"""The steps of a retune as tasks; the studies between them are stages like those of any study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, NoReturn

from airflow.sdk import BaseOperator

from tuneflow.airflow.best import emit
from tuneflow.airflow.defaults import RETRIES, RETRY_DELAY
from tuneflow.airflow.failures import explained
from tuneflow.airflow.stages import require_stages
from tuneflow.airflow.storage_connection import provide_storage
from tuneflow.airflow.template import DagStudy
from tuneflow.airflow.versions import (
    AirflowFailException,
    AirflowSkipException,
    DownstreamTasksSkipped,
)
from tuneflow.errors import StudyConflictError, TrialsFailedError, TuneflowError
from tuneflow.opened import OpenStudy
from tuneflow.pipeline.results import problem_of_round
from tuneflow.retune.champions import Record
from tuneflow.retune.line import Line, Retune
from tuneflow.retune.plan import Plan, make_plan
from tuneflow.retune.stages import begin, fail, judge, prepare_challenger, prepare_search
from tuneflow.store import Store

_TRIGGERS = {"scheduled": "schedule", "asset_triggered": "asset"}
"""What set a retune off, by the type of the DAG's run; the other types are called as they are."""

_PROBLEM = "problem"
"""The XCom key of the sentence that a task has failed with."""


class RetuneOperator(BaseOperator):
    """A step of a retune.

    Args:
        retries: see Airflow; a storage that is away for a moment fails no task.
        retry_delay: see Airflow.
        kwargs: what any Airflow operator takes.
    """

    ui_color = "#e8f5e9"

    def __init__(
        self, *, retries: int = RETRIES, retry_delay: timedelta = RETRY_DELAY, **kwargs: Any
    ) -> None:
        super().__init__(retries=retries, retry_delay=retry_delay, **kwargs)

    @contextmanager
    def told(self, context: Any) -> Iterator[None]:
        """Let the task fail with the sentence of an error, which the judge is told, too.

        No retry makes a retune that was overtaken the newest again.
        """
        try:
            yield
        except TuneflowError as error:
            context["ti"].xcom_push(key=_PROBLEM, value=str(error))
            if isinstance(error, StudyConflictError):
                raise AirflowFailException(str(error)) from None
            with explained():
                raise


class BeginOperator(RetuneOperator):
    """Begins a retune, or goes on with the one that this run of the DAG has begun.

    It returns ``{"retune", "storage", "line"}``: the number, where its studies are, and the line.
    Where there is no champion yet the tasks that measure it are skipped.

    Args:
        template: the search as the DAG has it.
        options: of the retune; see `tuneflow.retune.plan.Plan`.
        stages: how many stages the DAG has for the search.
        line_name: the name of the line; a Jinja template.
        storage: the storage's URL; a Jinja template.
        space: the search space in JSON; its constants may be Jinja templates.
        data_version: says which data it is; a Jinja template.
        kwargs: see `RetuneOperator`.

    Attributes:
        measuring: the ids of the tasks that measure the champion.
    """

    template_fields: Sequence[str] = ("line_name", "storage", "space", "data_version")
    template_fields_renderers: Mapping[str, str] = {"space": "json"}

    def __init__(
        self,
        *,
        template: DagStudy,
        options: Mapping[str, Any],
        stages: int,
        line_name: str,
        storage: str,
        space: Mapping[str, Any],
        data_version: str,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.template = template
        self.options = options
        self.stages = stages
        self.line_name = line_name
        self.storage = storage
        self.space = space
        self.data_version = data_version
        self.measuring: Sequence[str] = ()

    def execute(self, context: Any) -> dict[str, Any]:
        """Write down that the retune has begun and what it is to do, and return which it is."""
        with self.told(context):
            retune = self._ended(context["run_id"]) or self._begin(context)
            champion = retune.study("champion")
        self.log.info("retune %d of %s", retune.number, retune.line.url)
        said = {"retune": retune.number, "storage": retune.url, "line": retune.line.url}
        return said if champion is not None else skipping(self.measuring, context, said)

    @property
    def _url(self) -> str:
        storage = provide_storage(self.template.storage_conn_id, self.storage)
        return Store(storage).child(self.line_name).url

    def _ended(self, run_id: str) -> Retune | None:
        """Return the retune that this run has begun, if it has its verdict: nothing is left."""
        retune = Line.open(self._url).begun_by(run_id)
        return retune if retune is not None and retune.verdict() is not None else None

    def _begin(self, context: Any) -> Retune:
        plan, params = self._plan(context["params"]), context["params"]
        study = plan.check()
        require_stages(study, self.stages)
        study.prepare()
        return begin(
            self._url,
            plan,
            run=context["run_id"],
            data_version=str(params.get("data_version") or self.data_version),
            trigger=_trigger(context["dag_run"]),
        )

    def _plan(self, params: Mapping[str, Any]) -> Plan:
        spec = {**self.template.spec, "space": self.space}
        return make_plan(replace(self.template, spec=spec).changed(params), self.options)


class StepOperator(RetuneOperator):
    """A step of a retune that has begun.

    Args:
        begin: the id of the task that began it.
        storage_conn_id: the Airflow connection with the credentials for its storage, or None.
        kwargs: see `RetuneOperator`.
    """

    def __init__(self, *, begin: str, storage_conn_id: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.begin = begin
        self.storage_conn_id = storage_conn_id

    def retune(self, context: Any) -> Retune:
        """Return the retune of this run. Raises AirflowSkipException when none was begun."""
        said = context["ti"].xcom_pull(task_ids=self.begin, map_indexes=-1)
        if not said:
            raise AirflowSkipException(f"{self.begin} has begun no retune")
        return self.line(said).retune(said["retune"])

    def line(self, said: Mapping[str, Any]) -> Line:
        """Return the line of what a task has said; its credentials are known here from now on."""
        return Line.open(provide_storage(self.storage_conn_id, said["line"]))


class PrepareOperator(StepOperator):
    """Makes the study of the search, with what earlier ones have found; returns its URL."""

    def execute(self, context: Any) -> str:
        """Make the study, or find it."""
        with self.told(context):
            retune = self.retune(context)
            opened = prepare_search(retune)
            for note in retune.notes():
                self.log.info("%s", note)
        return opened.url


class ChallengeOperator(StepOperator):
    """Makes the study that measures what the search has found, and returns its URL.

    Where there is nothing to measure the tasks that would do it are skipped.

    Args:
        kwargs: see `StepOperator`.

    Attributes:
        measuring: the ids of the tasks that measure the challenger.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.measuring: Sequence[str] = ()

    def execute(self, context: Any) -> str | None:
        """Make the study, or find it."""
        with self.told(context):
            opened = prepare_challenger(self.retune(context))
        if opened is not None:
            return opened.url
        self.log.info("there is no challenger to measure")
        return skipping(self.measuring, context, None)


class JudgeOperator(StepOperator):
    """Promotes the challenger or keeps the champion; notes why it failed if a task before it did.

    It returns ``{"line", "retune", "promoted", "reason", "champion"}``.

    Args:
        tasks: the ids of the tasks of the retune before this one, in order, without mapped ones.
        kwargs: see `StepOperator`.
    """

    def __init__(self, *, tasks: Sequence[str], **kwargs: Any) -> None:
        # What has failed is to be noted, too.
        super().__init__(**{**kwargs, "trigger_rule": "all_done"})
        self.tasks = list(tasks)

    def execute(self, context: Any) -> dict[str, Any]:
        """Write the verdict down, and return it."""
        with self.told(context):
            broken = self._broken(context)
            retune = self._begun(context, broken)
            if broken and retune.verdict() is None:
                self._fail(context, retune, broken)
            said = retune.summary(_judged(retune))
        self.log.info("%s: %s", "promoted" if said["promoted"] else "kept", said["reason"])
        # So that a task can take a part of it. Airflow 3.0 cannot pass on that there is none.
        for key, value in said.items():
            if value is not None:
                context["ti"].xcom_push(key=key, value=value)
        return said

    def _broken(self, context: Any) -> str:
        """Return the first of the tasks before this one that has failed; empty if none has."""
        run_id = context["run_id"]
        found: Mapping[str, Mapping[str, str]] = context["ti"].get_task_states(
            dag_id=context["dag"].dag_id, task_ids=self.tasks, run_ids=[run_id]
        )
        states = found.get(run_id, {})
        for state in ("failed", "upstream_failed"):
            for task in self.tasks:
                if states.get(task) == state:
                    return task
        return ""

    def _begun(self, context: Any, broken: str) -> Retune:
        try:
            return self.retune(context)
        except AirflowSkipException:
            if not broken:
                raise
            raise AirflowFailException(
                f"no retune was begun, for {broken} has not succeeded; see its log"
            ) from None

    def _fail(self, context: Any, retune: Retune, broken: str) -> None:
        """Note that the retune has failed, and fail; whoever clears the task goes on with it."""
        told = context["ti"].xcom_pull(task_ids=broken, key=_PROBLEM, map_indexes=-1)
        problem = told or _problem(retune)
        reason = f"{broken} has failed" + (f": {problem}" if problem else "")
        fail(retune, reason)
        raise AirflowFailException(
            f"{reason}; the champion stays. Mend the cause and clear the failed tasks: they go on "
            "with this retune"
        )


class AnnounceOperator(StepOperator):
    """Lets asset events say who is the new champion; skipped where the old one stays.

    It returns what the judge did.

    Args:
        judge: the id of the task that returns the verdict.
        kwargs: see `StepOperator`.
    """

    def __init__(self, *, judge: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.judge = judge

    def execute(self, context: Any) -> dict[str, Any]:
        """Send the events, unless there is no news."""
        said: dict[str, Any] = context["ti"].xcom_pull(task_ids=self.judge, map_indexes=-1)
        if not said["promoted"]:
            raise AirflowSkipException(f"the champion stays: {said['reason']}")
        with self.told(context):
            champion = self.line(said).log.champion
        if champion is None or champion.retune != said["retune"]:
            raise AirflowSkipException("there has been another champion since")
        emit(context, self.outlets or (), said["line"], said)
        return said


def skipping(tasks: Sequence[str], context: Any, value: Any) -> NoReturn:
    """Return a value from a task, and skip others. Raises DownstreamTasksSkipped."""
    if value is not None:
        context["ti"].xcom_push(key="return_value", value=value)
    raise DownstreamTasksSkipped(tasks=tasks)


def _trigger(dag_run: Any) -> str:
    kind = str(getattr(dag_run.run_type, "value", dag_run.run_type))
    return _TRIGGERS.get(kind, kind)


def _judged(retune: Retune) -> Record:
    """Return the verdict. Raises TrialsFailedError, which is noted, when there can be none yet."""
    try:
        return judge(retune)
    except TrialsFailedError as error:
        fail(retune, str(error))
        raise


def _problem(retune: Retune) -> str | None:
    """Return what is wrong with the study that a retune has come to, as far as that says."""
    opened = _newest(retune)
    if opened is None:
        return None
    if opened.history.halted is not None:
        return f"{opened.url} was halted: {opened.history.halted}"
    return problem_of_round(opened)


def _newest(retune: Retune) -> OpenStudy | None:
    studies = list(retune.studies())
    return studies[-1] if studies else None
