"""Airflow's REST API, as a user's program calls it."""

from __future__ import annotations

from contextlib import suppress

import httpx

from tests.clusters import until

FINISHED = ("success", "failed")
STARTING = 120.0


class AirflowApi:
    """A client of an Airflow that lets everybody in.

    Args:
        url: where its API server listens.
    """

    def __init__(self, url):
        self.url = url
        self._client = httpx.Client(base_url=f"{url}/api/v2", timeout=120)

    def log_in(self):
        """Get a token; the API server must be up."""
        answer = httpx.get(f"{self.url}/auth/token", timeout=120)
        answer.raise_for_status()
        self._client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def close(self):
        self._client.close()

    def call(self, method, path, **options):
        """Call the API; return what it answers."""
        answer = self._client.request(method, path, **options)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text[:2000]}"
        return answer.json() if answer.content else None

    def all(self, path, key, **params):
        """Return a whole collection, however many pages it has."""
        found = []
        while True:
            page = self.call("GET", path, params={**params, "limit": 100, "offset": len(found)})
            found += page[key]
            if len(found) >= page["total_entries"]:
                return found

    def is_healthy(self):
        """Whether all of Airflow's components are there."""
        parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")
        with suppress(httpx.HTTPError):
            health = self._client.get("/monitor/health").json()
            return all((health.get(part) or {}).get("status") == "healthy" for part in parts)
        return False

    def add_connection(self, name, **fields):
        self.call("POST", "/connections", json={"connection_id": name, **fields})

    def change_connection(self, name, **fields):
        self.call("PATCH", f"/connections/{name}", json={"connection_id": name, **fields})

    def import_errors(self):
        """Return what was wrong with DAG files: their names to what Airflow says."""
        errors = self.all("/importErrors", "import_errors")
        return {error["filename"]: error["stack_trace"] for error in errors}

    def asset_events(self, dag_id):
        return self.all("/assets/events", "asset_events", source_dag_id=dag_id)

    def await_dag(self, dag_id):
        """Wait until a DAG is known, and let it run."""
        until(lambda: self._client.get(f"/dags/{dag_id}").is_success, STARTING, 0.5)
        self.call("PATCH", f"/dags/{dag_id}", json={"is_paused": False})

    def trigger(self, dag_id, **conf):
        """Start a run, with values for the DAG's params; return its id."""
        body = {"logical_date": None, "conf": conf}
        return self.call("POST", f"/dags/{dag_id}/dagRuns", json=body)["dag_run_id"]

    def run(self, dag_id, run_id):
        return self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}")

    def await_run(self, dag_id, run_id, seconds=300.0, state="success"):
        """Wait until a run is over, and make sure how it ended."""

        def finished():
            found = self.run(dag_id, run_id)
            return found if found["state"] in FINISHED else None

        try:
            run = until(finished, seconds, 0.5)
        except AssertionError:
            raise AssertionError(f"not over in time:\n{self.summary(dag_id, run_id)}") from None
        assert run["state"] == state, self.summary(dag_id, run_id)
        return run

    def tasks(self, dag_id, run_id, task_id=None):
        """Return the task instances of a run, mapped ones one by one."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        found = self.all(path, "task_instances")
        return [one for one in found if task_id in (None, one["task_id"])]

    def states(self, dag_id, run_id):
        """Return the states of all tasks of a run; a mapped task has a list of them."""
        found = {}
        for task in sorted(self.tasks(dag_id, run_id), key=lambda task: task["map_index"]):
            name, state = task["task_id"], task["state"]
            if task["map_index"] < 0:
                found[name] = state
            else:
                found.setdefault(name, []).append(state)
        return found

    def xcom(self, dag_id, run_id, task_id, key="return_value", map_index=-1):
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.call("GET", path, params={"map_index": map_index})["value"]

    def task_log(self, dag_id, run_id, task_id, try_number=1, map_index=-1):
        """Return what a task, and its trigger, wrote."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        answer = self.call("GET", path, params={"map_index": map_index, "full_content": True})
        return "\n".join(_text(line) for line in answer["content"])

    def mark(self, state, dag_id, run_id, task_id, map_index=-1):
        """Mark a task instance as success or failed."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
        where = path if map_index < 0 else f"{path}/{map_index}"
        self.call("PATCH", where, json={"new_state": state})

    def clear(self, dag_id, run_id, *tasks, **options):
        """Clear tasks: names, or pairs of a name and a map index."""
        body = {"dag_run_id": run_id, "task_ids": list(tasks), "only_failed": False, **options}
        path = f"/dags/{dag_id}/clearTaskInstances"
        return self.call("POST", path, json={"dry_run": False, **body})

    def clear_run(self, dag_id, run_id):
        """Clear every task of a run."""
        body = {"dry_run": False, "only_failed": False}
        self.call("POST", f"/dags/{dag_id}/dagRuns/{run_id}/clear", json=body)

    def summary(self, dag_id, run_id):
        """Return the states of all tasks, and the log of the first that failed."""
        tasks = self.tasks(dag_id, run_id)
        lines = [f"{t['task_id']}[{t['map_index']}]: {t['state']}" for t in tasks]
        for task in [t for t in tasks if t["state"] in ("failed", "up_for_retry")][:1]:
            with suppress(AssertionError):
                place = task["task_id"], task["try_number"], task["map_index"]
                lines.append(self.task_log(dag_id, run_id, *place)[-4000:])
        return "\n".join(lines)


def _text(line):
    """Return a line of a log, with the errors that it tells of but without their tracebacks."""
    if isinstance(line, str):
        return line
    errors = [f"{one['exc_type']}: {one['exc_value']}" for one in line.get("error_detail") or ()]
    return "\n".join([line["event"], *errors])
