"""An Airflow, a Dask cluster and a folder for studies, made for one another."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.airflow_system import ROOT, Airflow, airflow
from tests.lasting_cluster import LastingCluster, lasting_cluster


@dataclass(frozen=True)
class World:
    """What a test of the whole acts on.

    Attributes:
        airflow: four worker slots.
        dask: two workers of twenty threads.
        folder: trials note in ``folder/NAME``.
        storage: studies are in ``storage/NAME``.
    """

    airflow: Airflow
    dask: LastingCluster
    folder: Path
    storage: str

    def notes(self, name):
        """Return the folder in which the trials of a study note what they do."""
        return self.folder / name

    def url(self, name):
        """Return where a study is stored."""
        return f"{self.storage}/{name}"

    def ready(self, dag_id):
        """Wait until a DAG can be run, with a folder for the notes of its trials."""
        self.notes(dag_id).mkdir(exist_ok=True)
        self.airflow.await_dag(dag_id)

    def trigger(self, dag_id, **conf):
        """Begin a run; return its id."""
        self.ready(dag_id)
        return self.airflow.trigger(dag_id, **conf)

    def complete(self, dag_id, seconds=300.0, **conf):
        """Run a DAG to its end; return the run's id."""
        run_id = self.trigger(dag_id, **conf)
        self.airflow.await_run(dag_id, run_id, seconds)
        return run_id

    def install(self, module, text):
        """Let Dask's workers import a module."""
        (self.folder / "packages" / f"{module}.py").write_text(text)


@contextmanager
def world(dags, folder, storage=None):
    """Everything, started; studies are in the folder unless a storage is given."""
    storage = storage or (folder / "studies").as_uri()
    packages = folder / "packages"
    packages.mkdir()
    path = f"{ROOT}:{packages}"
    with (
        lasting_cluster(folder, PYTHONPATH=path) as dask,
        airflow(dags, TUNEFLOW_TESTS=str(folder), TUNEFLOW_TESTS_STORAGE=storage) as system,
    ):
        connect(system, "dask_default", dask.port)
        yield World(system, dask, folder, storage)


def connect(system, name, port):
    """Add a connection to a Dask scheduler on this machine."""
    system.add_connection(name, conn_type="dask", host="127.0.0.1", port=port)
