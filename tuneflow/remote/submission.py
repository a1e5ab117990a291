"""Submit a study to a Dask cluster: its driver runs there, and whoever submitted it may go away.

What is needed to watch the study, to go on with it or to end it is its URL: the journal says where
it stands, and `tuneflow.last_place` which cluster it was given to.
"""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from tuneflow.driving import checked, live_view
from tuneflow.errors import (
    MissingDependencyError,
    ObjectiveError,
    SpecError,
    StorageError,
    StudyConflictError,
    TuneflowError,
)
from tuneflow.executors.placement import Request
from tuneflow.last_place import LastPlace
from tuneflow.opened import OpenStudy
from tuneflow.remote.cluster import ADAPTIVE, Cluster, ClusterAddress
from tuneflow.remote.code import Code, MissingModuleError
from tuneflow.remote.ends import is_halted, known_end
from tuneflow.remote.orders import DriverOrder
from tuneflow.remote.place import executor_at
from tuneflow.remote.seen import check_seen, check_storage
from tuneflow.result import Result
from tuneflow.study import Study

if TYPE_CHECKING:
    from distributed import Future

    from tuneflow.executors.dask import DaskExecutor
    from tuneflow.remote.cancelling import Cancelled
    from tuneflow.remote.upload import Upload

ATTEMPT = 0
"""The drivers that are submitted have one name for each study, so that there is one at a time.
Orchestrators count their own from 1."""

_BEGINNING = 30.0
"""Seconds to wait until a driver has begun; a cluster may have to start workers first."""

_LOOK = 1.0
"""Seconds between two looks at the journal meanwhile."""

UNDER_WAY = ("processing", "no-worker", "queued", "waiting")
"""The states of a Dask task that has not ended."""

_SETTINGS = ("parallel", "prefetch", "resources")

State: TypeAlias = Literal["begun", "attached", "waiting", "finished"]


@dataclass(frozen=True)
class How:
    """How trials run on the cluster.

    Attributes:
        isolation: "thread" or "process".
        timeout: the most seconds that a segment may take, or None.
        settings: more of the `tuneflow.executors.DaskExecutor`: ``parallel``, ``prefetch`` and
            ``resources``. With ``parallel`` the cluster need not have a worker yet.
    """

    isolation: Literal["thread", "process"] = "thread"
    timeout: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, executor: DaskExecutor) -> Self:
        """Return how an executor runs trials."""
        defaults = type(executor)
        settings = {
            name: getattr(executor, name)
            for name in _SETTINGS
            if getattr(executor, name) != getattr(defaults, name)
        }
        return cls(executor.isolation, executor.timeout, settings)


@dataclass(frozen=True)
class Submission:
    """A study that was submitted.

    Attributes:
        url: the study's URL.
        address: the cluster's.
        order: what its driver was told.
        request: what each trial takes of a worker.
        uploads: what was brought along.
        state: "begun": its driver runs trials, or has ended already; "attached": one that was
            submitted earlier runs; "waiting": no worker has come to it yet; "finished": there was
            nothing to do.
        dashboard: the URL of the cluster's dashboard, or an empty string.
    """

    url: str
    address: ClusterAddress
    order: DriverOrder
    request: Request
    uploads: tuple[Upload, ...] = ()
    state: State = "finished"
    dashboard: str = ""

    def reach(self) -> Cluster:
        """Connect to the cluster. Raises ClusterError."""
        is_elastic = bool(self.order.settings.get("parallel"))
        return Cluster(self.address, None if is_elastic else self.request, otherwise=ADAPTIVE)

    def give(self, cluster: Cluster) -> Future[Any]:
        """Have the study driven, unless it is already."""
        key = self.order.key
        state = cluster.states([key]).get(key)
        if state == "memory":
            # What it answered is held by one who is about to leave, and would be the answer again.
            cluster.cancel([key])
        # What the trials of a driver that lives import must not change meanwhile.
        for brought in self.uploads if state not in UNDER_WAY else ():
            cluster.install(brought.plugin)
        return cluster.submit(self.order)

    def wait(self, *, progress: bool = True) -> Result:
        """Watch the study to its end, and return what was found; see `tuneflow.submit`.

        Where its driver is lost with the scheduler, or with one worker after another, it is ordered
        again. Ctrl-C ends the watching only.

        Args:
            progress: whether to show the live view. Default True.

        Raises:
            OrderCancelledError: somebody has cancelled the study.
            StudyConflictError: another driver has taken over.
            ClusterError: the cluster stays away, or driver after driver is lost.
            TrialsFailedError: the study was halted by failed trials, or none has a usable value.
        """
        from tuneflow.remote.watching import follow

        opened = OpenStudy.open(self.url)
        with live_view(opened) if progress else nullcontext() as view:
            follow(self, opened, view=view)
        return checked(Result(opened))

    def cancel(self) -> Cancelled:
        """End the driver and its trials; the study can be submitted again. Raises ClusterError."""
        from tuneflow.remote.cancelling import cancel

        return cancel(OpenStudy.open(self.url), self.address)


