"""Sweeps over smoothing windows and thresholds, against the same in plain Python."""

from __future__ import annotations

import numpy as np
import pytest

from lavis.scoring.frames.sweep import THRESHOLDS, WINDOWS, Frames, frame_overlaps


def videos(seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Times, scores and spans of videos of 1 to 60 frames, scores to three digits as they are recorded."""
    rng = np.random.default_rng(seed)
    lengths = [1, 2, 60, 15, 29, 7, 33]
    times = [np.arange(n) / 2 for n in lengths]
    scores = [rng.random(n).round(3) for n in lengths]
    spans = [np.sort(rng.random((n % 3 + 1, 2)) * 15, axis=1) for n in lengths]
    return times, scores, spans


def plainly_smoothed(scores: np.ndarray, window: int) -> list[float]:
    values = scores.tolist()
    return [float(np.mean(values[max(0, i - window) : i + window + 1])) for i in range(len(values))]


@pytest.mark.parametrize("window", WINDOWS)
def test_smoothing_is_equal_to_the_last_bit(window: int) -> None:
    times, scores, _ = videos()
    found = Frames.of(times, scores).smoothed(window)
    assert found.tolist() == [value for row in scores for value in plainly_smoothed(row, window)]


def test_smoothing_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    times, scores, _ = videos()
    whole = Frames.of(times, scores).smoothed(5)
    monkeypatch.setattr("lavis.scoring.frames.sweep._MAX_CELLS", 20)
    assert Frames.of(times, scores).smoothed(5).tolist() == whole.tolist()


@pytest.mark.parametrize("window", [0, 3, 14])
def test_overlaps_are_those_of_sets(window: int) -> None:
    times, scores, spans = videos()
    frames = Frames.of(times, scores)
    inside = frames.inside(spans)
    found = frame_overlaps(frames, frames.normalized(frames.smoothed(window)), inside)
    for video, (time, score, span) in enumerate(zip(times, scores, spans, strict=True)):
        smooth = plainly_smoothed(score, window)
        low, high = min(smooth), max(smooth)
        truth = [any(s <= t <= e for s, e in span.tolist()) for t in time.tolist()]
        for column, threshold in enumerate(THRESHOLDS.tolist()):
            taken = [high > low and (value - low) / (high - low) >= threshold for value in smooth]
            union = sum(a or b for a, b in zip(taken, truth, strict=True))
            shared = sum(a and b for a, b in zip(taken, truth, strict=True))
            assert found[video, column] == (shared / union if union else 0)


def test_fewer_frames_pass_higher_thresholds() -> None:
    """Without true frames outside, taking fewer frames never lowers the share of true ones among them."""
    times, scores, _ = videos()
    frames = Frames.of(times, scores)
    everything = np.ones(len(frames.scores), dtype=bool)
    found = frame_overlaps(frames, frames.normalized(frames.scores), everything)
    assert (np.diff(found, axis=1) <= 0).all()


def test_ends_of_spans_are_inside() -> None:
    frames = Frames.of([np.array([0.0, 1, 2, 3])], [np.zeros(4)])
    assert frames.inside([np.array([[1.0, 2.0]])]).tolist() == [False, True, True, False]
    assert frames.inside([np.zeros((0, 2))]).tolist() == [False] * 4


def test_equal_scores_are_not_a_number() -> None:
    frames = Frames.of([np.arange(3.0), np.arange(2.0)], [np.full(3, 0.5), np.array([0.0, 1.0])])
    normalized = frames.normalized(frames.scores)
    assert np.isnan(normalized[:3]).all()
    assert normalized[3:].tolist() == [0, 1]


def test_clips_are_sums_and_the_last_may_be_short() -> None:
    frames = Frames.of([np.arange(5.0), np.arange(2.0)], [np.arange(5.0), np.array([7.0, 8.0])])
    clips = frames.per_clip(frames.scores, np.array([2, 1]))
    assert [row.tolist() for row in clips] == [[1, 5, 4], [7, 8]]
