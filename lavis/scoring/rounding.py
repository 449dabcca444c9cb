"""Figures as the field's evaluators print them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import SupportsFloat

import numpy as np

from lavis.scoring.overlap import THRESHOLDS
from lavis.scoring.ragged import Array


def shortened(names: Sequence[object], limit: int = 5) -> str:
    """The first names and how many more there are, for messages."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(map(str, names[:limit])) + more


def two_decimals(value: SupportsFloat) -> float:
    """``value`` as the field's evaluators print it: rounded by formatting, which ``round`` does not always equal."""
    return float(f"{float(value):.2f}")


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
