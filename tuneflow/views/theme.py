"""One look for all figures, and numbers that make them readable."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from statistics import quantiles
from typing import TYPE_CHECKING, Any

from tuneflow.trial import TrialState

if TYPE_CHECKING:
    import plotly.graph_objects as go

STATE_COLORS = {
    TrialState.COMPLETED: "#2a9d6e",
    TrialState.STOPPED: "#4a86c5",
    TrialState.PAUSED: "#c98a1b",
    TrialState.RUNNING: "#8a63d2",
    TrialState.FAILED: "#d9534f",
}
ACCENT = "#e07b39"
"""The best trial, wherever it is drawn."""
HEIGHT = 380


@dataclass(frozen=True)
class Figure:
    """A figure of the report, or the sentence that stands in its place.

    Attributes:
        key: names it in the page.
        title: its heading.
        plot: the figure of plotly, or None where there is nothing to draw.
        notes: sentences about it: what it shows, what was left out, or why there is none.
        height: in pixels.
        min_width: below it the figure scrolls in its box; 0 lets it shrink.
    """

    key: str
    title: str
    plot: go.Figure | None
    notes: tuple[str, ...] = field(default=())
    height: int = HEIGHT
    min_width: int = 0

    def json(self) -> str:
        """Return the plot as JSON that can stand inside a script element."""
        if self.plot is None:
            return "null"
        return script_safe(str(self.plot.to_json()))


def script_safe(text: str) -> str:
    """Return the same JSON without a character that HTML could take for its own."""
    for char in "<>&'\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def safe(text: object) -> str:
    """Return a user's text for a figure: plotly reads some HTML in labels."""
    return escape(str(text))


def restyle(plot: go.Figure, height: int = HEIGHT, **layout: Any) -> go.Figure:
    """Give a figure the report's look; the page adds the colours of its light or dark theme."""
    plot.layout.template = None
    plot.update_layout(
        title=None,
        height=height,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
        hoverlabel={"align": "left"},
        **layout,
    )
    plot.update_xaxes(automargin=True, zeroline=False)
    plot.update_yaxes(automargin=True, zeroline=False)
    return plot


def clipped_range(values: Iterable[float]) -> tuple[float, float] | None:
    """Return the range in which nearly all values lie, when the others would hide them."""
    ordered = sorted(values)
    if len(ordered) < 10:
        return None
    cuts = quantiles(ordered, n=20)
    low, high = cuts[0], cuts[-1]
    margin = 2 * (high - low)
    bottom, top = max(ordered[0], low - margin), min(ordered[-1], high + margin)
    if ordered[-1] - ordered[0] <= 2 * (top - bottom) or top <= bottom:
        return None
    space = (top - bottom) / 20
    return bottom - space, top + space


def clipping_note(values: Sequence[float], shown: tuple[float, float] | None) -> tuple[str, ...]:
    """Return the sentence that says how many values lie outside of the range."""
    if shown is None:
        return ()
    outside = sum(not shown[0] <= value <= shown[1] for value in values)
    return (f"{outside} extreme values lie outside the view; double-click the figure for all.",)


def sample(items: Sequence[Any], count: int) -> list[Any]:
    """Return at most so many of the items, evenly spaced, the first and the last among them."""
    if len(items) <= count:
        return list(items)
    if count < 2:
        return list(items[:count])
    step = (len(items) - 1) / (count - 1)
    return [items[round(index * step)] for index in range(count)]
