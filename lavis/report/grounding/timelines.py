"""Plots of single queries: windows on a time axis; with frames of the video at them, scores and subtitles."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lavis.report.grounding.cases import Case, Span
from lavis.report.grounding.strips import Strip, draw_strip
from lavis.report.grounding.style import (
    EARLIER,
    FAINT,
    GRID,
    INK,
    OTHER,
    PREDICTED,
    TRUTH,
    clipped,
    clock,
    dress,
    legend,
    literal,
    new_figure,
)
from lavis.structures import Subtitle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH = 10.6
_CHAR_INCH = 0.061
_LEAST_COLUMNS = 4
_MOST_WINDOWS = 3
"""Ten windows that overlap, as detectors give them, show nothing any more."""


@dataclass(frozen=True, slots=True)
class Lane:
    """Windows of one kind.

    Args:
        name: at the left.
        colour: of the bars.
        windows: the first is drawn stronger than the others.
        note: at the right.
        equal: draw all of them equally.
    """

    name: str
    colour: str
    windows: Sequence[Span]
    note: str = ""
    equal: bool = False


def lanes_of(case: Case, other: Case | None = None, names: tuple[str, str] = ("predicted", "before")) -> list[Lane]:
    """What there is to draw of a query, coarse to fine; of predicted windows the first three.

    Args:
        case: the query with the predictions to look at.
        other: the same query with those to compare with.
        names: of the predictions and of the others.
    """
    lanes = [Lane("truth", TRUTH, case.truth, equal=True)]
    if case.prior:
        lanes.append(Lane("prior", OTHER, case.prior))
    if other is not None:
        lanes.append(Lane(names[1], EARLIER, other.windows[:_MOST_WINDOWS], _verdict(other)))
    for number, window in enumerate(case.rounds[:-1], start=1):
        lanes.append(Lane(f"round {number}", OTHER, [window]))
    lanes.append(Lane(names[0], PREDICTED, case.windows[:_MOST_WINDOWS], _verdict(case)))
    return lanes


def timelines_plot(
    cases: Sequence[Case], others: Sequence[Case] | None = None, names: tuple[str, str] = ("predicted", "before")
) -> Figure:
    """A time axis for each query with its windows.

    Args:
        cases: queries, at least one.
        others: the same queries with other predictions, in the same order.
        names: of the predictions and of the others.

    Raises:
        ValueError: if there is no query, or not as many others.
    """
    if not cases:
        raise ValueError("there is no query to draw")
    beside = [None] * len(cases) if others is None else list(others)
    if len(beside) != len(cases):
        raise ValueError(f"{len(cases)} queries, but {len(beside)} others to draw beside them; give one for each")
    rows = [lanes_of(case, other, names) for case, other in zip(cases, beside, strict=True)]
    heights = [0.56 + 0.25 * len(lanes) for lanes in rows]
    figure = new_figure(_WIDTH, sum(heights))
    panels = figure.subplots(len(cases), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axes, case, lanes in zip(panels, cases, rows, strict=True):
        draw_lanes(axes, lanes, case.length)
        _entitle(axes, case)
    return figure


def query_plot(
    case: Case,
    strips: Sequence[Strip] = (),
    other: Case | None = None,
    subtitles: Sequence[Subtitle] = (),
    names: tuple[str, str] = ("predicted", "before"),
) -> Figure:
    """All there is on one query: frames at its windows, the windows, scores over time, subtitles.

    Args:
        case: the query.
        strips: frames, a row each.
        other: the query with other predictions.
        subtitles: lines of the video.
        names: of the predictions and of the others.
    """
    lanes = lanes_of(case, other, names)
    curved = any(curve is not None for curve in (case.scores, case.saliency, other.scores if other else None))
    parts = [0.3 + 0.27 * len(lanes), *([1.4] if curved else []), *([0.8] if subtitles else [])]
    columns = max(_LEAST_COLUMNS, *(len(strip.images) for strip in strips), 0)
    tall = [0.26 + 0.87 * _WIDTH / columns * strip.shape for strip in strips]
    figure = new_figure(_WIDTH, 0.45 + sum(parts) + sum(tall))
    grid = figure.add_gridspec(len(tall) + len(parts), 1, height_ratios=[*tall, *parts])
    for row, strip in enumerate(strips):
        draw_strip(figure.add_subplot(grid[row]), strip, columns)
    below = [figure.add_subplot(grid[len(tall)])]
    below += [figure.add_subplot(grid[len(tall) + row], sharex=below[0]) for row in range(1, len(parts))]
    draw_lanes(below[0], lanes, case.length)
    _mark_frames(below[0], lanes, strips)
    if curved:
        _draw_curves(below[1], case, other, names)
    if subtitles:
        _draw_subtitles(below[-1], subtitles, case)
    for axes in below[:-1]:
        axes.tick_params(axis="x", labelbottom=False)
    _entitle(figure.axes[0], case, fontsize=11, fontweight="bold")
    return figure


def draw_lanes(axes: Any, lanes: Sequence[Lane], length: float) -> None:
    """Windows as bars from 0 to ``length`` seconds; what lies outside the video is drawn beyond a line."""
    bounds = [bound for lane in lanes for window in lane.windows for bound in window]
    low, high = min(0.0, *bounds, 0.0), max(length, *bounds, 0.0)
    margin = 0.005 * (high - low)
    axes.axvspan(0, length, color=GRID, alpha=0.35, linewidth=0)
    for row, lane in enumerate(lanes):
        for rank, (start, end) in reversed(list(enumerate(lane.windows))):
            strong = rank == 0 or lane.equal
            look: dict[str, Any] = {"color": lane.colour, "linewidth": 0}
            if end < start:
                look = {"facecolor": "white", "edgecolor": lane.colour, "hatch": "////", "linewidth": 0.8}
            place = (row, max(abs(end - start), margin / 2), 0.62 if strong else 0.34, min(start, end))
            axes.barh(*place, alpha=0.9 if strong else 0.3, **look)
        if lane.note:
            spot = ("axes fraction", "data")
            axes.annotate(lane.note, (1.01, row), xycoords=spot, va="center", fontsize=8.5, color=INK)
        if not lane.windows:
            axes.text(length / 2, row, "no window", ha="center", va="center", fontsize=8.5, color=FAINT)
    if high > length:
        axes.axvline(length, color=FAINT, linewidth=1, linestyle=":")
    dress(axes, grid="")
    axes.set_yticks(range(len(lanes)), [lane.name for lane in lanes])
    axes.tick_params(axis="y", labelcolor=INK, length=0, labelsize=10)
    axes.set_ylim(len(lanes) - 0.45, -0.55)
    axes.set_xlim(low - margin, high + margin)
    axes.spines["left"].set_visible(False)
    _seconds(axes)


def _mark_frames(axes: Any, lanes: Sequence[Lane], strips: Sequence[Strip]) -> None:
    """Dots on the bars where the frames above were taken."""
    rows = {lane.name: row for row, lane in enumerate(lanes)}
    for strip in strips:
        if strip.name in rows:
            row = [rows[strip.name]] * len(strip.times)
            axes.plot(strip.times, row, "o", color="white", markersize=4, markeredgecolor=INK, markeredgewidth=0.5)


def _draw_curves(axes: Any, case: Case, other: Case | None, names: tuple[str, str]) -> None:
    dress(axes, y="score")
    for start, end in case.truth:
        axes.axvspan(start, end, color=TRUTH, alpha=0.1, linewidth=0)
    curves = [(names[1], EARLIER, other.scores if other else None), (names[0], PREDICTED, case.scores)]
    drawn = [(name, colour, curve) for name, colour, curve in curves if curve is not None]
    for name, colour, curve in drawn:
        axes.plot(curve.times, curve.values, color=colour, linewidth=1.8, label=name)
    if drawn:
        legend(axes, loc="lower left", bbox_to_anchor=(-0.01, 0.94), ncols=2)
    if case.saliency is not None:
        rated = axes.twinx() if drawn else axes
        rated.step(case.saliency.times, case.saliency.values, where="mid", color=TRUTH, linewidth=1.4)
        dress(rated, y="saliency, 0 to 4", grid="")
        rated.set_ylim(0, 4.2)
        rated.yaxis.label.set_color(TRUTH)
    _seconds(axes)


def _draw_subtitles(axes: Any, subtitles: Sequence[Subtitle], case: Case) -> None:
    """Lines as boxes with as much of their text as fits; those that overlap lie below each other."""
    free: list[float] = []
    rows = []
    for line in subtitles:
        row = next((number for number, end in enumerate(free) if end <= line.start), len(free))
        free[row : row + 1] = [line.end]
        rows.append(row)
    for line, row in zip(subtitles, rows, strict=True):
        true = any(line.start < end and line.end > start for start, end in case.truth)
        axes.barh(row, line.end - line.start, 0.86, line.start, color=TRUTH if true else OTHER, alpha=0.22, linewidth=0)
        room = int((line.end - line.start) / case.length * 0.87 * _WIDTH / _CHAR_INCH) - 1
        if room >= 5:
            told = _wrapped(line.text, room, max(1, 4 // len(free)))
            look = {"va": "center", "fontsize": 7.5, "color": INK, "linespacing": 1.15, "clip_on": True}
            axes.text(line.start + 0.004 * case.length, row, told, **look)
    dress(axes, grid="")
    axes.set_yticks([(len(free) - 1) / 2], ["subtitles"])
    axes.tick_params(axis="y", labelcolor=INK, length=0, labelsize=10)
    axes.set_ylim(len(free) - 0.5, -0.5)
    axes.spines["left"].set_visible(False)
    _seconds(axes)


def _wrapped(text: str, width: int, lines: int) -> str:
    filled = textwrap.fill(" ".join(text.split()), width, max_lines=lines, placeholder="…")
    return literal(filled)


def _seconds(axes: Any) -> None:
    axes.xaxis.set_major_formatter(lambda value, _: clock(value))
    axes.tick_params(axis="x", labelsize=8.5)


def _entitle(axes: Any, case: Case, **font: Any) -> None:
    """The query at the left, where it comes from at the right."""
    said = literal(f"“{clipped(case.query, 84)}”") if case.query else ""
    axes.set_title(said, loc="left", color=INK, pad=6, **{"fontsize": 9.5, **font})
    place = literal(clipped(f"{case.id} · {Path(case.video).name}", 52))
    axes.set_title(place, loc="right", fontsize=8.5, color=FAINT, pad=6)


def _verdict(case: Case) -> str:
    state = case.state()
    more = len(case.windows) - _MOST_WINDOWS
    overlap = f"IoU {case.iou:.2f}" + (f", {more} more" if more > 0 else "")
    return {"fine": overlap, "past the end": f"{overlap}, {state}", "before the start": f"{overlap}, {state}"}.get(
        state, state
    )
