"""Two files of predictions for the same queries, query by query: which got better, which got worse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lavis.report.grounding.cases import Case
from lavis.report.grounding.checks import GroundingCheck
from lavis.report.grounding.style import BAD, FAINT, GOOD, INK, PREDICTED, clipped, dress, new_figure, nothing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SAME = 0.005
"""Differences of IoU below it are none: times are annotated to the second or a tenth of it."""


@dataclass(frozen=True, slots=True)
class Change:
    """One query with both predictions."""

    before: Case
    after: Case

    @property
    def gain(self) -> float:
        """IoU after minus before, in [-1, 1]."""
        return self.after.iou - self.before.iou


def changes_between(before: GroundingCheck, after: GroundingCheck) -> list[Change]:
    """The queries of both, in the order of the truth.

    Raises:
        ValueError: if they share none.
    """
    earlier = {case.id: case for case in before.cases}
    found = [Change(earlier[case.id], case) for case in after.cases if case.id in earlier]
    if not found:
        raise ValueError("the two files of predictions share no query; were both scored with the same annotations?")
    return found


def counts(changes: Sequence[Change]) -> dict[str, int]:
    """How many queries got better, stayed (IoU within 0.005) and got worse."""
    gains = np.asarray([change.gain for change in changes])
    better, worse = int((gains > _SAME).sum()), int((gains < -_SAME).sum())
    return {"better": better, "same": len(gains) - better - worse, "worse": worse}


def ranked(changes: Sequence[Change], count: int) -> tuple[list[Change], list[Change]]:
    """Those that gained most and those that lost most, at most ``count`` each."""
    ordered = sorted(changes, key=lambda change: (-change.gain, change.after.id))
    better = [change for change in ordered if change.gain > _SAME]
    worse = [change for change in reversed(ordered) if change.gain < -_SAME]
    return better[:count], worse[:count]


def changes_plot(changes: Sequence[Change], names: tuple[str, str] = ("before", "after")) -> Figure:
    """IoU before against after, and the changes of all queries in order.

    Args:
        changes: at least one.
        names: of the two files.
    """
    figure = new_figure(10.6, 4.2)
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.35])
    if not changes:
        nothing(left, "no query")
        nothing(right, "")
        return figure
    gains = np.asarray([change.gain for change in changes])
    colours = np.where(gains > _SAME, GOOD, np.where(gains < -_SAME, BAD, FAINT))
    dress(left, "IoU of each query", names[0], names[1], grid="both")
    left.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle="--", zorder=1)
    left.scatter(
        [change.before.iou for change in changes], [change.after.iou for change in changes], c=colours.tolist(),
        s=float(np.clip(2400 / len(changes), 6, 42)), alpha=0.75, linewidths=0.3, edgecolors="white", zorder=2,
    )  # fmt: skip
    for side in (left.set_xlim, left.set_ylim):
        side(-0.03, 1.03)
    left.set_aspect("equal")
    order = np.argsort(-gains, kind="stable")
    dress(right, "Change of IoU, most gained first", "queries", f"{names[1]} − {names[0]}")
    right.bar(range(len(gains)), gains[order], width=1.0 if len(gains) > 120 else 0.82, color=colours[order])
    right.axhline(0, color=INK, linewidth=0.8)
    mean = float(gains.mean())
    right.axhline(mean, color=PREDICTED, linewidth=1.4, linestyle="--")
    found = counts(changes)
    told = ", ".join(f"{count:,} {kind}" for kind, count in found.items())
    right.annotate(
        f"{told}\nmean {mean:+.3f}".replace("-", "−"), (0.98, 0.97), xycoords="axes fraction", ha="right", va="top",
        fontsize=9.5, color=INK,
    )  # fmt: skip
    right.set_xlim(-0.7, len(gains) - 0.3)
    right.xaxis.get_major_locator().set_params(integer=True)
    return figure


def changes_table(changes: Sequence[Change]) -> list[list[str]]:
    """Rows of text, the head first: id, IoU of both, change, state of both, query."""
    rows = [["id", "before", "after", "change", "state", "query"]]
    for change in changes:
        states = list(dict.fromkeys([change.before.state(), change.after.state()]))
        ious = [f"{case.iou:.2f}" for case in (change.before, change.after)]
        query = clipped(change.after.query, 60)
        rows.append([change.after.id, *ious, f"{change.gain:+.2f}", " → ".join(states), query])
    return rows
