"""DAGs that run in this process, by `dag.test()`."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.collection import update_dag_parsing_results_in_db
from airflow.models.xcom import XComModel
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import LazyDeserializedDAG
from airflow.utils.session import create_session
from sqlalchemy import select

from tuneflow.airflow import tune_task_group


@dataclass(frozen=True)
class Done:
    """A run of a DAG that is over.

    Attributes:
        state: how it ended.
        states: those of the tasks, mapped ones in their order.
        labels: what the mapped tasks are called.
        xcoms: every value that was pushed, as JSON text, by task, map index and key.
    """

    state: str
    states: dict[str, list[str]]
    labels: dict[str, list[str]]
    xcoms: dict[tuple[str, int, str], str]

    def returned(self, task_id: str) -> Any:
        """What a task returned."""
        return json.loads(self.xcoms[task_id, -1, "return_value"])


def study_dag(train, dag_id, storage, *, params=None, **settings):
    """Return a DAG that is a study and nothing else."""
    with DAG(dag_id, schedule=None, params=params or {}) as dag:
        tune_task_group(train, storage=str(storage), retries=0, **settings)
    return dag


def write_down(dag):
    """Let Airflow's database know a DAG that is in no file."""
    bundles = DagBundlesManager()
    bundles.sync_bundles_to_db()
    with create_session() as session:
        update_dag_parsing_results_in_db(
            bundle_name=next(iter(bundles.get_all_dag_bundles())).name,
            bundle_version=None,
            version_data=None,
            dags=[LazyDeserializedDAG.from_dag(dag)],
            import_errors={},
            parse_duration=None,
            warnings=set(),
            session=session,
        )


def run(dag, day=None, **conf):
    """Run a DAG to its end; conf are its params. Runs of the same day are one and the same."""
    write_down(dag)
    run = dag.test(run_conf=conf, **({"logical_date": day, "run_after": day} if day else {}))
    states, labels = defaultdict(list), defaultdict(list)
    for task in sorted(run.get_task_instances(), key=lambda one: one.map_index):
        states[task.task_id].append(str(task.state))
        labels[task.task_id].append(task.rendered_map_index)
    return Done(str(run.state), dict(states), dict(labels), _xcoms(run))


def _xcoms(run):
    columns = (XComModel.task_id, XComModel.map_index, XComModel.key, XComModel.value)
    wanted = select(*columns).where(XComModel.dag_id == run.dag_id, XComModel.run_id == run.run_id)
    with create_session() as session:
        found = session.execute(wanted).all()
    return {(task, index, key): json.dumps(value) for task, index, key, value in found}
