"""Line charts of a report: learning curves, and recall as a function of the overlap asked for.

Lines are inline SVG stretched to the width of the page; labels are HTML on top, so that they keep their size on a
telephone. The values travel in a data attribute, from which the page's script shows those under the pointer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from lavis.report.markup import element, joined, percent, text

MAX_POINTS = 300


@dataclass(frozen=True, slots=True)
class Series:
    """One line.

    Args:
        name: for the legend.
        points: ``(x, y)``, x rising; points that are not finite are left out.
        colour: name of a colour of the page: ``truth``, ``stage-1`` to ``stage-4``, ``baseline``.
        dashed: draw it dashed, to tell two lines of one colour apart.
        faint: draw it thin and pale, behind the others, and leave it out of legend and values: raw values below a mean.
        dots: mark every point, for few of them.
    """

    name: str
    points: Sequence[tuple[float, float]]
    colour: str = "stage-1"
    dashed: bool = False
    faint: bool = False
    dots: bool = False


@dataclass(frozen=True, slots=True)
class Curve:
    """One chart.

    Args:
        title: what it shows.
        x_label: unit of the horizontal axis.
        series: its lines, at least one.
        y_range: fixed bounds of the vertical axis; from the values if ``None``.
        note: a sentence below the title.
    """

    title: str
    x_label: str
    series: Sequence[Series]
    y_range: tuple[float, float] | None = None
    note: str = ""


def smooth(points: Sequence[tuple[float, float]], weight: float = 0.9) -> list[tuple[float, float]]:
    """Exponential moving average with the start-up bias removed, for losses; ``weight`` in [0, 1) of the past."""
    if not 0 <= weight < 1:
        raise ValueError(f"weight must be in [0, 1), got {weight}")
    mean, total, result = 0.0, 0.0, []
    for x, y in points:
        mean = weight * mean + (1 - weight) * y
        total = weight * total + (1 - weight)
        result.append((x, mean / total))
    return result


def thinned(points: Sequence[tuple[float, float]], limit: int = MAX_POINTS) -> list[tuple[float, float]]:
    """At most about ``limit`` of the points, evenly, the last one included."""
    if len(points) <= limit:
        return list(points)
    step = math.ceil(len(points) / limit)
    kept = list(points[::step])
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` round numbers from ``low`` to ``high``."""
    if not high > low:
        return [low]
    raw = (high - low) / count
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(s * magnitude for s in (1, 2, 2.5, 5, 10) if s * magnitude >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]


def label(value: float) -> str:
    """A tick or value, short: ``2,000``, ``0.05``, ``3e-4``."""
    if value == 0:
        return "0"
    if abs(value) < 1e-3:
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def chart(curve: Curve) -> str:
    """The chart as HTML; a sentence instead of it where there is no value to draw.

    Raises:
        ValueError: if the curve has no series.
    """
    if not curve.series:
        raise ValueError(f"curve {curve.title!r} has no series")
    lines = [(s, thinned([(x, y) for x, y in s.points if math.isfinite(x) and math.isfinite(y)])) for s in curve.series]
    lines = [(series, points) for series, points in lines if points]
    head = element("h3", text(curve.title)) + (element("p", text(curve.note), class_="note") if curve.note else "")
    if not lines:
        return element("figure", head, element("p", "Nothing was logged.", class_="empty"), class_="chart")
    low_x, high_x = min(p[0][0] for _, p in lines), max(p[-1][0] for _, p in lines)
    low_y, high_y = curve.y_range or _bounds([y for _, points in lines for _, y in points])
    across, up = (high_x - low_x) or 1.0, (high_y - low_y) or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        return (x - low_x) / across, 1 - min(max((y - low_y) / up, 0.0), 1.0)

    levels = [(value, place(low_x, value)[1]) for value in ticks(low_y, high_y)]
    marks = [(value, place(value, low_y)[0]) for value in ticks(low_x, high_x)]
    drawing = [f'<path class="grid" d="M0 {100 * y:.2f}H100"/>' for _, y in levels]
    dots = []
    for series, points in sorted(lines, key=lambda line: not line[0].faint):
        placed = [place(x, y) for x, y in points]
        path = "M" + "L".join(f"{100 * x:.2f} {100 * y:.2f}" for x, y in placed)
        kind = "".join(name for name, on in ((" dashed", series.dashed), (" faint", series.faint)) if on)
        drawing.append(f'<path class="line ink-{text(series.colour)}{kind}" d="{path}"/>')
        if series.dots or len(points) == 1:
            dots += [
                element("i", class_=f"dot fill-{series.colour}", style=f"left:{percent(x)};top:{percent(y)}")
                for x, y in placed
            ]
    labels = [element("span", label(value), class_="y", style=f"top:{percent(y)}") for value, y in levels]
    labels += [element("span", label(value), class_="x", style=f"left:{percent(x)}") for value, x in marks]
    svg = element("svg", *drawing, viewBox="0 0 100 100", preserveAspectRatio="none", aria_hidden="true")
    shown = [(series, points) for series, points in lines if not series.faint]
    plot = element(
        "div",
        svg,
        *dots,
        *labels,
        class_="plot",
        role="img",
        aria_label=_spoken(curve, shown),
        data_chart=_data(shown, low_x, across, curve.x_label),
    )
    axis = element("p", text(curve.x_label), class_="axis", aria_hidden="true")
    return element("figure", head, _legend([series for series, _ in shown]), plot, axis, class_="chart")


def _bounds(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if low == high:
        margin = abs(low) * 0.1 or 1.0
        return low - margin, high + margin
    if low > 0 and low < 0.5 * high:
        low = 0.0  # an axis from zero, where that costs no more than half of the height
    return low, high + 0.04 * (high - low)


def _legend(series: Sequence[Series]) -> str:
    items = [
        element("li", element("i", class_=f"swatch ink-{s.colour}" + (" dashed" if s.dashed else "")), text(s.name))
        for s in series
    ]
    return element("ul", joined(items), class_="legend")


def _spoken(curve: Curve, lines: Sequence[tuple[Series, list[tuple[float, float]]]]) -> str:
    said = [f"{s.name}: from {label(points[0][1])} to {label(points[-1][1])}" for s, points in lines]
    return f"Line chart, {curve.title}, by {curve.x_label}. " + "; ".join(said)


def _data(lines: Sequence[tuple[Series, list[tuple[float, float]]]], low_x: float, across: float, x_label: str) -> str:
    rows = [
        {"name": s.name, "colour": s.colour, "points": [[float(f"{x:.6g}"), float(f"{y:.4g}")] for x, y in points]}
        for s, points in lines
    ]
    return json.dumps({"low": low_x, "across": across, "unit": x_label, "series": rows}, separators=(",", ":"))
