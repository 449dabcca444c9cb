"""Colours and axes that all plots of windows share; the only place that imports matplotlib.

Figures are made without pyplot, so nothing keeps them alive and no screen is needed. Colours are those of the HTML
pages (truth green, first stage orange, last stage blue).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRUTH, PREDICTED, EARLIER, OTHER = "#12805c", "#2b5fd9", "#e08a1e", "#8a8f98"
INK, FAINT, GRID = "#22262e", "#6b717c", "#e4e7ec"
GOOD, BAD = "#12805c", "#c0392b"
DPI = 110


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches.

    Raises:
        ImportError: if matplotlib is not installed; names the extra.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"plots need matplotlib ({error}): pip install 'lavis[notebook]'") from error
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")


def dress(axes: Any, title: str = "", x: str = "", y: str = "", grid: str = "y") -> Any:
    """Axes with quiet frame and grid; gives them back.

    Args:
        axes: of a figure.
        title: to the left, above.
        x: label.
        y: label.
        grid: ``x``, ``y``, ``both``, or empty for none.
    """
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#b8bdc6")
    axes.tick_params(colors=FAINT, labelsize=9, length=3)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid, color=GRID, linewidth=0.8)
    if title:
        axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK, pad=8)
    axes.set_xlabel(x, fontsize=9.5, color=FAINT)
    axes.set_ylabel(y, fontsize=9.5, color=FAINT)
    return axes


def legend(axes: Any, **place: Any) -> None:
    """A legend without a frame."""
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, **place)


def nothing(axes: Any, reason: str) -> None:
    """Says in empty axes why there is nothing to see."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, reason, ha="center", va="center", color=FAINT, fontsize=10, transform=axes.transAxes)


def clipped(text: str, most: int) -> str:
    """A text in one line of at most so many characters, with an ellipsis where it was cut."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: max(most - 1, 1)].rstrip() + "…"


def literal(text: str) -> str:
    """A text as matplotlib shows it: two dollar signs would make a formula of what is between them."""
    return text.replace("$", r"\$")


def clock(seconds: float) -> str:
    """``7.5 s``, from a minute on ``1:07.5``, from an hour on ``1:02:03``; a dash for "not a number"."""
    if not math.isfinite(seconds):
        return "–"
    sign, size = ("−" if seconds < 0 else ""), abs(seconds)
    if size < 59.95:
        return f"{sign}{size:.1f}".removesuffix(".0") + " s"
    minutes, rest = divmod(round(size, 1), 60)
    if minutes < 60:
        whole, tenth = f"{rest:04.1f}".split(".")
        return f"{sign}{int(minutes)}:{whole}" + (f".{tenth}" if tenth != "0" else "")
    return f"{sign}{int(minutes // 60)}:{int(minutes % 60):02d}:{int(rest):02d}"


def bounds(values: Sequence[float]) -> tuple[float, float]:
    """From the least to the largest finite value with a margin; 0 to 1 without any."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    margin = 0.04 * (high - low) or 0.5
    return low - margin, high + margin
