"""One look for all figures, and numbers that make them readable."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tuneflow.trial import Mode, TrialState

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from markupsafe import Markup

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
_LEGEND = {
    "orientation": "h",
    "x": 0,
    "xanchor": "left",
    "y": 1.02,
    "yanchor": "bottom",
}


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

    def markup(self) -> Markup:
        """Return the plot as JSON that can stand inside a script element."""
        from markupsafe import Markup

        made = "null" if self.plot is None else str(self.plot.to_json())
        return Markup(script_safe(made))  # noqa: S704 - nothing that HTML reads is left in it


def script_safe(text: str) -> str:
    """Return the same JSON without a character that HTML could take for its own."""
    for char in "<>&'\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def safe(text: str) -> str:
    """Return a user's text for a figure, in which plotly would read tags."""
    return text.replace("<", "\u2039").replace(">", "\u203a")


def labels(texts: Iterable[str], longest: int) -> dict[str, str]:
    """Return a safe label for each text: shortened in the middle, and no two the same."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for number, text in enumerate(texts):
        label = safe(text)
        if len(label) > longest:
            half = (longest - 1) // 2
            label = f"{label[:half]}…{label[-half:]}"
        if label in taken:
            label = f"{label} ({number})"
        taken.add(label)
        found[text] = label
    return found


def restyle(plot: go.Figure, height: int = HEIGHT, **layout: Any) -> go.Figure:
    """Give a figure the report's look; the page adds the colours of its light or dark theme."""
    plot.layout.template = None
    plot.update_layout(
        {
            "title": None,
            "height": height,
            "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
            "legend": dict(_LEGEND),
            "hoverlabel": {"align": "left"},
            **layout,
        }
    )
    plot.update_xaxes(automargin=True, zeroline=False)
    plot.update_yaxes(automargin=True, zeroline=False, title_standoff=12)
    return plot


def clipped_range(values: Sequence[float], mode: Mode) -> tuple[float, float] | None:
    """Return the range without the worst tenth of the values, when they would hide the others."""
    sign = -1.0 if mode == "max" else 1.0
    losses = sorted(sign * value for value in values)
    if len(losses) < 10:
        return None
    best, worst, bound = losses[0], losses[-1], losses[int(0.9 * (len(losses) - 1))]
    spread = bound - best
    if worst - best <= 4 * spread or spread == 0:
        return None
    ends = sign * (best - spread / 20), sign * (bound + spread / 2)
    return min(ends), max(ends)


def clipping_note(values: Sequence[float], shown: tuple[float, float] | None) -> tuple[str, ...]:
    """Return the sentence that says how many values lie outside of the range."""
    if shown is None:
        return ()
    outside = sum(not shown[0] <= value <= shown[1] for value in values)
    return (f"Out of view: {outside} extreme values; double-click the figure to see all.",)


def sample(items: Sequence[Any], count: int) -> list[Any]:
    """Return at most so many of the items, evenly spaced, the first and the last among them."""
    if len(items) <= count:
        return list(items)
    if count < 2:
        return list(items[:count])
    step = (len(items) - 1) / (count - 1)
    return [items[round(index * step)] for index in range(count)]
