"""A whole Airflow on loopback: PostgreSQL, API server, scheduler, DAG processor, triggerer.

Each part is a process of its own, as people run them, and can be killed and started again.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from cryptography.fernet import Fernet

from tests.airflow_api import STARTING, AirflowApi
from tests.clusters import until

ROOT = Path(__file__).parents[1]
POSTGRES = Path("/usr/lib/postgresql/15/bin")
COMPONENTS = {
    "api-server": (),
    "scheduler": ("--skip-serve-logs",),
    "dag-processor": (),
    "triggerer": ("--skip-serve-logs",),
}

PROMPT = {
    "CORE__PARALLELISM": "4",
    "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "5",
    "DAG_PROCESSOR__REFRESH_INTERVAL": "5",
    "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "10",
    "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    "TRIGGERER__JOB_HEARTBEAT_SEC": "1",
    "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",
    "WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
}
"""Four worker slots, and an Airflow that soon notices what has happened."""


def is_installed():
    """Whether the parts that do not come with Python are there."""
    return (POSTGRES / "postgres").exists()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def postgres(folder):
    """The URL of an empty PostgreSQL database, which only this machine can reach."""
    # It refuses to run as root.
    user = "postgres" if os.geteuid() == 0 else None
    data = folder / "postgres"
    data.mkdir()
    if user:
        shutil.chown(data, user, pwd.getpwnam(user).pw_gid)
    options = {"user": user, "cwd": data, "stdout": subprocess.DEVNULL, "start_new_session": True}
    setup = ("--auth=trust", "--username=airflow", "--encoding=UTF8", "--no-sync")
    subprocess.run([POSTGRES / "initdb", "-D", data, *setup], check=True, **options)
    port = free_port()
    settings = ("listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off")
    flags = [part for setting in settings for part in ("-c", setting)]
    with (folder / "postgres.log").open("w") as log:
        command = [POSTGRES / "postgres", "-D", data, "-p", str(port), *flags]
        server = subprocess.Popen(command, stderr=log, **options)
    try:
        where = ("-h", "127.0.0.1", "-p", str(port))
        until(lambda: _succeeds(POSTGRES / "pg_isready", "-q", *where))
        create = [POSTGRES / "createdb", *where, "-U", "airflow", "airflow"]
        subprocess.run(create, check=True, cwd=folder)
        yield f"postgresql+psycopg2://airflow@127.0.0.1:{port}/airflow"
    finally:
        # The one that does not wait for its clients.
        server.send_signal(signal.SIGQUIT)
        server.wait(timeout=30)


def _succeeds(*command):
    return subprocess.run(command, check=False).returncode == 0


class Airflow(AirflowApi):
    """Airflow's processes, and its API.

    Args:
        home: an empty folder; DAGs go to ``home/dags``.
        database: the URL of an empty database.
        settings: more of Airflow's environment variables, without ``AIRFLOW__``.
        environment: more environment variables for all of its processes.

    Attributes:
        processes: what runs, by the component's name.
    """

    def __init__(self, home, database, settings, environment):
        port = free_port()
        super().__init__(f"http://127.0.0.1:{port}")
        self.home = home
        self.database = database
        self.dags = home / "dags"
        manager = "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager"
        fixed = {
            "API__HOST": "127.0.0.1",
            "API__PORT": str(port),
            "API__WORKERS": "1",
            "API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "CORE__AUTH_MANAGER": manager,
            "CORE__DAGS_FOLDER": str(self.dags),
            "CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "CORE__EXECUTOR": "LocalExecutor",
            "CORE__FERNET_KEY": Fernet.generate_key().decode(),
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "CORE__TEST_CONNECTION": "Enabled",
            "DATABASE__SQL_ALCHEMY_CONN": database,
            "USAGE_DATA_COLLECTION__ENABLED": "False",
        }
        self.environment = {
            **os.environ,
            "AIRFLOW_HOME": str(home),
            "PYTHONPATH": f"{ROOT}:{self.dags}",
            "PYTHONWARNINGS": "ignore",
            **{f"AIRFLOW__{name}": value for name, value in {**fixed, **settings}.items()},
            **environment,
        }
        self.processes = {}

    def set_up(self):
        """Make the tables and start everything."""
        self.command("db", "migrate")
        for name in COMPONENTS:
            self.start(name)
        until(self._is_up, STARTING, 0.5)
        self.log_in()

    def command(self, *arguments):
        """Run an ``airflow`` command to its end and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            env=self.environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, name):
        """Start one of the components."""
        with (self.home / f"{name}.log").open("a") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "airflow", name, *COMPONENTS[name]],
                env=self.environment,
                cwd=self.home,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self, name):
        """End a component, and what it has started, as a power cut would."""
        process = self.processes.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def restart(self, name):
        """Start a component that was killed, and wait until Airflow is whole again."""
        self.start(name)
        until(self._is_up, STARTING, 0.5)

    def stop(self):
        """End everything: at once, for nothing of it is needed any more."""
        self.close()
        for name in list(self.processes):
            self.kill(name)

    def log(self, name):
        """Return what a component printed."""
        return (self.home / f"{name}.log").read_text()

    def _is_up(self):
        for name, process in self.processes.items():
            assert process.poll() is None, f"{name} ended:\n{self.log(name)[-3000:]}"
        return self.is_healthy()


@contextmanager
def airflow(dags=None, settings=PROMPT, **environment):
    """An Airflow that runs, on a PostgreSQL of its own.

    Args:
        dags: a folder of DAGs to begin with.
        settings: Airflow's environment variables, without ``AIRFLOW__``.
        environment: more environment variables for all of its processes.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # PostgreSQL runs as another user, who must be able to come here.
        folder.chmod(0o755)
        home = folder / "airflow"
        if dags is None:
            (home / "dags").mkdir(parents=True)
        else:
            shutil.copytree(dags, home / "dags", ignore=shutil.ignore_patterns("__pycache__"))
        database = stack.enter_context(postgres(folder))
        system = Airflow(home, database, settings, environment)
        stack.callback(system.stop)
        system.set_up()
        yield system
