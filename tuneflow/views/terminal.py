"""The live view of a running study in a terminal, and plain lines where there is none.

`LiveView` is an observer: a driver calls it after each commit. All it does then is to note what
has changed; a thread of its own draws, seldom enough to cost little, so that the clock moves on
while a long trial says nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tuneflow.convert import trial_value, trial_values
from tuneflow.events import Fact
from tuneflow.history import History
from tuneflow.study import Study
from tuneflow.trial import Trial, TrialState
from tuneflow.views import text
from tuneflow.views.board import Board
from tuneflow.views.front import front_line, front_table
from tuneflow.views.tables import (
    best_line,
    best_panel,
    counts_line,
    failures_view,
    late_line,
    rungs_table,
    rungs_view,
    status_table,
    summary,
    trials_table,
)

__all__ = [
    "LiveView",
    "best_panel",
    "failures_view",
    "front_table",
    "rungs_table",
    "status_table",
    "summary",
    "trials_table",
]

_FASTEST = 1 / 8
_SLOWEST = 2.0
_SHARE = 1 / 150
"""The largest share of the time that is spent on drawing."""
_SHOWN = 8
_LINE_EVERY = 1.0
_SUMMARY_EVERY = 5.0


class LiveView:
    """Shows a study while it runs; use it as a context manager and as an observer.

    On a terminal it draws the progress, the counts, the best trial, the rungs and the newest
    trials in place, at most eight times a second. Elsewhere it prints a line when a trial
    pauses or ends, at most one a second, but always for a new best and for a failure, and a
    line about the whole every five seconds in which lines were left out. Leaving it prints a
    summary.

    Args:
        study: the study that is watched.
        url: the study's URL, which the summary's commands name.
        console: where to print. Default: stdout.
        clock: seconds since any fixed moment; tests give their own.
        is_driven_here: False when the study goes on without this process.
    """

    def __init__(
        self,
        study: Study,
        url: str,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        is_driven_here: bool = True,
    ) -> None:
        self._is_driven_here = is_driven_here
        self._study = study
        self._url = url
        self._console = console or Console(highlight=False)
        self._clock = clock
        self._began = clock()
        self._board: Board | None = None
        self._display: _Screen | _Lines = (
            _Screen(study, self._console) if self._console.is_terminal else _Lines(self._console)
        )

    def __call__(self, history: History, facts: Sequence[Fact]) -> None:
        """Take in what was just committed."""
        if self._board is None:
            self._board = Board(self._study, history, len(facts), self._elapsed)
        self._display.show(self._board, self._board.update(facts))

    def _elapsed(self) -> float:
        return self._clock() - self._began

    def __enter__(self) -> Self:
        self._began = self._clock()
        self._display.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._display.stop()
        if self._board is not None and (kind is None or issubclass(kind, KeyboardInterrupt)):
            self._console.print(self._summary(self._board.history))

    def _summary(self, history: History) -> RenderableType:
        is_here = self._is_driven_here
        return summary(self._study, history, self._url, self._elapsed(), is_driven_here=is_here)


class _Lines:
    """Prints plain lines, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._best: tuple[int, float | None] | None = None
        self._last_line = -_LINE_EVERY
        self._last_summary = 0.0
        self._skipped = 0

    def start(self) -> None:
        """Nothing is shown before something has happened."""

    def stop(self) -> None:
        """The summary follows."""

    def show(self, board: Board, closed: Sequence[Trial]) -> None:
        """Print what deserves a line."""
        best = self._new_best(board)
        now = board.elapsed
        # Who watches from elsewhere learns of several segments of a trial at once.
        for trial in {trial.number: trial for trial in closed}.values():
            is_due = now - self._last_line >= _LINE_EVERY
            if is_due or trial is best or trial.state is TrialState.FAILED:
                self._write(_line(board, trial, is_best=trial is best))
                self._last_line = now
            else:
                self._skipped += 1
        if self._skipped and now - self._last_summary >= _SUMMARY_EVERY:
            self._write(_overview(board))
            self._skipped, self._last_summary, self._last_line = 0, now, now

    def _new_best(self, board: Board) -> Trial | None:
        """Return the best trial when it, or its value, is not the one of the last time."""
        if board.best is None:
            return None
        found = board.best.number, trial_value(board.history, board.best)
        before, self._best = self._best, found
        return board.best if found != before else None

    def _write(self, line: str) -> None:
        self._console.print(Text(line), soft_wrap=True)


