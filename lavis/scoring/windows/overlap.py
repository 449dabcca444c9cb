"""Overlap of windows, over all queries at once, in float64.

Source of the definitions: the evaluation of ActivityNet detection and of Moment-DETR (jayleicn/moment_detr), which
CALCE, MR.BLIP, UniVTG and many more use in variants. Two overlaps are around: intersection over union, and intersection
over the smallest window that holds both (*hull*); they differ only for windows that lie apart, where both are 0.

Differs: the overlap of two windows without length is 0, not "not a number"; a window that ends before it begins
overlaps nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lavis.scoring.windows.ragged import Array, Index, Lists, Ragged, chunks

THRESHOLDS = [float(f"{t:.2f}") for t in np.linspace(0.5, 0.95, 10)]
"""IoU thresholds 0.5, 0.55 ... 0.95, as the field's evaluators round them."""

Windows = Sequence[Sequence[float]]


def overlap(windows: Array, others: Array) -> Array:
    """Intersection over union of windows ``[..., 2]``, broadcast; 0 where the union has no length."""
    shared = np.minimum(windows[..., 1], others[..., 1]) - np.maximum(windows[..., 0], others[..., 0])
    shared = np.clip(shared, 0, None)
    union = (windows[..., 1] - windows[..., 0]) + (others[..., 1] - others[..., 0]) - shared
    ious: Array = np.divide(shared, union, out=np.zeros_like(union), where=shared > 0)
    return ious


def hull_overlap(windows: Array, others: Array) -> Array:
    """Intersection over the smallest window that holds both, of windows ``[..., 2]``, broadcast."""
    shared = np.minimum(windows[..., 1], others[..., 1]) - np.maximum(windows[..., 0], others[..., 0])
    shared = np.clip(shared, 0, None)
    hull = np.maximum(windows[..., 1], others[..., 1]) - np.minimum(windows[..., 0], others[..., 0])
    ious: Array = np.divide(shared, hull, out=np.zeros_like(shared), where=shared > 0)
    return ious


def top1_overlap(predictions: Lists, truths: Lists) -> Array:
    """Hull overlap of each query's first window with the true one it overlaps most (of equals the first).

    Args:
        predictions: windows of each query, best first; a query without counts as 0.
        truths: at least one window for each query.

    Returns:
        ``[Q]``, in [0, 1].

    Raises:
        ValueError: if a query has no true window.
    """
    given, real = Ragged.of(predictions), Ragged.of(truths)
    _all_have_truth(real)
    if not len(given):
        return np.zeros(0)
    first = np.full((len(given), 2), -1.0)
    found = given.counts > 0
    first[found] = given.values[given.starts[found]]
    ious = overlap(first[real.owners], real.values)
    highest = np.maximum.reduceat(ious, real.starts)
    last = len(ious)
    places = np.where(ious == highest[real.owners], np.arange(last), last)
    best = real.values[np.minimum.reduceat(places, real.starts)]
    return np.where(found, hull_overlap(first, best), 0.0)


def topk_overlap(
    predictions: Lists, truths: Lists, limit: int | None = None, measure: Callable[[Array, Array], Array] = overlap
) -> Array:
    """The largest overlap of any of the first ``limit`` windows with any true one.

    Args:
        predictions: windows of each query, best first; a query without counts as 0.
        truths: at least one window for each query.
        limit: how many windows count; ``None`` takes all, which is what a perfect choice among them would reach.
        measure: ``overlap`` or ``hull_overlap``.

    Returns:
        ``[Q]``, in [0, 1]; recall at an IoU is the share of queries from it on.
    """
    given, real = Ragged.of(predictions), Ragged.of(truths)
    _all_have_truth(real)
    if limit is not None:
        given = given.head(limit)
    best = np.zeros(len(real))
    asked = np.nonzero(given.counts)[0]
    sizes = given.counts[asked] * real.counts[asked]
    for chosen in chunks(sizes, cells=4):
        rows = asked[chosen]
        mine, theirs = given.select(rows), real.select(rows)
        best[rows] = _largest(_pairs(mine, theirs, measure), sizes[chosen])
    return best


def _pairs(given: Ragged, real: Ragged, measure: Callable[[Array, Array], Array]) -> Array:
    """Overlap of every window with every true one of its query, query after query."""
    repeats = real.counts[given.owners]
    first = np.repeat(given.values, repeats, axis=0)
    within = np.arange(len(first)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    return measure(first, real.values[np.repeat(real.starts[given.owners], repeats) + within])


def _largest(values: Array, counts: Index) -> Array:
    largest: Array = np.maximum.reduceat(values, np.cumsum(counts) - counts)
    return largest


def union_overlap(predictions: Lists, truths: Lists) -> Array:
    """Intersection over union of two sets of windows, each joined to one: what is in both over what is in either.

    Windows that end before they begin, or where they begin, count as nothing.

    Returns:
        ``[Q]``, in [0, 1]; 0 where neither side has any length.
    """
    given, real = Ragged.of(predictions), Ragged.of(truths)
    ious = np.zeros(len(real))
    for rows in chunks(given.counts + real.counts, cells=8):
        ious[rows] = _union_overlap(given.select(rows), real.select(rows))
    return ious


def _union_overlap(given: Ragged, real: Ragged) -> Array:
    times, owners, changes = [], [], []
    for side, ragged in enumerate((given, real)):
        kept = ragged.values[:, 1] > ragged.values[:, 0]
        for column, step in ((0, 1), (1, -1)):
            change = np.zeros((int(kept.sum()), 2), dtype=np.int64)
            change[:, side] = step
            times.append(ragged.values[kept, column])
            owners.append(ragged.owners[kept])
            changes.append(change)
    time, owner = np.concatenate(times), np.concatenate(owners)
    order = np.lexsort((time, owner))
    # Every window opened is closed, so a running count is back at 0 at the end of each query.
    covered = np.cumsum(np.concatenate(changes)[order], axis=0)[:-1] > 0
    lengths = np.diff(time[order])
    spans = owner[order][:-1]
    both = np.bincount(spans, np.where(covered.all(axis=1), lengths, 0.0), minlength=len(real))
    either = np.bincount(spans, np.where(covered.any(axis=1), lengths, 0.0), minlength=len(real))
    ious: Array = np.divide(both, either, out=np.zeros(len(real)), where=either > 0)
    return ious


def seconds_overlap(truths: Windows, predicted: Windows, num_seconds: int) -> float:
    """IoU of two sets of windows, counted in whole seconds from 0 to ``num_seconds``; 0 where both are empty."""
    marked = np.zeros((2, num_seconds + 1), dtype=bool)
    for row, windows in zip(marked, (truths, predicted), strict=True):
        for start, end in windows:
            row[max(int(start), 0) : max(int(end), 0)] = True
    union = np.logical_or(*marked).sum()
    return float(np.logical_and(*marked).sum() / union) if union else 0.0


def _all_have_truth(real: Ragged) -> None:
    if len(real) and not real.counts.all():
        raise ValueError(f"{int((real.counts == 0).sum())} queries have no true window; leave them out before")
