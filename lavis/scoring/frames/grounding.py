"""Temporal grounding from scores of frames, or from a text with two numbers: the arithmetic of ``frame_scores``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lavis.scoring.base import Array, Estimate, Pairs
from lavis.scoring.frames.rows import FrameAnswer, FrameTruth
from lavis.scoring.frames.sweep import THRESHOLDS, WINDOWS, Frames, frame_overlaps

Constant = Literal["original", "zero"]
Names = tuple[str, str, str, str]

FIGURES: Names = ("mIoU", "R1@0.3", "R1@0.5", "R1@0.7")
_LEVELS = (0.3, 0.5, 0.7)


class Grounding:
    """Frames of all answered questions beside the true spans.

    Args:
        pairs: answers with frames; a question without an answer has overlap 0.
        constant: ``zero`` gives a video whose scores are all equal overlap 0 under every setting; ``original`` leaves
            it to the means, which may differ in the last bit and are then stretched to the range from 0 to 1.
    """

    def __init__(self, pairs: Pairs[FrameAnswer, FrameTruth], constant: Constant) -> None:
        kept = [(i, answer) for i, answer in enumerate(pairs.answers) if answer is not None]
        self.count = len(pairs.truths)
        self._rows = np.array([i for i, _ in kept], dtype=np.int64)
        self._frames = Frames.of([answer.times for _, answer in kept], [answer.scores for _, answer in kept])
        self._inside = self._frames.inside([pairs.truths[i].spans for i, _ in kept])
        self._blank = self._equal_scores() if constant == "zero" and kept else None

    def overlaps(self, window: int, thresholds: Array = THRESHOLDS) -> Array:
        """``[Q, T]``, overlap of the frames at or above each threshold with the true ones."""
        found = np.zeros((self.count, len(thresholds)))
        if len(self._rows):
            scores = self._frames.normalized(self._frames.smoothed(window))
            if self._blank is not None:
                scores = np.where(self._blank, np.nan, scores)
            found[self._rows] = frame_overlaps(self._frames, scores, self._inside, thresholds)
        return found

    def _equal_scores(self) -> NDArray[np.bool_]:
        return np.isnan(self._frames.normalized(self._frames.scores))


def figures_of(ious: Array) -> list[float]:
    """mIoU and R1 at 0.3, 0.5, 0.7 in percent, of the questions that take part (``ious`` is a number)."""
    taken = ious[~np.isnan(ious)]
    if not len(taken):
        return [float("nan")] * len(FIGURES)
    return [float(np.mean(taken) * 100), *(float(np.mean(taken >= level) * 100) for level in _LEVELS)]


def estimates_of(ious: Array) -> dict[str, Estimate]:
    """What each figure is the mean of."""
    recalls = [np.where(np.isnan(ious), np.nan, ious >= level) for level in _LEVELS]
    return {name: Estimate(values) for name, values in zip(FIGURES, (ious, *recalls), strict=True)}


def swept(
    grounding: Grounding, windows: Iterable[int] = WINDOWS, thresholds: Array = THRESHOLDS
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Every setting, by default those that the original tries.

    Returns:
        a row for each window and threshold, and one for each window with the threshold chosen for each question anew,
        knowing the truth (the original prints it as best among all thresholds).
    """
    rows: list[dict[str, Any]] = []
    oracle: list[dict[str, Any]] = []
    for window in windows:
        columns = np.ascontiguousarray(grounding.overlaps(window, thresholds).T)
        for threshold, ious in zip(thresholds.tolist(), columns, strict=True):
            rows.append({"smooth_window_size": window, "threshold": threshold, "scores": figures_of(ious)})
        oracle.append({"smooth_window_size": window, "scores": figures_of(columns.max(axis=0))})
    return rows, oracle


def best_of(rows: Sequence[dict[str, Any]], figure: str) -> dict[str, Any]:
    """The row with the largest figure, of equals the first."""
    place = FIGURES.index(figure)
    return max(rows, key=lambda row: float(row["scores"][place]))


def text_overlaps(pairs: Pairs[FrameAnswer, FrameTruth], unreadable: float) -> Array:
    """``[Q]``, overlap of the window in each text with the first true span, where both are counted a second longer.

    Args:
        pairs: answers that are texts.
        unreadable: overlap where a text does not name exactly two numbers; "not a number" leaves the question out.
    """
    missed = np.array([answer is None for answer in pairs.answers])
    windows = [
        (np.nan, np.nan) if answer is None or answer.window is None else answer.window for answer in pairs.answers
    ]
    start, end = np.array(windows, dtype=np.float64).T
    first = [truth.spans[0] if len(truth.spans) else (np.nan, np.nan) for truth in pairs.truths]
    true_start, true_end = np.array(first, dtype=np.float64).T
    shared = np.maximum(0, np.minimum(end, true_end) - np.maximum(start, true_start) + 1)
    union = np.maximum(end, true_end) - np.minimum(start, true_start) + 1
    ious = np.divide(shared, union, out=np.zeros_like(shared), where=union != 0)
    ious = np.where(np.isnan(true_start), 0.0, ious)
    ious = np.where(np.isnan(start), unreadable, ious)
    return np.asarray(np.where(missed, 0.0, ious))