def _line(board: Board, trial: Trial, *, is_best: bool) -> str:
    """Return the line about a trial that has paused or ended."""
    state = "went on" if trial.state is TrialState.RUNNING else trial.state.value
    line = f"trial {trial.number} {state} at {text.number(trial.resource)}"
    if trial.state is TrialState.FAILED:
        return f"{line}  {text.clean(str(trial.failure))}"
    values = zip(board.study.objectives, trial_values(board.history, trial), strict=True)
    said = "  ".join(f"{text.clean(name)}={text.number(value)}" for (name, _), value in values)
    mark = "  new best" if is_best else ""
    return f"{line}  {said}{mark}  {text.config(trial.params)}"


def _overview(board: Board) -> str:
    """Return the line about the whole."""
    line = f"{board.pace()}  {text.state_counts(board.history)}"
    if board.history.late:
        line += f"  {board.history.late} drawn at random: the searcher is late"
    if board.best is None:
        return line
    line += f"  best {board.best_value()} (trial {board.best.number})"
    return f"{line}  front of {len(board.front.get())}" if board.study.other_metrics else line


class _Screen:
    """Draws in place, from a thread of its own."""

    def __init__(self, study: Study, console: Console) -> None:
        self._study = study
        self._board: Board | None = None
        self._live = Live(
            console=console, auto_refresh=False, transient=True, get_renderable=self.draw
        )
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tuneflow-view", daemon=True)

    def start(self) -> None:
        """Begin to draw."""
        self._live.start()
        self._thread.start()

    def stop(self) -> None:
        """Clear the drawing; the summary takes its place."""
        self._over.set()
        self._thread.join()
        self._live.stop()

    def show(self, board: Board, _: Sequence[Trial]) -> None:
        """Note what to draw; the thread does it when it is time to."""
        self._board = board

    def _run(self) -> None:
        pause = _FASTEST
        while not self._over.wait(pause):
            began = time.thread_time()
            self._live.refresh()
            pause = min(max(_FASTEST, (time.thread_time() - began) / _SHARE), _SLOWEST)

    def draw(self) -> RenderableType:
        """Return the picture of the moment."""
        if self._board is None:
            return Text(f"{text.clean(self._study.name)}: starting", "dim")
        with self._board.lock:
            return picture(self._board)


def picture(board: Board) -> Group:
    """Return what the live view shows of a board."""
    study, history = board.study, board.history
    running = list(history.running.values())
    newest = {trial.number: trial for trial in (*board.recent, *running)}
    parts = [
        _head(study),
        _bar(board),
        counts_line(history),
        late_line(history),
        _one_line(Text("best ", "dim").append(best_line(study, history, board.best))),
        _front(board),
        rungs_view(board.rungs, study, [trial.number for trial in running]),
        trials_table(study, history, list(newest.values())[:_SHOWN]),
    ]
    return Group(*(part for part in parts if part is not None))


def _head(study: Study) -> Text:
    line = Text(text.clean(study.name), "bold")
    what = f"  {text.goal(study)}  {study.searcher.type} + {study.scheduler.type}"
    return _one_line(line.append(what, "not bold dim"))


def _bar(board: Board) -> Table:
    share = board.share()
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(ratio=1)
    grid.add_column(no_wrap=True)
    bar = ProgressBar(total=1.0, completed=share or 0.0)
    percent = f"{share:.0%}  " if share is not None else ""
    grid.add_row(bar, Text(percent + board.pace()))
    return grid


def _front(board: Board) -> Text | None:
    if not board.study.other_metrics:
        return None
    return _one_line(Text("front ", "dim").append(front_line(board.front.get())))


def _one_line(line: Text) -> Text:
    line.no_wrap, line.overflow = True, "ellipsis"
    return line
