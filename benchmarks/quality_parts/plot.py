"""Draw median regret over simulated time as a small SVG."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from html import escape

from benchmarks.quality_parts.families import LINES
from benchmarks.quality_parts.record import regret_at
from benchmarks.quality_parts.runs import Runs

WIDTH, HEIGHT = 760, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 200, 34, 44
POINTS = 150

Line = list[tuple[float, float]]


def medians(runs: Runs, algorithm: str, problem: str, seconds: float) -> Line:
    """Return (part of the time, median regret) wherever half the seeds have an incumbent."""
    curves = list(runs.curves(algorithm, problem).values())
    found: Line = []
    for step in range(1, POINTS + 1):
        part = step / POINTS
        values = [regret_at(curve, part * seconds) for curve in curves]
        value = statistics.median(values) if values else math.inf
        if math.isfinite(value):
            found.append((part, value))
    return found


def draw(runs: Runs, problem: str, seconds: float) -> str:
    """Return the SVG of one problem."""
    lines = {name: medians(runs, name, problem, seconds) for name, _, _ in LINES}
    shown = [y for line in lines.values() for _, y in line if y > 0]
    if not shown:
        return ""
    axis = _Axis(max(min(shown), max(shown) / 1e4), max(shown))
    parts = [_frame(problem), *axis.drawn()]
    row = 0
    for name, colour, dashed in LINES:
        if lines[name]:
            parts.append(_path(lines[name], axis, colour, dashed=dashed))
            parts.append(_legend(row, name, colour, dashed=dashed))
            row += 1
    return "\n".join([*parts, "</svg>", ""])


class _Axis:
    """The vertical axis, on a log scale."""

    def __init__(self, low: float, high: float) -> None:
        self._low = math.log10(low) - 0.05
        self._high = math.log10(high) + 0.05

    def y(self, value: float) -> float:
        """Return where a regret lies; what is below the axis lies on its lower end."""
        part = (math.log10(max(value, 1e-300)) - self._low) / (self._high - self._low)
        return HEIGHT - BOTTOM - max(part, 0.0) * (HEIGHT - TOP - BOTTOM)

    def drawn(self) -> list[str]:
        """Return the ticks with their lines."""
        found = []
        for value in self._ticks():
            y = self.y(value)
            found.append(
                f'<path d="M{LEFT},{y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
                f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>'
            )
        return found

    def _ticks(self) -> list[float]:
        decades = range(math.floor(self._low), math.ceil(self._high) + 1)
        steps: Sequence[int] = (1, 2, 5) if self._high - self._low < 2.5 else (1,)
        values = [step * 10.0**decade for decade in decades for step in steps]
        return [value for value in values if self._low <= math.log10(value) <= self._high]


def _frame(problem: str) -> str:
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    ticks = "".join(
        f'<text x="{_x(part):.0f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{label}</text>'
        for part, label in ((0, "0"), (1 / 3, "1/3"), (2 / 3, "2/3"), (1, "1"))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="12" fill="#333">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n'
        f'<text x="{middle:.0f}" y="20" text-anchor="middle" font-size="14">'
        f"{escape(problem)}: median regret</text>\n"
        f'<path d="M{LEFT},{TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" stroke="#333" fill="none"/>\n'
        f'{ticks}<text x="{middle:.0f}" y="{HEIGHT - 10}" text-anchor="middle">'
        f"part of the simulated time</text>"
    )


def _x(part: float) -> float:
    return LEFT + part * (WIDTH - LEFT - RIGHT)


def _path(line: Line, axis: _Axis, colour: str, *, dashed: bool) -> str:
    """Return a staircase: the incumbent holds until the next one."""
    (part, value), *rest = line
    found = [f"M{_x(part):.1f},{axis.y(value):.1f}"]
    for part, now in rest:
        if now != value:
            found.append(f"H{_x(part):.1f}V{axis.y(now):.1f}")
            value = now
    found.append(f"H{_x(1):.1f}")
    return f'<path d="{"".join(found)}" {_stroke(colour, dashed=dashed)}/>'


def _legend(row: int, name: str, colour: str, *, dashed: bool) -> str:
    x, y = WIDTH - RIGHT + 14, TOP + 12 + 20 * row
    return (
        f'<path d="M{x},{y}h26" {_stroke(colour, dashed=dashed)}/>'
        f'<text x="{x + 32}" y="{y + 4}">{escape(name)}</text>'
    )


def _stroke(colour: str, *, dashed: bool) -> str:
    dashes = ' stroke-dasharray="5 3"' if dashed else ""
    return f'fill="none" stroke="{colour}" stroke-width="1.8"{dashes}'


def drawn(runs: Runs, seconds: Mapping[str, float]) -> dict[str, str]:
    """Return the SVG of each problem that has runs."""
    found = {problem: draw(runs, problem, seconds[problem]) for problem in seconds}
    return {problem: svg for problem, svg in found.items() if svg}
