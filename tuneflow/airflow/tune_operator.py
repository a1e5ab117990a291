"""A whole study as one task, which holds no worker slot while the trials run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

from airflow.sdk import BaseOperator

from tuneflow.airflow.best import emit
from tuneflow.airflow.dags import add_params, current_folder
from tuneflow.airflow.defaults import RETRIES, RETRY_DELAY
from tuneflow.airflow.driver_trigger import DriverTrigger
from tuneflow.airflow.failures import explained
from tuneflow.airflow.hook import DaskHook
from tuneflow.airflow.links import DaskDashboardLink, ReportLink
from tuneflow.airflow.making import check_place, make_template
from tuneflow.airflow.storage_connection import provide_storage, push_study
from tuneflow.airflow.versions import (
    AirflowException,
    AirflowFailException,
    TaskDeferralTimeout,
    TaskDeferred,
)
from tuneflow.budget import Budget
from tuneflow.checkpointing import Checkpointing
from tuneflow.errors import ClusterError
from tuneflow.executors.placement import Request
from tuneflow.goals import Modes, Names
from tuneflow.last_place import LastPlace
from tuneflow.opened import OpenStudy
from tuneflow.pipeline.best import best_of
from tuneflow.pipeline.progress import line
from tuneflow.pipeline.template import Existing
from tuneflow.remote.cluster import Cluster
from tuneflow.remote.code import Train
from tuneflow.remote.ends import is_halted
from tuneflow.remote.orders import DriverOrder, driver_key
from tuneflow.remote.place import executor_at
from tuneflow.schedulers.base import Scheduler
from tuneflow.searchers.base import Searcher
from tuneflow.space import Space
from tuneflow.spec import StopLike
from tuneflow.store import Store
from tuneflow.study import Study


class TuneOperator(BaseOperator):
    """Tune an objective, in streaming mode, on a Dask cluster.

    The driver is a Dask task, which any worker can run; while it runs, this task is deferred. It
    returns the best trial as `tuneflow.airflow.best.best_of` has it, and the events of its
    outlets say the same. When it is tried again it goes on with the study.

    Args:
        train: the objective: a function or class, ``file.py:function`` beside the DAG's file,
            ``module:function`` of a package that the workers have, or ``{"command": […]}``.
        space: what is searched, and so for all up to ``stop``: see `tuneflow.tune`.
        storage: the URL that Airflow and all workers reach; a Jinja template.
        name: the study's name; a Jinja template. Default: the DAG's id, followed by that of
            the task unless it is "tune".
        conn_id: the Airflow connection of the Dask cluster. Default "dask_default".
        storage_conn_id: see `tuneflow.airflow.tune_task_group`.
        isolation: "thread" runs a trial in its worker, "process" in a process of its own.
        timeout: the most seconds that a segment may take, or None.
        existing: what a new run of the DAG does with a study of the same name: "resume" (the
            default) goes on with it, "new" makes one of its own for each run.
        retries: default 2; what was finished is not done again.
        retry_delay: default 10 s.
        kwargs: what any Airflow operator takes. ``execution_timeout`` ends the driver, too.

    Raises SpecError when an argument cannot work: the DAG has an import error then.
    """

    template_fields: Sequence[str] = ("study_name", "storage")
    shallow_copy_attrs: Sequence[str] = ("template",)
    operator_extra_links = (ReportLink(), DaskDashboardLink())
    ui_color = "#e3f2fd"

    def __init__(
        self,
        *,
        train: Train,
        space: Space | Mapping[str, Any],
        metric: Names,
        mode: Modes,
        storage: str,
        searcher: Searcher | Mapping[str, Any] | str | None = None,
        scheduler: Scheduler | Mapping[str, Any] | str | None = None,
        trials: int | None = None,
        seed: int = 0,
        budget: Budget | Mapping[str, Any] | None = None,
        resources: Mapping[str, Any] | None = None,
        round_size: int | Literal["all"] | None = None,
        max_concurrent: int | None = None,
        constraints: Sequence[str] = (),
        stop: StopLike | Sequence[StopLike] | None = None,
        checkpoints: Checkpointing | Mapping[str, Any] | None = None,
        name: str | None = None,
        conn_id: str = "dask_default",
        storage_conn_id: str | None = None,
        isolation: Literal["thread", "process"] = "thread",
        timeout: float | None = None,
        existing: Existing = "resume",
        retries: int = RETRIES,
        retry_delay: timedelta = RETRY_DELAY,
        **kwargs: Any,
    ) -> None:
        super().__init__(retries=retries, retry_delay=retry_delay, **kwargs)
        check_place(name, storage)
        self.study_name = name or self._default_name()
        self.storage = storage
        self.dashboard = ""
        self.template = make_template(
            train,
            current_folder(),
            space=space,
            metric=metric,
            mode=mode,
            searcher=searcher,
            scheduler=scheduler,
            trials=trials,
            seed=seed,
            budget=budget,
            resources=resources,
            round_size=round_size,
            max_concurrent=max_concurrent,
            constraints=constraints,
            stop=stop,
            checkpoints=checkpoints,
            conn_id=conn_id,
            storage_conn_id=storage_conn_id,
            existing=existing,
            isolation=isolation,
            timeout=timeout,
        )
        add_params()

    def execute(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """Create the study, or find it, have its driver begin, and defer until that is over."""
        with explained():
            opened = OpenStudy.create(self._study(context), self._storage)
            push_study(context["ti"], opened.url, self.template.storage_conn_id)
            order = self._order(context, opened)
            if opened.history.state == "finished" and not order.retry_failed:
                return self._found(context, opened)
            address = DaskHook(self.template.conn_id).address()
            place = LastPlace(str(self.template.base), executor_at(address))
            place.remember(opened.store)
            with Cluster(address, Request.parse(opened.study.resources)) as cluster:
                self.dashboard = cluster.dashboard
                cluster.submit(order)
        raise TaskDeferred(
            trigger=DriverTrigger(
                order.to_json(),
                address.to_json(),
                opened.study.resources,
                self.template.storage_conn_id,
            ),
            method_name="resume",
            timeout=self.execution_timeout,
        )

    def resume(self, context: Mapping[str, Any], event: Mapping[str, str]) -> dict[str, Any]:
        """Return the best trial, or say why there is none, when the trigger has fired."""
        state, reason = event["state"], event["reason"]
        self.dashboard = event["dashboard"]
        if state == "error":
            raise AirflowException(reason)
        if state == "fenced":
            raise AirflowFailException(f"{reason}; that one goes on with the study")
        if state == "halted":
            raise AirflowFailException(
                f"the study was halted: {reason}. Mend the cause and clear this task: it tries "
                "the failed trials again"
            )
        with explained():
            return self._found(context, OpenStudy.open(self._url(context)))

    def resume_execution(
        self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any
    ) -> Any:
        """Go on after a deferral; when that took too long, end the driver first."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralTimeout:
            self._end_driver(context)
            raise AirflowException(
                f"the study was not finished within the execution_timeout of "
                f"{self.execution_timeout}; its driver was ended, and a retry goes on with it"
            ) from None

    def _found(self, context: Mapping[str, Any], opened: OpenStudy) -> dict[str, Any]:
        self.log.info("%s: %s", opened.history.finished, line(opened.study, opened.history))
        best = best_of(opened)
        emit(context, self.outlets, best["study"], best)
        return best

    def _order(self, context: Mapping[str, Any], opened: OpenStudy) -> DriverOrder:
        history = opened.history
        again = bool(context["params"].get("retry_failed"))
        return DriverOrder(
            opened.url,
            self.template.code(),
            attempt=context["ti"].try_number,
            isolation=self.template.isolation,
            timeout=self.template.timeout,
            retry_failed=again or is_halted(opened.study, history),
            epoch=history.epoch,
        )

    def _end_driver(self, context: Mapping[str, Any]) -> None:
        request = Request.parse(self._study(context).resources)
        key = driver_key(self._url(context), context["ti"].try_number)
        try:
            with Cluster(DaskHook(self.template.conn_id).address(), request) as cluster:
                cluster.cancel([key])
        except ClusterError as error:
            self.log.warning("The driver could not be ended: %s", error)

    def _study(self, context: Mapping[str, Any]) -> Study:
        return self.template.study(self.study_name, context["run_id"], context["params"])

    def _url(self, context: Mapping[str, Any]) -> str:
        name = self.template.name(self.study_name, context["run_id"], context["params"])
        return Store(self._storage).child(name).url

    @property
    def _storage(self) -> str:
        """The storage's URL; its credentials are known here from now on."""
        return provide_storage(self.template.storage_conn_id, self.storage)

    def _default_name(self) -> str:
        end = "" if self.task_id == "tune" else f".{self.task_id}"
        return f"{{{{ dag.dag_id }}}}{end}"
