"""Plots over all queries of a file: figures with intervals, faults, overlaps, and windows against the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lavis.report.grounding.cases import STATES, Case, Span, iou
from lavis.report.grounding.style import (
    BAD,
    EARLIER,
    FAINT,
    INK,
    OTHER,
    PREDICTED,
    TRUTH,
    bounds,
    clipped,
    dress,
    legend,
    new_figure,
    nothing,
)
from lavis.scoring.base import Array
from lavis.scoring.score_report import ScoreReport, shown, span

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEVELS = np.linspace(0.0, 1.0, 101)
_DASHES = ("--", ":", "-.")
_BINS = 5


def figures_plot(report: ScoreReport, most: int = 16) -> Figure:
    """The headline figures as dots, with their intervals as lines where the report has any.

    Args:
        report: of a scoring.
        most: figures to show.
    """
    named = [(name, value) for name, value in report.headline.items() if value == value][:most]
    figure = new_figure(8.2, 0.75 + 0.3 * max(len(named), 1))
    axes = figure.subplots()
    if not named:
        nothing(axes, "no figure has a value")
        return figure
    for row, (name, value) in enumerate(named):
        interval = report.intervals.get(name)
        if interval is not None:
            axes.plot(interval, [row, row], color=PREDICTED, linewidth=2.2, alpha=0.45, solid_capstyle="round")
        axes.plot([value], [row], "o", color=PREDICTED, markersize=6)
        told = shown(value) + (f"   ({span(interval, value)})" if interval is not None else "")
        axes.annotate(
            told, (1.02, row), xycoords=("axes fraction", "data"), va="center", fontsize=9, color=INK, clip_on=False
        )
    axes.set_yticks(range(len(named)), [name for name, _ in named])
    axes.set_ylim(len(named) - 0.4, -0.6)
    axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
    subject = "figures and their 95 % intervals" if report.intervals else "figures"
    dress(axes, f"{report.protocol}: {subject}", grid="x")
    axes.tick_params(axis="y", labelcolor=INK, length=0)
    return figure


def states_plot(states: Mapping[str, int]) -> Figure:
    """How many first windows are fine and how many have which fault.

    Args:
        states: as ``GroundingCheck.states`` gives them.
    """
    total = max(sum(states.values()), 1)
    figure = new_figure(8.2, 0.7 + 0.32 * len(states))
    axes = dress(figure.subplots(), "What the answers are", "queries", grid="x")
    for row, (state, count) in enumerate(states.items()):
        axes.barh(row, count, height=0.62, color=TRUTH if state == "fine" else BAD, alpha=0.85)
        told = f"{count:,}  ({100 * count / total:.1f} %)" if count else "0"
        axes.annotate(told, (count, row), (5, 0), textcoords="offset points", va="center", fontsize=9, color=INK)
    axes.set_yticks(range(len(states)), [f"{state}: {STATES[state]}" for state in states])
    axes.set_ylim(len(states) - 0.4, -0.6)
    axes.set_xlim(0, 1.16 * max(*states.values(), 1))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.tick_params(axis="y", labelcolor=INK, length=0)
    return figure


def overlaps_plot(ious: Sequence[float], baselines: Mapping[str, Sequence[float]] | None = None) -> Figure:
    """Histogram of IoU, and recall as a function of the IoU asked for, beside that of naive answers.

    Args:
        ious: of all queries, in [0, 1], at least one.
        baselines: name to IoUs of the same queries.
    """
    figure = new_figure(10.4, 3.9)
    left, right = figure.subplots(1, 2)
    values, mean = np.asarray(ious), float(np.mean(ious))
    dress(left, "Overlap of each query", "IoU of the first window", "queries")
    missed = int((values == 0).sum())
    counts, edges = np.histogram(values[values > 0], bins=20, range=(0, 1))
    left.bar(edges[:-1] + 0.025, counts, 0.046, bottom=[missed] + 19 * [0], color=PREDICTED, alpha=0.85)
    counts[0] += missed
    if missed:
        left.bar(0.025, missed, 0.046, color=BAD, alpha=0.85)
        told = f"{missed:,} of {len(values):,} miss entirely"
        behind = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        spot = {"xytext": (0, 5), "textcoords": "offset points", "zorder": 5}
        left.annotate(told, (0.004, counts[0]), fontsize=9, color=BAD, bbox=behind, **spot)
    left.axvline(mean, color=INK, linewidth=1.2, linestyle="--")
    left.annotate(
        f"mean {mean:.3f}", (mean, 1), (5, -3), ("data", "axes fraction"), "offset points", color=INK, fontsize=9,
        va="top",
    )  # fmt: skip
    left.set_xlim(0, 1)
    left.set_ylim(0, 1.18 * max(int(counts.max()), 1))
    left.yaxis.get_major_locator().set_params(integer=True)
    dress(right, "Recall by the overlap asked for", "IoU asked for", "queries found, %", grid="both")
    for number, (name, others) in enumerate((baselines or {}).items()):
        style = {"linestyle": _DASHES[number % len(_DASHES)], "color": OTHER, "linewidth": 1.6}
        right.plot(_LEVELS, _recall(others), label=f"{name} (mean IoU {np.mean(others):.2f})", **style)
    right.plot(_LEVELS, _recall(ious), color=PREDICTED, linewidth=2.4, label=f"predictions (mean IoU {mean:.2f})")
    right.set_xlim(0, 1)
    right.set_ylim(0, 100)
    _shared_legend(figure, right)
    return figure


def _recall(ious: Sequence[float]) -> Array:
    found = np.asarray(ious, dtype=np.float64)[None]
    hits: Array = 100 * ((found >= _LEVELS[:, None]) & (found > 0)).mean(axis=1)
    return hits


def bounds_plot(cases: Sequence[Case]) -> Figure:
    """Predicted against true start, end and length; each dot is a query, its colour the IoU.

    A query with several true windows is compared with the one its first predicted window overlaps most.
    """
    drawn = [(case.nearest, case.first, case.iou) for case in cases if case.first is not None]
    figure = new_figure(11.4, 4.0)
    panels = figure.subplots(1, 3)
    parts: dict[str, Callable[[Span], float]] = {
        "Start": lambda window: window[0],
        "End": lambda window: window[1],
        "Length": lambda window: window[1] - window[0],
    }
    dots: Any = None
    for axes, (name, part) in zip(panels, parts.items(), strict=True):
        if not drawn:
            nothing(axes, "no query has a window")
            continue
        true = [part(window) for window, _, _ in drawn]
        predicted = [part(window) for _, window, _ in drawn]
        low, high = bounds([*true, *predicted])
        axes.plot([low, high], [low, high], color=FAINT, linewidth=1, linestyle="--", zorder=1)
        dots = axes.scatter(
            true, predicted, c=[overlap for _, _, overlap in drawn], cmap="viridis", vmin=0, vmax=1,
            s=_size(len(drawn)), alpha=0.8, linewidths=0.3, edgecolors="white", zorder=2,
        )  # fmt: skip
        gap = float(np.median(np.asarray(predicted) - np.asarray(true)))
        dress(axes, name, "true, s", "predicted, s", grid="both")
        told = f"median difference {gap:+.1f} s".replace("-", "−")
        axes.set_title(told, loc="right", fontsize=8.5, color=FAINT, pad=8)
        axes.set_xlim(low, high)
        axes.set_ylim(low, high)
        axes.set_aspect("equal")
    if dots is not None:
        bar = figure.colorbar(dots, ax=panels, shrink=0.85, pad=0.015)
        bar.set_label("IoU", color=FAINT, fontsize=9.5)
        bar.ax.tick_params(labelsize=9, colors=FAINT)
        bar.outline.set_visible(False)
    return figure


def conditions_plot(cases: Sequence[Case]) -> Figure:
    """IoU by the length of the true window, by its share of the video and by its place in the video.

    Dots are queries; lines are the means of five groups of equally many, with 1.96 standard errors to either side.
    """
    figure = new_figure(11.4, 3.7)
    panels = figure.subplots(1, 3, sharey=True)
    spans = [case.nearest for case in cases]
    lengths = [end - start for start, end in spans]
    parts = {
        "By length of the moment": (lengths, "true length, s"),
        "By share of the video": (
            [100 * n / case.length for n, case in zip(lengths, cases, strict=True)],
            "true length, %",
        ),
        "By place in the video": (
            [100 * (start + end) / 2 / case.length for (start, end), case in zip(spans, cases, strict=True)],
            "middle of the true window, %",
        ),
    }
    ious = np.asarray([case.iou for case in cases])
    for axes, (title, (values, label)) in zip(panels, parts.items(), strict=True):
        dress(axes, title, label, "IoU" if axes is panels[0] else "")
        _groups(axes, np.asarray(values), ious)
        axes.set_ylim(-0.03, 1.03)
    _shared_legend(figure, panels[0])
    return figure


def _shared_legend(figure: Figure, axes: Any) -> None:
    """What the lines of some axes mean, below all of them, where it hides none."""
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower right", ncols=2, frameon=False, fontsize=9, labelcolor=INK)


def _groups(axes: Any, values: Array, ious: Array) -> None:
    axes.scatter(values, ious, s=_size(len(values)), color=PREDICTED, alpha=0.3, linewidths=0)
    order = np.argsort(values, kind="stable")
    for number, group in enumerate(np.array_split(order, min(_BINS, len(values)))):
        mean = float(ious[group].mean())
        error = 1.96 * float(ious[group].std(ddof=1)) / len(group) ** 0.5 if len(group) > 1 else 0.0
        low, high = float(values[group].min()), float(values[group].max())
        name = "mean of a fifth of the queries, and its 95 % interval" if number == 0 else None
        axes.fill_between([low, high], mean - error, mean + error, color=EARLIER, alpha=0.25, linewidth=0)
        axes.plot([low, high], [mean, mean], color="#a85f00", linewidth=2.4, solid_capstyle="round", label=name)


def coverage_plot(cases: Sequence[Case], parts: int = 100) -> Figure:
    """Which part of the video windows cover: a model that ignores it shows a shape of its own here.

    Args:
        cases: queries.
        parts: equal parts of each video, at least 1.
    """
    figure = new_figure(8.2, 3.3)
    axes = dress(
        figure.subplots(), "Where the windows lie", "part of the video, %", "queries whose window covers it, %"
    )
    middles = (np.arange(parts) + 0.5) / parts
    rows = {
        "truth": (TRUTH, [[(a / c.length, b / c.length) for a, b in c.truth] for c in cases]),
        "predictions (first window)": (
            PREDICTED,
            [[(c.first[0] / c.length, c.first[1] / c.length)] if c.first else [] for c in cases],
        ),
    }
    for name, (colour, windows) in rows.items():
        covered = [
            np.any([(start <= middles) & (middles <= end) for start, end in each] or [np.zeros(parts, bool)], axis=0)
            for each in windows
        ]
        share = 100 * np.mean(covered, axis=0)
        axes.plot(100 * middles, share, color=colour, linewidth=2.2, label=name)
        axes.fill_between(100 * middles, 0, share, color=colour, alpha=0.1, linewidth=0)
    axes.set_xlim(0, 100)
    axes.set_ylim(bottom=0)
    legend(axes, loc="best")
    return figure


def rounds_plot(cases: Sequence[Case]) -> Figure:
    """Mean IoU and recall after each round, for systems that narrow a window down; queries that ended keep theirs.

    Raises:
        ValueError: if no query has rounds.
    """
    most = max((len(case.rounds) for case in cases), default=0)
    if not most:
        raise ValueError("no query has rounds: this plot is for protocol recursive_grounding")
    asked = [case for case in cases if case.rounds]
    table = np.array(
        [
            [max(iou(case.rounds[min(turn, len(case.rounds) - 1)], true) for true in case.truth) for case in asked]
            for turn in range(most)
        ]
    )
    turns = np.arange(1, most + 1)
    figure = new_figure(8.2, 3.4)
    axes = dress(figure.subplots(), "Round by round", "rounds", "mean IoU and recall, %")
    lines = {"mean IoU": table, "IoU > 0.3": table > 0.3, "IoU > 0.5": table > 0.5, "IoU > 0.7": table > 0.7}
    for (name, values), colour in zip(lines.items(), (INK, PREDICTED, EARLIER, TRUTH), strict=True):
        axes.plot(turns, 100 * values.mean(axis=1), "o-", color=colour, linewidth=2, label=name)
    axes.set_xticks(turns)
    axes.set_ylim(bottom=0)
    legend(axes, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def worst_and_best(cases: Sequence[Case], count: int) -> tuple[list[Case], list[Case]]:
    """The queries with the lowest and with the highest IoU, each at most ``count``, and none in both."""
    ordered = sorted(cases, key=lambda case: (case.iou, case.id))
    half = min(count, (len(ordered) + 1) // 2)
    return ordered[:half], ordered[::-1][: min(count, len(ordered) - half)]


def cases_table(cases: Sequence[Case], slack_s: float = 0.0) -> list[list[str]]:
    """Rows of text, the head first: id, IoU, state, true and predicted window, query."""
    rows = [["id", "IoU", "state", "true", "predicted", "query"]]
    for case in cases:
        first = "-" if case.first is None else _told(case.first)
        true = _told(case.nearest) + (f" (+{len(case.truth) - 1})" if len(case.truth) > 1 else "")
        rows.append([case.id, f"{case.iou:.2f}", case.state(slack_s), true, first, clipped(case.query, 60)])
    return rows


def _told(window: tuple[float, float]) -> str:
    return f"{window[0]:g} to {window[1]:g} s"


def _size(count: int) -> float:
    """Area of a dot: smaller where there are many."""
    return float(np.clip(2400 / max(count, 1), 6, 42))
