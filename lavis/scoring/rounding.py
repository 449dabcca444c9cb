"""Figures as the field's evaluators print them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import SupportsFloat

import numpy as np

from lavis.scoring.windows.overlap import THRESHOLDS
from lavis.scoring.windows.ragged import Array, Index


def shortened(names: Sequence[object], limit: int = 5) -> str:
    """The first names and how many more there are, for messages."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(map(str, names[:limit])) + more


def id_order(ids: Sequence[str]) -> Index:
    """Numbers of the queries by id, numerals by their value.

    Sums of floats depend on the order of their terms, enough to turn a half up or down where a mean is rounded; taken
    in this order, figures do not depend on the order of rows.
    """
    return np.array(sorted(range(len(ids)), key=lambda number: (len(ids[number]), ids[number])), dtype=np.int64)


def two_decimals(value: SupportsFloat) -> float:
    """``value`` as the field's evaluators print it: rounded by formatting, which ``round`` does not always equal."""
    return float(f"{float(value):.2f}")


def percent_mean(values: Array) -> float:
    """The mean of ``[Q]`` in percent, two decimals; the sum is exact, so the order of queries does not matter."""
    return two_decimals(100 * math.fsum(values) / len(values))


def recall_by_threshold(ious: Array, thresholds: Sequence[float] = THRESHOLDS) -> dict[str, float]:
    """Share of overlaps ``[Q]`` from each threshold on, in percent, two decimals."""
    return {str(level): two_decimals(np.mean(ious >= level) * 100) for level in thresholds}


def mean_by_threshold(precisions: Array, thresholds: Sequence[float] = THRESHOLDS) -> dict[str, float]:
    """``[Q, T]`` average precisions as percent by threshold, and their ``average``; two decimals."""
    means = precisions.mean(0)
    return {
        **{str(level): two_decimals(100 * value) for level, value in zip(thresholds, means, strict=True)},
        "average": two_decimals(100 * np.mean(means)),
    }
