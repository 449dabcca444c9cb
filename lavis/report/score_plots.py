"""Small plots of a page of scores as inline SVG: intervals on a common scale, and histograms."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from lavis.report.markup import element, joined, text
from lavis.scoring.score_report import shown, span

_BINS = 20


@dataclass(frozen=True, slots=True)
class Scale:
    """What a row of plots shares: the values at its left and right end."""

    low: float
    high: float

    @classmethod
    def over(cls, values: Iterable[float]) -> Scale:
        """From the least value to the largest, widened to round numbers."""
        finite = [value for value in values if math.isfinite(value)]
        low, high = min(finite, default=0.0), max(finite, default=1.0)
        step = 10 ** math.floor(math.log10(max(high - low, 1e-9)))
        return cls(math.floor(low / step) * step, max(math.ceil(high / step) * step, low + step))

    @classmethod
    def around_zero(cls, values: Iterable[float]) -> Scale:
        """As far below zero as above, so that the middle means "no difference"."""
        widest = cls.over([0.0, *(abs(value) for value in values)]).high
        return cls(-widest, widest)

    def at(self, value: float) -> str:
        """Where a value lies, in percent of the width."""
        share = (value - self.low) / (self.high - self.low)
        return f"{100 * min(max(share, 0.0), 1.0):.2f}%"

    def label(self) -> str:
        """Head of a column of plots."""
        return f"{shown(self.low)} to {shown(self.high)}"


def whisker(scale: Scale, value: float, interval: tuple[float, float] | None, zero: bool = False) -> str:
    """A value as a dot and its interval as a line, on a scale.

    Args:
        scale: shared by the column.
        value: the dot; nothing is drawn for "not a number".
        interval: the line, or ``None``.
        zero: mark where zero is.
    """
    if not math.isfinite(value):
        return ""
    marks = [element("line", x1="0", x2="100%", y1="50%", y2="50%", class_="base")]
    if zero:
        marks.append(element("line", x1=scale.at(0.0), x2=scale.at(0.0), y1="10%", y2="90%", class_="zero"))
    if interval is not None:
        low, high = (scale.at(bound) for bound in interval)
        marks.append(element("line", x1=low, x2=high, y1="50%", y2="50%", class_="range"))
        marks += [element("line", x1=end, x2=end, y1="28%", y2="72%", class_="range") for end in (low, high)]
    marks.append(element("circle", cx=scale.at(value), cy="50%", r="3.5"))
    said = f"{shown(value)}{f', 95 % interval {span(interval)}' if interval is not None else ''}"
    return element("svg", *marks, class_="whisker", role="img", aria_label=said)


def histogram(name: str, values: Sequence[float]) -> str:
    """How many queries lie where, in bins of equal width.

    Args:
        name: of the figure.
        values: finite, at least one.
    """
    scale = Scale.over([0.0, *values])
    counts, edges = np.histogram(values, bins=_BINS, range=(scale.low, scale.high))
    tallest = int(counts.max())
    bars = []
    for number, count in enumerate(counts.tolist()):
        height = 100 * count / tallest
        told = f"{shown(edges[number])} to {shown(edges[number + 1])}: {count:,} queries"
        bar = element("title", text(told))
        place = {"x": f"{100 * number / _BINS:.2f}%", "y": f"{100 - height:.2f}%", "height": f"{height:.2f}%"}
        bars.append(element("rect", bar, width=f"{100 / _BINS - 0.6:.2f}%", **place))
    mean = float(np.mean(values))
    bars.append(element("line", x1=scale.at(mean), x2=scale.at(mean), y1="0", y2="100%", class_="mean"))
    said = f"Histogram of {name} over {len(values):,} queries; mean {shown(mean)}"
    return element(
        "figure",
        element("h3", text(name)),
        element("p", f"{len(values):,} queries, mean {shown(mean)}; the tallest bar is {tallest:,}", class_="note"),
        element("svg", joined(bars), role="img", aria_label=said, class_="histogram"),
        element("p", element("span", shown(scale.low)), element("span", shown(scale.high)), class_="ends"),
        class_="chart",
    )
