"""Highlight detection: clip scores against the ratings of annotators, for all queries at once.

Source: the evaluation of Moment-DETR (Lei et al., 2021; jayleicn/moment_detr, ``standalone_eval``): a clip is a
highlight for an annotator who rates it at least so; average precision is that of scikit-learn's curve, interpolated and
averaged where recall rises, and ``Hit1`` asks whether the best clip is a highlight for anyone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lavis.scoring.windows.ragged import Array, Index, Mask

RATINGS = {"Fair": 2, "Good": 3, "VeryGood": 4}
"""Least rating of a clip that counts as a highlight."""


CLIP_SECONDS = 2


class Highlights(NamedTuple):
    """Values in [0, 1] of each query at one least rating: ``precision`` ``[Q, annotators]`` and ``hit`` ``[Q]``."""

    precision: Array
    hit: Array


def highlights(scores: Sequence[ArrayLike], ratings: Sequence[NDArray[np.floating]]) -> dict[str, Highlights]:
    """Average precision and best-clip hits for each least rating.

    Args:
        scores: predicted score of each clip of each query, at least one; cut, or filled up with zeros, to the clips of
            the video.
        ratings: ``[num_clips, annotators]`` for each query, 0 to 4.

    Returns:
        ``Fair``, ``Good`` and ``VeryGood``.
    """
    given = [np.asarray(row, dtype=np.float64) for row in scores]
    best = [int(row.argmax()) for row in given]
    best_ratings = [r[clip].max() if clip < len(r) else -1 for clip, r in zip(best, ratings, strict=True)]
    precisions = _ranking_precisions(given, ratings)
    return {
        name: Highlights(precisions[:, :, level], (np.array(best_ratings) >= least).astype(np.float64))
        for level, (name, least) in enumerate(RATINGS.items())
    }


def clip_ratings(num_clips: int, rated: Index, ratings: Array) -> NDArray[np.float32]:
    """Ratings of all clips ``[num_clips, annotators]``; clips that nobody rated have 0.

    Args:
        num_clips: of the video.
        rated: ``[R]`` numbers of rated clips.
        ratings: ``[R, annotators]``, 2 dimensions also where ``R`` is 0.

    Raises:
        ValueError: if a rated clip lies outside the video, or the two are not equally many.
    """
    if len(rated) != len(ratings):
        raise ValueError(f"{len(rated)} rated clips but {len(ratings)} ratings")
    if rated.size and not 0 <= rated.min() <= rated.max() < num_clips:
        raise ValueError(f"a rated clip lies outside the {num_clips} clips of the video")
    everything = np.zeros((num_clips, ratings.shape[1]), dtype=np.float32)
    everything[rated] = ratings
    return everything


def _ranking_precisions(scores: Sequence[Array], ratings: Sequence[NDArray[np.floating]]) -> Array:
    """Average precision of each query's clips, for each annotator and least rating: ``[Q, K, R]``.

    Videos of equal length are ranked together.
    """
    least = np.array(list(RATINGS.values()))
    precisions = np.zeros((len(ratings), ratings[0].shape[1], len(least)))
    lengths = np.array([len(r) for r in ratings])
    for length in np.unique(lengths[lengths > 0]):
        chosen = np.nonzero(lengths == length)[0]
        for start in range(0, len(chosen), _TOGETHER):
            part = chosen[start : start + _TOGETHER]
            fitted = np.zeros((len(part), length))
            for row, query in zip(fitted, part, strict=True):
                row[: len(scores[query])] = scores[query][:length]
            rated = np.stack([ratings[query] for query in part]).transpose(0, 2, 1)
            real = (rated[:, :, None] >= least[:, None]).reshape(len(part), -1, length)
            precisions[part] = _equal_length(fitted, real).reshape(len(part), -1, len(least))
    return precisions


_TOGETHER = 500
"""Queries ranked at once; arrays of nine times their clips are made."""


def _equal_length(scores: Array, real: Mask) -> Array:
    """Mean interpolated precision at each score where recall rises; 0 or 1 where no or every clip is a highlight.

    Args:
        scores: ``[Q, C]``.
        real: ``[Q, K, C]``, which clips are highlights.

    Returns:
        ``[Q, K]``.
    """
    order = np.argsort(scores, axis=1, kind="stable")[:, ::-1]
    ranked = np.take_along_axis(scores, order, axis=1)
    found = np.cumsum(np.take_along_axis(real, order[:, None], axis=2), axis=2)
    # Equal scores enter together: only the last of them is a point of the curve.
    point = np.append(np.diff(ranked, axis=1) != 0, np.ones((len(ranked), 1), dtype=bool), axis=1)[:, None]
    precision = np.where(point, found / np.arange(1, scores.shape[1] + 1), 0.0)
    # From here on from the lowest score to the highest, the order in which the original averages.
    precision = np.maximum.accumulate(precision[..., ::-1], axis=2)
    before = np.maximum.accumulate(np.where(point, found, 0), axis=2)[..., :-1]
    rises = (point & (found > np.pad(before, ((0, 0), (0, 0), (1, 0)))))[..., ::-1]
    means = _means(precision[rises], rises.sum(axis=2).ravel()).reshape(found.shape[:2])
    return np.where(found[..., -1] == scores.shape[1], 1.0, means)


def _means(values: Array, counts: Index) -> Array:
    """Means of consecutive runs of ``values``, each summed as NumPy sums it alone; 0 for an empty run."""
    starts = np.cumsum(counts) - counts
    means = np.zeros(len(counts))
    for count in np.unique(counts[counts > 0]):
        rows = np.nonzero(counts == count)[0]
        means[rows] = np.mean(values[starts[rows][:, None] + np.arange(count)], axis=1)
    return means
