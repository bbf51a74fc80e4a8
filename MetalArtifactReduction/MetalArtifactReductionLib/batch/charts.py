"""How a batch went, drawn: streaks before and after, and how their change is distributed.

Better and worse differ in shape as well as in colour (Okabe and Ito's blue and vermilion).
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

BETTER, WORSE = "#0072b2", "#d55e00"

_WIDTH, _HEIGHT = 460, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 14, 14, 44
_BINS = 16


def before_after_svg(cases: Sequence[tuple[str, float, float]]) -> str:
    """A point a case: below the line the streaks became fewer.

    :param cases: name, streak amplitude before and after in HU.
    """
    highest = _round_up(max(max(before, after) for _, before, after in cases))
    frame = _Frame(0.0, highest, 0.0, highest, "streaks before, HU", "streaks after, HU")
    line = (
        f'<line x1="{frame.x(0):.1f}" y1="{frame.y(0):.1f}" x2="{frame.x(highest):.1f}" '
        f'y2="{frame.y(highest):.1f}" stroke="#767676" stroke-dasharray="4 3"/>'
    )
    points = []
    for name, before, after in cases:
        x, y = frame.x(before), frame.y(after)
        title = f"<title>{escape(name)}: {before:.0f} to {after:.0f} HU</title>"
        if after > before:
            corners = f"{x:.1f},{y - 5:.1f} {x - 5:.1f},{y + 4:.1f} {x + 5:.1f},{y + 4:.1f}"
            points.append(f'<polygon points="{corners}" fill="{WORSE}">{title}</polygon>')
        else:
            points.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{BETTER}">{title}</circle>'
            )
    return frame.svg("Streaks before and after, a point a case", line, *points)


def change_svg(changes_hu: Sequence[float]) -> str:
    """How many cases changed by how much; right of 0 they became worse.

    :param changes_hu: streak amplitude after minus before.
    """
    reach = _round_up(float(np.abs(changes_hu).max()))
    edges = np.linspace(-reach, reach, _BINS + 1)  # 0 is an edge: no bar holds both kinds
    counts, _ = np.histogram(changes_hu, edges)
    frame = _Frame(-reach, reach, 0.0, float(counts.max()), "change of streaks, HU", "cases")
    bars = []
    for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
        if count:
            top = frame.y(count)
            bars.append(
                f'<rect x="{frame.x(low) + 1:.1f}" y="{top:.1f}" '
                f'width="{frame.x(high) - frame.x(low) - 2:.1f}" height="{frame.y(0) - top:.1f}" '
                f'fill="{WORSE if low >= 0 else BETTER}"><title>{low:.0f} to {high:.0f} HU: '
                f"{count} cases</title></rect>"
            )
    zero = frame.x(0)
    line = (
        f'<line x1="{zero:.1f}" x2="{zero:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" '
        'stroke="#767676" stroke-dasharray="4 3"/>'
    )
    return frame.svg("Change of streaks, cases", *bars, line)


class _Frame:
    """Axes with a number at their ends and in the middle."""

    def __init__(
        self, x_low: float, x_high: float, y_low: float, y_high: float, x_title: str, y_title: str
    ) -> None:
        self._x, self._y = (x_low, x_high), (y_low, max(y_high, y_low + 1.0))
        self._titles = x_title, y_title

    def x(self, value: float) -> float:
        low, high = self._x
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self._y
        return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    def svg(self, label: str, *shapes: str) -> str:
        floor = _HEIGHT - _BOTTOM
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
            f'width="{_WIDTH}" role="img" aria-label="{escape(label)}" font-family="sans-serif" '
            'font-size="12" fill="#222">',
            f'<path d="M{_LEFT},{_TOP}V{floor}H{_WIDTH - _RIGHT}" fill="none" stroke="#222"/>',
            *shapes,
        ]
        for value in (self._x[0], sum(self._x) / 2, self._x[1]):
            parts.append(_text(self.x(value), floor + 16, f"{value:.0f}"))
        for value in (self._y[0], self._y[1]):
            parts.append(_text(_LEFT - 6, self.y(value) + 4, f"{value:.0f}", "end"))
        parts.append(_text((_LEFT + _WIDTH) / 2, _HEIGHT - 8, self._titles[0]))
        middle = (_TOP + floor) / 2
        parts.append(
            f'<text transform="translate(16,{middle:.0f}) rotate(-90)" text-anchor="middle">'
            f"{escape(self._titles[1])}</text></svg>"
        )
        return "".join(parts)


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _round_up(value: float) -> float:
    """To 1, 2 or 5 times a power of ten, 10 at least."""
    power = 10.0 ** np.floor(np.log10(max(value, 10.0)))
    return next(float(f * power) for f in (1, 2, 5, 10) if f * power >= value)
