"""Figures of moment retrieval that one benchmark or one original computes in its own way.

Sources: DiDeMo (Hendricks et al., 2017; LisaAnne/LocalizingMoments, ``utils/eval.py``), Ego4D NLQ
(EGO4D/episodic-memory, ``NLQ/VSLNet/utils/evaluate_ego4d_nlq.py``), MR.BLIP's unused ``r1_and_mIoU``
(sudo-Boris/mr-Blip).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lavis.scoring.windows.overlap import hull_overlap, topk_overlap
from lavis.scoring.windows.ragged import Array, Lists, Ragged
from lavis.scoring.windows.truth_rows import TO_NEXT

_AGREED = 3
"""Of DiDeMo's four annotators the three that agree best with the prediction count."""


class DidemoValues(NamedTuple):
    """Of each query: the mean rank of the agreed annotations (infinite where one is not listed), and the mean IoU."""

    rank: Array
    iou: Array


def didemo(predictions: Lists, truths: Lists) -> DidemoValues:
    """DiDeMo's ranks and overlaps, counted in segments, both ends included.

    Differs: an annotation that the prediction does not list has an infinite rank, where the original raises.

    Args:
        predictions: pairs of segments of each query, best first.
        truths: a pair for each annotator, at least one for each query.
    """
    given, real = Ragged.of(predictions), Ragged.of(truths)
    annotations, is_real = real.padded()
    first, found = given.head(1).padded()
    ious = np.zeros(is_real.shape)
    if found.size:
        ious = hull_overlap(first + TO_NEXT, annotations + TO_NEXT) * found
    listed, is_listed = given.padded()
    ranks = np.full(is_real.shape, np.inf)
    for place in range(listed.shape[1] - 1, -1, -1):
        same = (listed[:, place, None] == annotations).all(axis=2) & is_listed[:, place, None]
        ranks = np.where(same, place + 1, ranks)
    return DidemoValues(
        _mean_of_first(np.sort(np.where(is_real, ranks, np.inf), axis=1), real),
        _mean_of_first(-np.sort(-np.where(is_real, ious, -np.inf), axis=1), real),
    )


def _mean_of_first(values: Array, real: Ragged) -> Array:
    """Mean of the first three of each row, or of all where there are fewer."""
    counts = np.minimum(real.counts, _AGREED)
    kept = np.arange(values.shape[1])[None] < counts[:, None]
    means: Array = np.where(kept, values, 0.0).sum(axis=1) / counts
    return means


def ego4d_hits(predictions: Lists, truths: Lists, thresholds: Sequence[float], limits: Sequence[int]) -> Array:
    """Whether any of the first windows overlaps the true one by *more* than a threshold, as Ego4D's script asks.

    Returns:
        ``[thresholds, limits, Q]`` of 0 and 1.
    """
    best = [topk_overlap(predictions, truths, limit, measure=hull_overlap) for limit in limits]
    return np.array([[values > threshold for values in best] for threshold in thresholds]).astype(np.float64)


def listed_recall(
    predictions: Lists, truths: Lists, readable: Sequence[bool], thresholds: Sequence[float] = (0.3, 0.5, 0.7)
) -> dict[str, Any]:
    """MR.BLIP's own figures, in fractions: the i-th predicted window is compared with the i-th true one.

    A truth without its counterpart counts as 0, further predictions are ignored, and unreadable answers
    (``[[-1, -1]]``) count as missed for recall, but not at all for mIoU.

    Returns:
        ``r1`` by threshold and ``r1_avg`` (averaged within a query first), ``mIoU``, ``invalid``.
    """
    given, real = Ragged.of(predictions), Ragged.of(truths)
    fine = np.asarray(readable, dtype=bool)
    place = np.arange(len(real.values)) - real.starts[real.owners]
    paired = place < given.counts[real.owners]
    ious = np.zeros(len(real.values))
    partners = given.values[(given.starts[real.owners] + place)[paired]]
    ious[paired] = hull_overlap(partners, real.values[paired])
    hits = (ious[:, None] >= np.asarray(thresholds)) & fine[real.owners][:, None]
    found = np.add.reduceat(hits.astype(np.float64), real.starts, axis=0) / real.counts[:, None]
    recall = {str(level): _sum(values) / len(real) for level, values in zip(thresholds, found.T, strict=True)}
    counted = ious[fine[real.owners]]
    return {
        "r1": recall,
        "r1_avg": sum(recall.values()) / len(recall),
        "mIoU": _sum(counted) / len(counted) if len(counted) else 0.0,
        "invalid": int((~fine).sum()),
    }


def _sum(values: Array) -> float:
    """One after the other, as the original adds; NumPy's own sum differs in the last digit."""
    return float(np.add.accumulate(values)[-1])
