"""What the flow of a retune does: the steps as tasks, and between them three studies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

from prefect.context import FlowRunContext
from prefect.logging import get_run_logger

from tuneflow.errors import StudyConflictError, TrialsFailedError, TuneflowError
from tuneflow.opened import OpenStudy
from tuneflow.pipeline.best import best_of
from tuneflow.prefect import retune_tasks
from tuneflow.prefect.artifacts import Artifacts
from tuneflow.prefect.kept import KeptArtifacts, key_of
from tuneflow.prefect.retune_events import emit_promoted
from tuneflow.prefect.retune_pages import caption, verdict_page
from tuneflow.prefect.retune_plan import RetunePlan, run_of
from tuneflow.prefect.runner import check_runner
from tuneflow.prefect.study_run import drive_study, told_of_problems
from tuneflow.retune import stages
from tuneflow.retune.champions import Record
from tuneflow.retune.line import Line, Retune
from tuneflow.retune.local import today

_TRIGGERS: Final = {"SCHEDULE": "schedule", "AUTOMATION": "event"}
"""What sets a flow run off, by the type of what has created it."""


def run_retune(plan: RetunePlan, params: Mapping[str, Any]) -> dict[str, Any]:
    """Retune a line, from wherever the run has left it; the body of a flow.

    Args:
        plan: what the flow retunes.
        params: those of the flow run.

    Returns:
        ``line``, ``retune``, ``promoted``, ``reason`` and ``champion``.

    Raises:
        SpecError: a param cannot work, or not with the line's history or the task runner.
        StudyConflictError: a newer retune has overtaken this one.
        StorageError, ClusterError: the storage or the cluster cannot be used.
        RoundFailedError, TrialsFailedError: a study has come to nothing; the champion stays.
    """
    return _RetuneRun(plan, params, FlowRunContext.get()).run()


def trigger_of(flow_run: Any, params: Mapping[str, Any]) -> str:
    """Return what has set a flow run off, unless a parameter says it."""
    creator = getattr(flow_run.created_by, "type", None) or ""
    return str(params.get("trigger") or _TRIGGERS.get(creator, "manual"))


class _RetuneRun:
    """A retune in one flow run."""

    def __init__(self, plan: RetunePlan, params: Mapping[str, Any], context: Any) -> None:
        self._plan = plan
        self._params = params
        self._context = context
        self._run = run_of(str(context.flow_run.id), params)

    def run(self) -> dict[str, Any]:
        """Run it, see `run_retune`."""
        check_runner(self._context.task_runner)
        line = self._plan.open_line()
        known = line.begun_by(self._run)
        if known is not None and known.verdict() is not None:
            return self._told(known)
        begun = self._begin(line.url, known)
        retune = Line.open(begun["line"]).retune(begun["retune"])
        with self._noting_failure(retune):
            self._take_steps(begun)
        return self._told(retune)

    def _begin(self, url: str, known: Retune | None) -> dict[str, Any]:
        """Begin the retune. A run that has begun it before is about the same data."""
        version = self._params.get("data_version")
        version = version or (known.began.data["data_version"] if known else today())
        plan = self._plan.plan(self._params, version)
        begun: dict[str, Any] = self._step(retune_tasks.begin)(
            url,
            retune_tasks.plan_text(plan),
            self._run,
            version,
            trigger_of(self._context.flow_run, self._params),
        )
        return begun

    def _take_steps(self, begun: Mapping[str, Any]) -> None:
        """Take all steps up to the verdict."""
        which = {"line": begun["line"], "retune": begun["retune"]}
        self._drive("champion", begun["study"])
        self._drive("search", self._step(retune_tasks.prepare_search)(**which))
        self._drive("challenger", self._step(retune_tasks.prepare_challenger)(**which))
        self._step(retune_tasks.judge)(**which)

    def _step(self, task: Any) -> Any:
        search = self._plan.search
        return task.with_options(
            retries=search.trial_retries, retry_delay_seconds=search.trial_retry_delay
        )

    def _drive(self, phase: str, url: str | None) -> None:
        """Run one of the studies to its end, if there is one."""
        if url is None:
            return
        search, opened = self._plan.search, OpenStudy.open(url)
        # The searches of all retunes of a line are one history, and so are its champions.
        artifacts = Artifacts(opened, name=f"{search.name}-{phase}", storage=self._place)
        with told_of_problems(artifacts):
            finished = drive_study(
                search,
                opened,
                search.storage,
                artifacts=artifacts,
                phase=phase,
                may_all_fail=phase == "champion" and self._plan.options["replace_unmeasured"],
            )
            artifacts.finished(_best(finished))

    @contextmanager
    def _noting_failure(self, retune: Retune) -> Iterator[None]:
        """Write down why a retune has failed; one that was overtaken may write nothing."""
        try:
            yield
        except StudyConflictError:
            raise
        except Exception as error:
            with suppress(TuneflowError):
                record = stages.fail(retune, str(error) or type(error).__name__)
                if record is not None:
                    self._show(retune, record)
            raise

    def _told(self, retune: Retune) -> dict[str, Any]:
        """Show the verdict of a retune, let an event tell of a new champion, and return it."""
        record = stages.judge(retune)
        self._show(retune, record)
        said = retune.summary(record)
        if said["promoted"]:
            emit_promoted(said)
        return said

    @property
    def _place(self) -> str:
        """The storage of the line."""
        return self._plan.line_url.rpartition("/")[0]

    def _show(self, retune: Retune, record: Record) -> None:
        """Keep the artifact of the line; a retune does not fail for what is shown of it."""
        kept = KeptArtifacts(key_of(self._plan.search.name, self._place))
        try:
            kept.keep("champion", "markdown", verdict_page(retune, record), caption(retune, record))
        except Exception as error:  # noqa: BLE001 - see above
            line = retune.line.url
            get_run_logger().warning("cannot show the verdict of %s in Prefect: %s", line, error)


def _best(finished: OpenStudy) -> dict[str, Any] | None:
    """Return the best trial of a study; what it means that there is none is for the judge."""
    try:
        return best_of(finished)
    except TrialsFailedError:
        return None
