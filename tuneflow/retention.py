"""Which checkpoints a study still needs.

What is needed only ever shrinks: a checkpoint that was reported and is not kept any more is never
gone on with, copied or kept again, whatever happens from there on. So whoever removes what is not
kept does no harm with an old history, such as that of a driver that was taken over; only facts
that are committed may stand in it.

It follows from where a trial can go. One that has completed or was stopped is *settled*: it never
runs again, nobody copies it, and what it has come to stays as it is. All others may go on from
their newest checkpoint, or be copied from there: those that run, that are paused, and those that
have failed, which a user may try again. And the best trial is either the best of those that are
settled, or one of the others.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tuneflow.checkpointing import Keep
from tuneflow.events import Launched, Reported
from tuneflow.history import History
from tuneflow.index import Index
from tuneflow.pareto import dominates
from tuneflow.study import Study
from tuneflow.trial import Trial, TrialState

_SETTLED = (TrialState.COMPLETED, TrialState.STOPPED)
_WHY = {
    TrialState.RUNNING: "its trial runs",
    TrialState.PAUSED: "its trial is paused",
    TrialState.FAILED: "its trial has failed and may be tried again",
}


@dataclass(frozen=True, slots=True)
class Needs:
    """What is known of a study's checkpoints, and which of them it needs.

    Attributes:
        kept: the references of the manifests that must stay, each with the reason.
        reported: all that were ever reported.
        segments: of each trial the number of its newest segment.
        running: the numbers of the trials whose newest segment is open.
        is_over: whether the study is finished, and no segment is open.
    """

    kept: Mapping[str, str]
    reported: frozenset[str]
    segments: tuple[int, ...]
    running: frozenset[int]
    is_over: bool

    @classmethod
    def of(cls, history: History, keep: Keep) -> Needs:
        """Return what a study needs; see `kept`."""
        saved = _saved(history, keep)
        return cls(
            dict(_reasons(history, keep, saved)),
            frozenset(ref for refs in saved.refs for ref in refs),
            tuple(trial.segment for trial in history.trials),
            frozenset(history.running),
            history.state == "finished",
        )


def kept(study: Study, history: History, keep: Keep | None = None) -> frozenset[str]:
    """Return the references of the manifests that must stay, of those that were reported.

    Where each running segment began; the newest checkpoint of each trial that is not settled; that
    of the best trial among those that are (with several metrics, of each in their front); that of
    the best among those that got furthest, with which a retune begins; and what ``keep`` says.

    Args:
        study: the study.
        history: its history; all of it must be committed.
        keep: what else is kept. Default: what the study says.
    """
    keep = study.checkpoints.keep if keep is None else keep
    return frozenset(ref for ref, _ in _reasons(history, keep, _saved(history, keep)))


def _saved(history: History, keep: Keep) -> _Saved:
    return history.index(("retention", keep.best), lambda: _Saved(history, keep.best or 0))


def _reasons(history: History, keep: Keep, saved: _Saved) -> Iterator[tuple[str, str]]:
    """Yield what must stay, and why; the reason that matters most comes last."""
    for refs in saved.refs:
        for ref in refs if keep.all else _newest(refs, keep.last or 0):
            yield ref, "all are kept" if keep.all else "it is one of the newest of its trial"
    yield from ((ref, "it is one of the best") for _, _, ref in saved.best)
    for trial in history.trials:
        if trial.state in _SETTLED:
            saved.settled.add(history, trial)
        else:
            yield from ((ref, _WHY[trial.state]) for ref in _needed(trial))
    yield from ((ref, "its trial is the best so far") for ref in saved.settled.chosen)


def _newest(refs: Sequence[str], count: int) -> Sequence[str]:
    return refs[max(len(refs) - count, 0) :]


def _needed(trial: Trial) -> list[str]:
    """Return what a trial may go on from, or be run again from."""
    refs = [trial.checkpoint]
    if trial.state is TrialState.RUNNING:
        refs.append(trial.origin)
    return [ref for ref in refs if ref is not None]


class _Saved(Index):
    """Every checkpoint that was reported.

    Args:
        history: says what the losses of metrics are.
        count: how many of the best are wanted.

    Attributes:
        refs: those of each trial, oldest first.
        best: the best ones: loss, number of the report and reference.
        settled: the best of the trials that are settled, which the history finds in time.
    """

    def __init__(self, history: History, count: int) -> None:
        self._history = history
        self._count = count
        self._reports = 0
        self.refs: list[list[str]] = []
        self.best: list[tuple[float, int, str]] = []
        self.settled = _Settled()

    def launched(self, fact: Launched) -> None:
        """A trial may begin here."""
        if fact.trial == len(self.refs):
            self.refs.append([])

    def reported(self, fact: Reported) -> None:
        """Note a checkpoint, and whether it is one of the best."""
        ref, metrics = fact.report.checkpoint, fact.report.metrics
        if ref is None:
            return
        self._reports += 1
        self.refs[fact.trial].append(ref)
        loss = self._history.losses(metrics)[0]
        if loss < math.inf and not self._history.violation(metrics):
            bisect.insort(self.best, (loss, self._reports, ref))
            del self.best[self._count :]


class _Settled:
    """The best of the trials that are settled: whoever is not among them will never be."""

    def __init__(self) -> None:
        self._known: set[int] = set()
        self._front: list[tuple[tuple[float, ...], Trial]] = []
        self._best: tuple[tuple[float, ...], Trial] | None = None
        self._furthest: tuple[tuple[float, ...], Trial] | None = None

    @property
    def chosen(self) -> list[str]:
        """The newest checkpoint of each of them."""
        single = [one for one in (self._best, self._furthest) if one is not None]
        return [trial.checkpoint for _, trial in [*self._front, *single] if trial.checkpoint]

    def add(self, history: History, trial: Trial) -> None:
        """Take in a trial that is settled, unless it is known."""
        if trial.number in self._known:
            return
        self._known.add(trial.number)
        losses = history.trial_losses(trial)
        if losses[0] == math.inf:
            return
        level = math.inf if trial.state is TrialState.COMPLETED else trial.resource
        self._furthest = _first(self._furthest, ((-level, losses[0], trial.number), trial))
        if history.trial_violation(trial) == 0:
            self._best = _first(self._best, ((*losses, trial.number), trial))
            self._add_to_front(losses, trial)

    def _add_to_front(self, losses: tuple[float, ...], trial: Trial) -> None:
        if len(losses) < 2 or any(dominates(known, losses) for known, _ in self._front):
            return
        rest = [one for one in self._front if not dominates(losses, one[0])]
        self._front = [*rest, (losses, trial)]


def _first(
    one: tuple[tuple[float, ...], Trial] | None, other: tuple[tuple[float, ...], Trial]
) -> tuple[tuple[float, ...], Trial]:
    """Return the one of the smaller rank, or the other one if there is none."""
    return other if one is None or other[0] < one[0] else one
