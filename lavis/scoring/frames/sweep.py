"""Scores of frames: moving means, thresholds, and how well the frames above one agree with the true spans.

Source: MMDuet (Wang et al., 2024, arXiv 2411.17991; yellow-binary-tree/MMDuet, ``test/evaluate.py``), which evaluates
every setting in lists of Python numbers. Here the frames of all videos lie in one array, a moving mean is taken for
all windows of equal length at once, and all thresholds of a setting come from one histogram.

Means are summed window by window, as NumPy sums each alone, and not taken from cumulative sums: these differ in the
last bits, which decides whether a frame lies on a threshold, and whether equal scores stay equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lavis.scoring.base import Array

WINDOWS = range(15)
"""Frames to either side that the original tries."""

THRESHOLDS: Array = np.arange(0.30, 0.71, 0.02)
"""Thresholds on normalised scores that the original tries, 21 of them."""

_MAX_CELLS = 4_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """Frames of several videos, one after another.

    Args:
        times: ``[F]`` seconds.
        scores: ``[F]``.
        counts: ``[V]`` frames of each video, at least 1.
    """

    times: Array
    scores: Array
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, times: Sequence[Array], scores: Sequence[Array]) -> Frames:
        """Joins times and scores of each video."""
        counts = np.array([len(row) for row in scores], dtype=np.int64)
        return cls(_joined(times), _joined(scores), counts)

    @property
    def starts(self) -> NDArray[np.int64]:
        """``[V]``, number of each video's first frame."""
        return np.asarray(np.cumsum(self.counts) - self.counts)

    @property
    def videos(self) -> NDArray[np.int64]:
        """``[F]``, number of each frame's video."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def smoothed(self, window: int) -> Array:
        """``[F]``, the mean of each frame and ``window`` frames to either side, as far as the video goes."""
        if window == 0:
            return self.scores
        position = np.arange(len(self.scores))
        first = np.repeat(self.starts, self.counts)
        begin = np.maximum(first, position - window)
        length = np.minimum(first + np.repeat(self.counts, self.counts), position + window + 1) - begin
        means = np.empty_like(self.scores)
        for size in np.unique(length):
            frames = np.nonzero(length == size)[0]
            for chunk in np.array_split(frames, -(-len(frames) * int(size) // _MAX_CELLS)):
                means[chunk] = self.scores[begin[chunk][:, None] + np.arange(size)].mean(axis=1)
        return means

    def normalized(self, scores: Array) -> Array:
        """``[F]``, scores from 0 (least of its video) to 1 (largest); "not a number" where a video's are all equal."""
        least = np.repeat(np.minimum.reduceat(scores, self.starts), self.counts)
        largest = np.repeat(np.maximum.reduceat(scores, self.starts), self.counts)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((scores - least) / (largest - least))

    def inside(self, spans: Sequence[Array]) -> NDArray[np.bool_]:
        """``[F]``, whether a frame lies in a span ``[N, 2]`` of its video, both ends included."""
        padded = np.full((len(spans), max(map(len, spans), default=0), 2), np.nan)
        for row, given in zip(padded, spans, strict=True):
            row[: len(given)] = given
        found = np.zeros(len(self.times), dtype=bool)
        for rank in range(padded.shape[1]):
            start, end = np.repeat(padded[:, rank], self.counts, axis=0).T
            found |= (start <= self.times) & (self.times <= end)
        return found

    def per_clip(self, scores: Array, frames_per_clip: NDArray[np.int64]) -> list[Array]:
        """The sum of scores of each clip of each video; the last clip may have fewer frames.

        Args:
            scores: ``[F]``.
            frames_per_clip: ``[V]``, at least 1.
        """
        clips = -(-self.counts // frames_per_clip)
        within = (np.arange(len(scores)) - np.repeat(self.starts, self.counts)) // np.repeat(
            frames_per_clip, self.counts
        )
        first = np.repeat(np.cumsum(clips) - clips, self.counts)
        sums = np.bincount(first + within, weights=scores, minlength=int(clips.sum()))
        return np.split(sums, np.cumsum(clips)[:-1])


def frame_overlaps(frames: Frames, scores: Array, inside: NDArray[np.bool_], thresholds: Array = THRESHOLDS) -> Array:
    """Intersection over union of the set of frames at or above each threshold with the set of true frames.

    Args:
        frames: of V videos.
        scores: ``[F]``, normalised; "not a number" is below every threshold.
        inside: ``[F]``, which frames are true.
        thresholds: ``[T]``, ascending.

    Returns:
        ``[V, T]``, in [0, 1]; 0 where both sets are empty.
    """
    passed = np.where(np.isnan(scores), 0, np.searchsorted(thresholds, scores, side="right"))
    cell = frames.videos * (len(thresholds) + 1) + passed
    taken = _at_least(cell, len(frames.counts), len(thresholds))
    shared = _at_least(cell[inside], len(frames.counts), len(thresholds))
    true = np.bincount(frames.videos[inside], minlength=len(frames.counts))[:, None]
    union = taken + true - shared
    overlaps: Array = np.divide(shared, union, out=np.zeros(shared.shape), where=union > 0)
    return overlaps


def _at_least(cell: NDArray[np.int64], videos: int, thresholds: int) -> NDArray[np.int64]:
    """``[V, T]``, how many frames pass each threshold; a cell is a frame's video and its thresholds passed."""
    counts = np.bincount(cell, minlength=videos * (thresholds + 1)).reshape(videos, thresholds + 1)
    return np.asarray(counts[:, :0:-1].cumsum(axis=1)[:, ::-1])


def _joined(rows: Sequence[Array]) -> Array:
    return np.concatenate(rows) if len(rows) else np.zeros(0)
