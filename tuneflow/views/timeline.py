"""Who did what when: the segments of a study as bars, a row for each slot of a worker."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tuneflow.history import History
from tuneflow.trial import Outcome
from tuneflow.views import text
from tuneflow.views.theme import STATE_COLORS, Figure, labels, restyle, safe, sample

MOST_ROWS = 48
MOST_BARS = 3_000
KIND_COLORS = {
    "went on": "#8b97a8",
    **{state.value: color for state, color in STATE_COLORS.items()},
    "lost": "#4b5563",
}
"""What became of a segment's trial: it went on later, or this is where it stands."""
_LEAST_GAP = 60.0
"""A time in which nothing ran is cut out when it is longer than so many seconds."""
_LONGEST_NAME = 24


@dataclass(frozen=True, slots=True)
class Bar:
    """A segment on the timeline.

    Attributes:
        row: the row's label, made of the worker and its slot.
        start: seconds of the study's running time before it.
        outcome: the segment's outcome.
    """

    row: str
    start: float
    outcome: Outcome

    @property
    def length(self) -> float:
        """Seconds it took."""
        return max(self.outcome.ended - self.outcome.started, 0.0)


def timeline(history: History, outcomes: Sequence[Outcome]) -> Figure:
    """Return the timeline.

    Args:
        history: the study's history.
        outcomes: of the segments that are to be drawn.
    """
    import plotly.graph_objects as go

    key, title = "timeline", "Timeline of the workers"
    timed = sample([outcome for outcome in outcomes if outcome.ended > 0], MOST_BARS)
    if not timed:
        return Figure(key, title, None, ("No segment has left its times yet.",))
    bars, cut = layout(timed)
    rows = list(dict.fromkeys(bar.row for bar in bars))
    shown = set(rows[:MOST_ROWS])
    plot = go.Figure()
    scale, unit = _unit(max(bar.start + bar.length for bar in bars))
    for kind, color in KIND_COLORS.items():
        chosen = [b for b in bars if b.row in shown and _kind(history, b.outcome) == kind]
        if chosen:
            plot.add_bar(**_trace(chosen, kind, color, scale))
    height = 110 + 24 * len(shown)
    restyle(plot, height, barmode="overlay", bargap=0.25, xaxis_title=f"running time, {unit}")
    plot.update_yaxes(categoryorder="array", categoryarray=rows[:MOST_ROWS][::-1])
    segments = sum(trial.segment + 1 for trial in history.trials)
    return Figure(key, title, plot, tuple(_notes(len(timed), segments, len(rows), cut)), height)


def _kind(history: History, outcome: Outcome) -> str:
    """Return what became of the trial after a segment."""
    if outcome.status in ("failed", "lost"):
        return outcome.status
    trial = history.trials[outcome.trial]
    return "went on" if outcome.segment < trial.segment else trial.state.value


def _unit(seconds: float) -> tuple[float, str]:
    """Return the unit of time that suits a span, and its length in seconds."""
    if seconds < 180:
        return 1.0, "seconds"
    return (60.0, "minutes") if seconds < 10_800 else (3600.0, "hours")


def _trace(bars: Sequence[Bar], kind: str, color: str, scale: float) -> dict[str, Any]:
    return {
        "orientation": "h",
        "name": kind,
        "marker": {"color": color, "line": {"width": 0.5, "color": "rgba(255,255,255,0.7)"}},
        "y": [bar.row for bar in bars],
        "base": [round(bar.start / scale, 5) for bar in bars],
        "x": [round(bar.length / scale, 5) for bar in bars],
        "hovertext": [_hover(bar) for bar in bars],
        "hovertemplate": "%{hovertext}<extra></extra>",
    }


def _hover(bar: Bar) -> str:
    outcome = bar.outcome
    began = datetime.fromtimestamp(outcome.started, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    reached = f" at {text.number(outcome.reports[-1].resource)}" if outcome.reports else ""
    return (
        f"trial {outcome.trial}, segment {outcome.segment}: {outcome.status}{reached}<br>"
        f"{text.number(bar.length, 4)} s from {began}<br>{safe(text.clean(outcome.worker))}"
    )


def _notes(drawn: int, segments: int, rows: int, cut: Sequence[float]) -> Iterator[str]:
    yield "Each bar is a segment: one trial from one level to the next."
    if drawn < segments:
        yield f"{drawn:,} of {segments:,} segments are drawn; an even sample of those at hand."
    if rows > MOST_ROWS:
        yield f"{MOST_ROWS} of {rows:,} rows are drawn."
    if cut:
        pauses = text.plural(len(cut), "pause")
        yield f"{pauses} in which nothing ran ({text.duration(sum(cut))} in all) left out."


def layout(outcomes: Iterable[Outcome]) -> tuple[list[Bar], list[float]]:
    """Place segments in rows and in running time.

    Returns:
        The bars, by row; and the lengths of the long pauses that were cut out.
    """
    ordered = sorted(outcomes, key=lambda outcome: (outcome.started, outcome.key))
    gaps = _gaps(ordered)
    lanes: dict[str, list[float]] = {}
    placed = []
    for outcome in ordered:
        slots = lanes.setdefault(outcome.worker, [])
        slot = next((i for i, end in enumerate(slots) if end <= outcome.started), len(slots))
        slots[slot : slot + 1] = [outcome.ended]
        skipped = sum(length for at, length in gaps if at <= outcome.started)
        placed.append((slot, outcome, outcome.started - ordered[0].started - skipped))
    names = _names(lanes)
    bars = [
        Bar(_row(names[outcome.worker], slot, len(lanes[outcome.worker])), start, outcome)
        for slot, outcome, start in placed
    ]
    return sorted(bars, key=lambda bar: _natural(bar.row)), [length for _, length in gaps]


def running_time(outcomes: Iterable[Outcome]) -> float:
    """Return the seconds in which anything ran, long pauses left out."""
    ordered = sorted(outcomes, key=lambda outcome: (outcome.started, outcome.key))
    if not ordered:
        return 0.0
    span = max(outcome.ended for outcome in ordered) - ordered[0].started
    return span - sum(length for _, length in _gaps(ordered))


def _gaps(ordered: Sequence[Outcome]) -> list[tuple[float, float]]:
    """Return when each long pause ended, and its length."""
    gaps = []
    reached = ordered[0].ended
    for outcome in ordered:
        if outcome.started - reached > _LEAST_GAP:
            gaps.append((outcome.started, outcome.started - reached))
        reached = max(reached, outcome.ended)
    return gaps


def _names(workers: Iterable[str]) -> dict[str, str]:
    """Return a short name for each worker, which is often an address."""
    plain = {worker: text.clean(worker).rpartition("://")[2] or "worker" for worker in workers}
    short = labels(sorted(set(plain.values()), key=_natural), _LONGEST_NAME)
    return {worker: short[name] for worker, name in plain.items()}


def _row(name: str, slot: int, slots: int) -> str:
    return f"{name} · {slot + 1}" if slots > 1 else name


def _natural(name: str) -> tuple[str, ...]:
    """Return a key that puts worker 10 after worker 9."""
    digits = "".join(char if char.isdigit() else " " for char in name).split()
    words = "".join(" " if char.isdigit() else char for char in name).split()
    return (*words, *(number.zfill(20) for number in digits))
