"""Highlights from scores of frames, or from a text with two numbers: the arithmetic of ``frame_scores``.

Clips are scored as in QVHighlights (``lavis.scoring.windows.highlights``); questions that only one side holds take no
part.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lavis.scoring.base import Array, Estimate, Pairs, ScoringError
from lavis.scoring.frames.rows import FrameAnswer, FrameTruth
from lavis.scoring.frames.sweep import Frames
from lavis.scoring.rounding import two_decimals
from lavis.scoring.windows.highlights import CLIP_SECONDS, RATINGS, highlights

FIGURES = tuple(f"HL-min-{name}-{kind}" for name in RATINGS for kind in ("mAP", "Hit1"))


@dataclass(frozen=True, slots=True)
class Results:
    """Figures of one setting in the official shape (``brief`` and one part for each rating), and what they mean."""

    figures: dict[str, Any]
    estimates: dict[str, Estimate]


class Highlights:
    """Frames of all answered questions beside the ratings.

    Raises:
        ScoringError: if frames lie more than a clip apart, or times do not grow; names the question.
    """

    def __init__(self, pairs: Pairs[FrameAnswer, FrameTruth]) -> None:
        kept = [(i, answer) for i, answer in enumerate(pairs.answers) if answer is not None]
        self._rows = [i for i, _ in kept]
        self._ratings = _ratings(pairs)
        self._frames = Frames.of([answer.times for _, answer in kept], [answer.scores for _, answer in kept])
        self._per_clip = np.array([_frames_per_clip(answer) for _, answer in kept], dtype=np.int64)

    def results(self, window: int) -> Results:
        """Figures with scores smoothed over ``window`` frames to either side, then summed over each clip."""
        clips: list[Array] = [_NOTHING] * len(self._ratings)
        if self._rows:
            sums = self._frames.per_clip(self._frames.smoothed(window), self._per_clip)
            for row, values in zip(self._rows, sums, strict=True):
                clips[row] = values
        return _results(clips, self._ratings)


def swept(clips: Highlights, windows: Iterable[int]) -> list[dict[str, Any]]:
    """Figures of each smoothing window."""
    return [{"smooth_window_size": window, "results": clips.results(window).figures} for window in windows]


def best_of(rows: Sequence[dict[str, Any]], figure: str) -> dict[str, Any]:
    """The row with the largest figure, of equals the first."""
    return max(rows, key=lambda row: float(row["results"]["brief"][figure]))


def results_of_texts(pairs: Pairs[FrameAnswer, FrameTruth], skip: bool) -> Results:
    """Figures of windows in texts: a clip has score 1 if it begins strictly inside, up to the video's whole seconds.

    Args:
        pairs: answers that are texts.
        skip: whether a text without exactly two numbers is left out, and not counted as missed.

    Raises:
        ScoringError: if a video's duration is not told, or no text has two numbers.
    """
    clips: list[Array | None] = [_NOTHING if answer is None else _text_clips(answer, skip) for answer in pairs.answers]
    if all(row is None for row in clips):
        raise ScoringError("no text names exactly two numbers, so nothing is left to score (unreadable_text: zero)")
    return _results(clips, _ratings(pairs))


_NOTHING: Array = np.zeros(0)


def _text_clips(answer: FrameAnswer, skip: bool) -> Array | None:
    if answer.window is None:
        return None if skip else _NOTHING
    if answer.duration is None:
        raise ScoringError(f"question {answer.id!r}: highlights from a text need 'video_duration' in its row")
    start, end = answer.window
    seconds = np.arange(0, int(answer.duration), CLIP_SECONDS)
    return ((start < seconds) & (seconds < end)).astype(np.float64)


def _frames_per_clip(answer: FrameAnswer) -> int:
    """As many as fit into a clip, judged by the first two frames."""
    if len(answer.times) < 2:
        raise ScoringError(f"question {answer.id!r} has one frame only, so the time between frames is unknown")
    interval = answer.times[1] - answer.times[0]
    if not 0 < interval <= CLIP_SECONDS:
        raise ScoringError(
            f"question {answer.id!r}: the first two frames lie {interval:g} s apart; scores of {CLIP_SECONDS}-second "
            f"clips need frames at most {CLIP_SECONDS} s apart"
        )
    # Compared as frames, for an interval next to nothing has no number of them; one clip takes all there are.
    return int(min(CLIP_SECONDS / float(interval), len(answer.times)))


def _ratings(pairs: Pairs[FrameAnswer, FrameTruth]) -> list[NDArray[np.float32]]:
    ratings = [truth.ratings for truth in pairs.truths if truth.ratings is not None]
    if len({row.shape[1] for row in ratings}) > 1:
        raise ScoringError(
            "the truth has clips rated by different numbers of annotators; it must be the same in all rows"
        )
    return ratings


def _results(clips: Sequence[Array | None], ratings: Sequence[NDArray[np.float32]]) -> Results:
    """Figures of the questions whose scores are not ``None``; one with an empty list is missed."""
    scored = [i for i, row in enumerate(clips) if row is not None and len(row)]
    missed = [i for i, row in enumerate(clips) if row is not None and not len(row)]
    found = highlights([_of(clips, i) for i in scored], [ratings[i] for i in scored]) if scored else None
    brief: dict[str, float] = {}
    parts: dict[str, dict[str, float]] = {}
    estimates: dict[str, Estimate] = {}
    for name in RATINGS:
        precision, hit = np.full(len(clips), np.nan), np.full(len(clips), np.nan)
        precision[missed] = hit[missed] = 0.0
        if found is not None:
            precision[scored], hit[scored] = found[name].precision.mean(axis=1), found[name].hit
        estimates |= {f"HL-min-{name}-mAP": Estimate(precision), f"HL-min-{name}-Hit1": Estimate(hit)}
        values = [two_decimals(100 * np.nanmean(row)) for row in (precision, hit)]
        parts[f"HL-min-{name}"] = dict(zip(("HL-mAP", "HL-Hit1"), values, strict=True))
        brief |= dict(zip((f"HL-min-{name}-mAP", f"HL-min-{name}-Hit1"), values, strict=True))
    return Results({"brief": brief, **parts}, estimates)


def _of(clips: Sequence[Array | None], number: int) -> Array:
    row = clips[number]
    assert row is not None
    return row
