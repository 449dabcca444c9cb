"""Grounding from scores of frames, as a metric."""

from __future__ import annotations

import pytest

from lavis.common.registry import registry
from lavis.structures import Moment, Prediction, VideoSample


def sample(identity: str, start: float, end: float) -> VideoSample:
    return VideoSample(identity, f"{identity}.mp4", "q", 20, [Moment(start, end)])


def test_frames_above_the_threshold_against_moments() -> None:
    metric = registry.metrics.get("frame_scores")(smooth=0, seconds_per_score=2.0)
    scores = [0.0, 0, 1, 1, 0, 0, 0, 0, 0, 0]
    predictions = [Prediction("a", [], frame_scores=scores), Prediction("b", [])]
    metric.update([sample("a", 4, 6), sample("b", 0, 4)], predictions)
    assert metric.compute() == {"mIoU": 50, "R1@0.3": 50, "R1@0.5": 50, "R1@0.7": 50, "total": 2}


def test_a_model_without_frame_scores_is_told() -> None:
    metric = registry.metrics.get("frame_scores")()
    assert metric.compute() == {"total": 0}
    metric.update([sample("a", 4, 6)], [Prediction("a", [Moment(4, 6)])])
    with pytest.raises(ValueError, match="no prediction has frame scores"):
        metric.compute()
