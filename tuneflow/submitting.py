"""Submit a study to a Dask cluster from Python: `submit`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from tuneflow.api import Train
from tuneflow.budget import Budget
from tuneflow.checkpointing import Checkpointing
from tuneflow.driving import make_executor
from tuneflow.last_place import LastPlace
from tuneflow.remote import submission
from tuneflow.remote.code import Code, reference_of
from tuneflow.remote.place import address_of
from tuneflow.remote.submission import How, Submission
from tuneflow.remote.upload import Upload
from tuneflow.schedulers.base import Scheduler
from tuneflow.searchers.base import Searcher
from tuneflow.space import Space
from tuneflow.spec import StopLike, plain_spec, study_from_json
from tuneflow.trial import Mode


def submit(
    train: Train,
    *,
    space: Space | Mapping[str, Any],
    metric: str,
    mode: Mode,
    name: str,
    storage: str | Path,
    address: str,
    scheduler: Scheduler | Mapping[str, Any] | str | None = None,
    searcher: Searcher | Mapping[str, Any] | str | None = None,
    trials: int | None = None,
    seed: int = 0,
    budget: Budget | Mapping[str, Any] | None = None,
    resources: Mapping[str, Any] | None = None,
    round_size: int | Literal["all"] | None = None,
    max_concurrent: int | None = None,
    stop: StopLike | Sequence[StopLike] | None = None,
    checkpoints: Checkpointing | Mapping[str, Any] | None = None,
    retry_failed: bool = False,
    uploads: Sequence[str | Path] = (),
    **executor: Any,
) -> Submission:
    """Have a study driven by a Dask cluster, and return as soon as it has begun there.

    The driver is a task of the cluster: this process may end, and any worker may die. Submitted
    again while its driver lives, a study is left to it; afterwards it is gone on with. What the
    arguments up to ``checkpoints`` mean says `tuneflow.tune`.

    Args:
        train: the objective. A function travels with what it uses of the modules beside its own;
            ``file.py:function`` travels as text.
        space: see `tuneflow.tune`, and so for all up to ``mode``.
        metric: likewise.
        mode: likewise.
        name: the study's name, which with the storage tells it from others.
        storage: the URL, or shared folder, that all workers reach.
        address: of the Dask scheduler, such as ``tcp://10.0.0.5:8786``.
        scheduler: see `tuneflow.tune`, and so for all up to ``checkpoints``.
        searcher: likewise; the package that it needs must be on the workers.
        trials: likewise.
        seed: likewise.
        budget: likewise.
        resources: likewise.
        round_size: likewise.
        max_concurrent: likewise.
        stop: likewise.
        checkpoints: likewise.
        retry_failed: try failed trials again, also in a study that has finished.
        uploads: ``.py`` files, folders of packages or ZIP archives that workers need to import.
        executor: more of `tuneflow.executors.DaskExecutor`: ``isolation``, ``timeout``,
            ``parallel``, ``prefetch``, ``connect_timeout`` and the three ``tls_…_file``.

    Returns:
        The submission: its ``url`` is all that is needed elsewhere; `Submission.wait` and
        `Submission.cancel` are for here.

    Raises:
        SpecError: an argument cannot work, or the storage cannot be seen by other processes.
        ClusterError: the cluster cannot be reached, or cannot run such trials. Nothing was created.
        StudyNotFoundError: a worker does not see the storage.
        ObjectiveError: the objective cannot be sent, or a worker cannot load it.
        StudyExistsError: another study lies there under this name.
        StudyConflictError: another driver has taken over in the very beginning.
    """
    study = study_from_json(
        plain_spec(
            name=name,
            objective=reference_of(train),
            space=space,
            metric=metric,
            mode=mode,
            searcher=searcher,
            scheduler=scheduler,
            trials=trials,
            seed=seed,
            round_size=round_size,
            max_concurrent=max_concurrent,
            stop=stop,
            checkpoints=checkpoints,
            budget=budget,
            resources=resources,
        )
    )
    folder = Path.cwd()
    made: Any = make_executor({**executor, "type": "dask", "address": address})
    return submission.submit(
        study,
        str(storage),
        Code.of(train, folder),
        address_of(made),
        place=LastPlace(str(folder)),
        how=How.of(made),
        uploads=[Upload.of(Path(path)) for path in uploads],
        retry_failed=retry_failed,
    )
