"""Greedy matching and average precision of ranked windows, over all queries at once.

Source of the definitions: the evaluation of ActivityNet detection and of Moment-DETR (jayleicn/moment_detr), which go
back to the VOC development kit; CALCE and MR.BLIP use variants of them. Where these loop over queries, predictions,
thresholds and truths, this loops over the rank of a prediction only. Sums are taken in the same order, so the figures
are equal to the last bit.

Differs: equal overlaps are decided by position (the later truth first), where the originals leave it to an unstable
sort.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lavis.scoring.windows.overlap import THRESHOLDS, overlap
from lavis.scoring.windows.ragged import Array, Index, Lists, Mask, Ragged, chunks

_PAIRWISE = 8
"""From so many numbers on NumPy does not add them one after the other."""


def average_precisions(predictions: Lists, truths: Lists, thresholds: Sequence[float] = THRESHOLDS) -> Array:
    """Average precision of each query's ranked windows.

    Args:
        predictions: windows of each query, best first.
        truths: at least one window for each query.
        thresholds: IoUs from which a prediction counts as found, above 0.

    Returns:
        ``[Q, T]``, in [0, 1].
    """
    given, real = Ragged.of(predictions), Ragged.of(truths)
    precisions = np.zeros((len(given), len(thresholds)))
    for chunk in chunks(np.maximum(given.counts, real.counts), len(thresholds)):
        ranked, is_ranked = given.select(chunk).padded()
        padded, is_real = real.select(chunk).padded()
        hits = match(ranked, padded, is_real, thresholds) & is_ranked[..., None]
        precisions[chunk] = interpolated_precision(hits, given.counts[chunk], real.counts[chunk])
    return precisions


def match(ranked: Array, truths: Array, real: Mask, thresholds: Sequence[float]) -> Mask:
    """Which predictions find a truth that no earlier one found: each takes the free truth it overlaps most.

    Args:
        ranked: predictions ``[Q, P, 2]``, best first.
        truths: ``[Q, G, 2]``.
        real: ``[Q, G]``, false at padding.
        thresholds: ``T`` IoUs above 0.

    Returns:
        ``[Q, P, T]``.
    """
    num_queries, num_ranks = ranked.shape[:2]
    limits = np.asarray(thresholds)[None, :, None]
    free = np.repeat(real[:, None], len(thresholds), axis=1)
    hits = np.zeros((num_queries, num_ranks, len(thresholds)), dtype=bool)
    last = truths.shape[1] - 1
    for rank in range(num_ranks):
        ious = overlap(ranked[:, rank, None], truths)[:, None]
        candidates = np.where(free & (ious >= limits), ious, -1.0)
        chosen = last - candidates[..., ::-1].argmax(axis=-1)
        query, level = np.nonzero(np.take_along_axis(candidates, chosen[..., None], axis=-1)[..., 0] >= 0)
        hits[query, rank, level] = True
        free[query, level, chosen[query, level]] = False
    return hits


def interpolated_precision(hits: Mask, num_ranked: Index, num_truths: Index) -> Array:
    """Area under the interpolated precision-recall curve (VOC 2011).

    Args:
        hits: ``[Q, P, T]``, false past the last prediction of a query.
        num_ranked: ``[Q]`` predictions of each query.
        num_truths: ``[Q]``, above 0.

    Returns:
        ``[Q, T]``.
    """
    if not hits.shape[1]:
        return np.zeros((hits.shape[0], hits.shape[2]))
    ranks = np.arange(1, hits.shape[1] + 1, dtype=np.float64)
    found = np.cumsum(hits, axis=1).astype(np.float64)
    precision = found / ranks[:, None]
    precision[ranks[None] > num_ranked[:, None]] = 0
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = found / num_truths[:, None, None]
    gain = np.diff(recall, axis=1, prepend=0.0)
    terms = np.where(hits, gain * precision, 0.0)
    area: Array = np.add.accumulate(terms, axis=1)[:, -1]
    _add_as_numpy(area, terms, hits, recall[:, -1] == 1)
    return area


def _add_as_numpy(area: Array, terms: Array, hits: Mask, full: Mask) -> None:
    """Sums of eight and more steps again, in the order in which NumPy adds them, for the originals sum with it.

    A curve that does not reach full recall has one more step, of height 0.
    """
    steps = hits.sum(axis=1)
    lengths = steps + ~full
    for length, reached in {(int(n), bool(f)) for n, f in zip(*_long(lengths, full), strict=True)}:
        query, level = np.nonzero((lengths == length) & (full == reached))
        marks = hits[query, :, level]
        values = np.zeros((len(query), length))
        values[:, : length - (not reached)] = terms[query, :, level][marks].reshape(len(query), -1)
        area[query, level] = values.sum(axis=1)


def _long(lengths: Index, full: Mask) -> tuple[Index, Mask]:
    chosen = lengths >= _PAIRWISE
    return lengths[chosen], full[chosen]
