"""A line chart with two logarithmic axes, as SVG by hand: nothing to install."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 720, 440
LEFT, RIGHT, TOP, BOTTOM = 76, 24, 84, 64
COLOURS = ("#2f6fb3", "#c2571a", "#4c8a3f")
MARKS = ("circle", "square")


@dataclass(frozen=True)
class Line:
    """Name and ``(x, y)``, all above 0, x rising."""

    name: str
    points: Sequence[tuple[float, float]]


def loglog(title: str, x_label: str, y_label: str, lines: Sequence[Line]) -> str:
    """The chart as SVG, with a dashed line of slope 1 through the last point of the first line."""
    xs = [math.log10(x) for line in lines for x, _ in line.points]
    ys = [math.log10(y) for line in lines for _, y in line.points]
    (x0, x1), (y0, y1) = (min(xs), max(xs)), (math.floor(min(ys)), math.ceil(max(ys)))
    across, up = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return LEFT + across * (x - x0) / (x1 - x0), TOP + up * (1 - (y - y0) / (y1 - y0))

    body = [f'<text x="{LEFT}" y="26" class="title">{escape(title)}</text>']
    for level in range(y0, y1 + 1):
        _, y = place(x0, level)
        body.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        body.append(f'<text x="{LEFT - 10}" y="{y + 4:.1f}" text-anchor="end">{number(10.0**level)}</text>')
    for level in range(math.ceil(x0 - 1e-9), math.floor(x1 + 1e-9) + 1):
        x, _ = place(level, y0)
        body.append(f'<path class="grid" d="M{x:.1f} {TOP}V{TOP + up}"/>')
        body.append(f'<text x="{x:.1f}" y="{TOP + up + 22}" text-anchor="middle">{number(10.0**level)}</text>')
    body.append(f'<text x="{LEFT + across / 2}" y="{HEIGHT - 14}" text-anchor="middle">{escape(x_label)}</text>')
    middle = TOP + up / 2
    turned = f'transform="rotate(-90 18 {middle})" text-anchor="middle"'
    body.append(f'<text x="18" y="{middle}" {turned}>{escape(y_label)}</text>')
    legend = LEFT
    last_x, last_y = (math.log10(value) for value in lines[0].points[-1])
    low = max(x0, last_x - (last_y - y0))
    ends = [place(low, last_y - (last_x - low)), place(last_x, last_y)]
    body.append(f'<path class="linear" d="M{path(ends)}"/>')
    for index, line in enumerate(lines):
        colour = COLOURS[index % len(COLOURS)]
        placed = [place(math.log10(x), math.log10(y)) for x, y in line.points]
        body.append(f'<path fill="none" stroke="{colour}" stroke-width="2.5" d="M{path(placed)}"/>')
        body += [mark(index, x, y) for x, y in placed]
        body.append(mark(index, legend + 6, 52))
        body.append(f'<text x="{legend + 18}" y="56">{escape(line.name)}</text>')
        legend += 40 + 7 * len(line.name)
    body.append(f'<path class="linear" d="M{legend} 52H{legend + 26}"/><text x="{legend + 34}" y="56">linear</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">\n<style>text{{font:13px sans-serif;fill:#333}}.title{{font-size:16px;'
        f"font-weight:600}}.grid{{stroke:#ddd}}.linear{{stroke:#888;stroke-width:1.5;stroke-dasharray:5 4}}</style>\n"
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


def path(points: Sequence[tuple[float, float]]) -> str:
    """Points of a path."""
    return "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def mark(index: int, x: float, y: float) -> str:
    """A point of a line; lines differ in shape too, for those who do not tell the colours apart."""
    colour = COLOURS[index % len(COLOURS)]
    if MARKS[index % len(MARKS)] == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{colour}"/>'
    return f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" fill="{colour}"/>'


def number(value: float) -> str:
    """``10,000``, ``0.1``."""
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"
