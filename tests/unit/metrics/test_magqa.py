"""Answers in time, as a metric."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from lavis.metrics.magqa import MagQA
from lavis.scoring.judges.base import Judge, Pair, Reply
from lavis.structures import Moment, Prediction, VideoSample


class Four(Judge):
    """Always says 4."""

    def replies(self, pairs: Sequence[Pair]) -> list[Reply]:
        return ["4" for _ in pairs]


def sample(identity: str, captions: list[str] | None) -> VideoSample:
    extra = {} if captions is None else {"captions": captions}
    return VideoSample(identity, f"{identity}.mp4", "q?", 20, [Moment(0, 5), Moment(10, 12)], extra=extra)


def test_replies_in_span() -> None:
    metric = MagQA(judge=Four())
    said = Prediction("a", [Moment(3, 3), Moment(8, 8)], captions=["x", "x"])
    silent = Prediction("b", [Moment(3, 3)])
    metric.update([sample("a", ["A", "B"]), sample("b", ["A", "B"])], [said, silent])
    assert metric.compute() == {"score": (2.5 + 1) / 2, "turns": 1, "distinct_turns": 0.5, "total": 2}
    assert metric.names([sample("a", ["A", "B"])]) is None


def test_reference_answers_are_needed() -> None:
    metric = MagQA(judge={"name": "recorded", "file": "none.jsonl"})
    metric.update([sample("a", None)], [Prediction("a", [])])
    with pytest.raises(ValueError, match=r"sample a needs reference answers"):
        metric.compute()