def submit(
    study: Study,
    storage: str,
    code: Code,
    address: ClusterAddress,
    *,
    place: LastPlace,
    how: How | None = None,
    uploads: Sequence[Upload] = (),
    retry_failed: bool = False,
    patience: float = _BEGINNING,
) -> Submission:
    """Create a study, or find it, and have it driven on a cluster.

    Returns once its driver has begun. One that was submitted earlier and still lives is left to
    it; where it was lost, the new one goes on with the study. A driver of another kind that is
    still at it ends at its next commit: the journal fences it.

    Args:
        study: the study.
        storage: where it is kept: a URL that all workers reach.
        code: its objective.
        address: the cluster.
        place: what is kept beside the study of where it came from; the executor is put in here.
        how: how trials run there.
        uploads: modules and packages that workers need to import.
        retry_failed: try failed trials again, also in a study that has finished.
        patience: seconds to wait for the driver to begin.

    Raises:
        SpecError: the storage cannot be seen by others.
        ClusterError: the cluster cannot be reached, or cannot run such trials. Nothing was created.
        StudyNotFoundError: a worker does not see the storage.
        ObjectiveError: a worker cannot load the objective.
        StudyExistsError: there is another study of this name.
        StudyConflictError: another driver has taken over in the very beginning.
        StorageError, MissingDependencyError: the storage or the searcher cannot be used here, or
            by the worker.
    """
    check_storage(storage)
    how = how or How()
    code = replace(code, uploads=tuple(upload.digest for upload in uploads))
    made = Submission(
        "",
        address,
        DriverOrder("", code, ATTEMPT, how.isolation, how.timeout, settings=how.settings),
        Request.parse(how.settings.get("resources") or study.resources).changed(
            study.scheduler.most_resources
        ),
        tuple(uploads),
    )
    with made.reach() as cluster:
        opened = OpenStudy.create(study, storage)
        made = _addressed(made, opened, retry_failed)
        if known_end(made.order, study, opened.history) is not None:
            return made
        check_seen(cluster, opened.url)
        replace(place, executor=_executor(address, how)).remember(opened.store)
        return _begin(cluster, made, opened, patience)


def _executor(address: ClusterAddress, how: How) -> dict[str, Any]:
    """Return what a resume elsewhere is to know of how trials ran."""
    more = {"isolation": how.isolation, "timeout": how.timeout, **how.settings}
    defaults = {"isolation": "thread", "timeout": None}
    changed = {key: value for key, value in more.items() if value != defaults.get(key)}
    return {**executor_at(address), **changed}


def _addressed(made: Submission, opened: OpenStudy, retry_failed: bool) -> Submission:
    order = replace(
        made.order,
        study=opened.url,
        retry_failed=retry_failed or is_halted(opened.study, opened.history),
        epoch=opened.history.epoch,
    )
    return replace(made, url=opened.url, order=order)


def _begin(cluster: Cluster, made: Submission, opened: OpenStudy, patience: float) -> Submission:
    made = replace(made, dashboard=cluster.dashboard)
    key = made.order.key
    before = cluster.states([key]).get(key)
    with cluster.announced(made.order) as begun:
        future = made.give(cluster)
        future.add_done_callback(lambda _: begun.set())
        if before == "processing" and opened.history.facts:
            return replace(made, state="attached")
        is_begun = _await(begun, opened, patience)
    if future.done():
        _check_answer(cluster, made, future)
    return replace(made, state="begun" if is_begun else "waiting")


def _await(begun: threading.Event, opened: OpenStudy, patience: float) -> bool:
    """Wait until a driver says that it has begun, or has committed something."""
    deadline = time.monotonic() + patience
    while not begun.wait(_LOOK):
        if opened.refresh():
            return True
        if time.monotonic() >= deadline:
            return False
    return True


def _check_answer(cluster: Cluster, made: Submission, future: Future[Any]) -> None:
    """Raise what a driver has ended with at once, unless that is an end of the study."""
    try:
        answer = cluster.result(future)
    except TuneflowError as error:
        raise on_worker(error) from error
    check_answer(made, answer)


def check_answer(made: Submission, answer: Mapping[str, Any]) -> None:
    """Raise StudyConflictError if a driver was fenced by another one."""
    if answer["state"] == "fenced":
        raise StudyConflictError(
            f"another driver has taken over {made.url}, and the submitted one has ended; the study "
            f"goes on there: tuneflow watch {shlex.quote(made.url)}"
        )


def on_worker(error: TuneflowError) -> TuneflowError:
    """Return a driver's error as one that says where it happened, where it does not itself."""
    if isinstance(error, MissingModuleError):
        return ObjectiveError(f"{error}, or bring it along with --upload (uploads=[…])")
    if isinstance(error, MissingDependencyError):
        return SpecError("", f"the worker of the study's driver lacks a package: {error}")
    if isinstance(error, StorageError):
        return StorageError(f"the worker of the study's driver cannot use the storage: {error}")
    return error
