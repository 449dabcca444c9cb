"""Overlap of windows, greedy matching and average precision, over all queries at once, in float64.

Source of the definitions: the evaluation of ActivityNet detection and of Moment-DETR (jayleicn/moment_detr), which go
back to the VOC development kit; CALCE and MR.BLIP use variants of them. Where these loop over queries, predictions,
thresholds and truths, this loops over the rank of a prediction only. Sums are taken in the same order, so the figures
are equal to the last bit.

Differs: the overlap of two windows without length is 0, not "not a number"; equal overlaps are decided by position
(the later truth first), where the originals leave it to an unstable sort.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Windows = Sequence[Sequence[float]]

THRESHOLDS = [float(f"{t:.2f}") for t in np.linspace(0.5, 0.95, 10)]
"""IoU thresholds 0.5, 0.55 ... 0.95, as the field's evaluators round them."""

_MAX_CELLS = 2_000_000


def overlap(windows: Array, others: Array) -> Array:
    """Intersection over union of windows ``[..., 2]``, broadcast; 0 where the union has no length."""
    shared = np.minimum(windows[..., 1], others[..., 1]) - np.maximum(windows[..., 0], others[..., 0])
    shared = np.clip(shared, 0, None)
    union = (windows[..., 1] - windows[..., 0]) + (others[..., 1] - others[..., 0]) - shared
    ious: Array = np.divide(shared, union, out=np.zeros_like(union), where=union != 0)
    return ious


def hull_overlap(windows: Array, others: Array) -> Array:
    """Intersection over the smallest window that holds both, of windows ``[N, 2]`` taken in pairs."""
    shared = np.minimum(windows[:, 1], others[:, 1]) - np.maximum(windows[:, 0], others[:, 0])
    shared = np.maximum(0, shared)
    hull = np.maximum(windows[:, 1], others[:, 1]) - np.minimum(windows[:, 0], others[:, 0])
    ious: Array = np.divide(shared, hull, out=np.zeros_like(shared), where=hull != 0)
    return ious


def top1_overlap(predictions: Sequence[Windows], truths: Sequence[Windows]) -> Array:
    """IoU of each query's first prediction with the truth it overlaps most (of equals the first).

    Args:
        predictions: windows of each query; an empty list counts as 0.
        truths: at least one window for each query.

    Returns:
        ``[Q]``, in [0, 1].
    """
    if not predictions:
        return np.zeros(0)
    first = np.array([p[0][:2] if len(p) else (-1, -1) for p in predictions], dtype=np.float64)
    padded, real = pad(truths)
    ious = np.where(real, overlap(first[:, None], padded), -np.inf)
    best = padded[np.arange(len(first)), ious.argmax(axis=1)]
    found = np.array([len(p) > 0 for p in predictions])
    return np.where(found, hull_overlap(first, best), 0.0)


def average_precisions(
    predictions: Sequence[Windows], truths: Sequence[Windows], thresholds: Sequence[float] = THRESHOLDS
) -> Array:
    """Average precision of each query's ranked windows.

    Args:
        predictions: windows of each query, best first.
        truths: at least one window for each query.
        thresholds: IoUs from which a prediction counts as found, above 0.

    Returns:
        ``[Q, T]``, in [0, 1].
    """
    precisions = np.zeros((len(predictions), len(thresholds)))
    for chunk in _chunks(predictions, truths, len(thresholds)):
        ranked, is_ranked = pad([predictions[i] for i in chunk])
        padded, real = pad([truths[i] for i in chunk])
        hits = match(ranked, padded, real, thresholds) & is_ranked[..., None]
        precisions[chunk] = interpolated_precision(hits, is_ranked.sum(axis=1), real.sum(axis=1))
    return precisions


def match(ranked: Array, truths: Array, real: NDArray[np.bool_], thresholds: Sequence[float]) -> NDArray[np.bool_]:
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


def interpolated_precision(
    hits: NDArray[np.bool_], num_ranked: NDArray[np.int64], num_truths: NDArray[np.int64]
) -> Array:
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
    # NumPy adds eight and more numbers in another order than one after the other; the originals sum with it.
    full = recall[:, -1] == 1
    for query, level in zip(*np.nonzero(hits.sum(axis=1) + ~full >= 8), strict=True):
        steps = terms[query, hits[query, :, level], level]
        area[query, level] = np.sum(steps if full[query, level] else np.append(steps, 0.0))
    return area


def pad(windows: Sequence[Windows]) -> tuple[Array, NDArray[np.bool_]]:
    """Lists of windows as one array ``[Q, N, 2]``, and ``[Q, N]``, true where a window is one of the list."""
    counts = np.array([len(w) for w in windows], dtype=np.int64)
    real = np.arange(int(counts.max(initial=0)))[None] < counts[:, None]
    padded = np.zeros((*real.shape, 2))
    if real.any():
        padded[real] = np.array([w[:2] for row in windows for w in row], dtype=np.float64)
    return padded, real


def _chunks(
    predictions: Sequence[Windows], truths: Sequence[Windows], num_thresholds: int
) -> Iterator[NDArray[np.int64]]:
    """Queries of similar size together, few enough that the padded arrays stay small."""
    sizes = np.array([max(len(p), len(t), 1) for p, t in zip(predictions, truths, strict=True)], dtype=np.int64)
    order = np.argsort(sizes, kind="stable")
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and (stop + 1 - start) * sizes[order[stop]] * num_thresholds <= _MAX_CELLS:
            stop += 1
        yield order[start:stop]
        start = stop
