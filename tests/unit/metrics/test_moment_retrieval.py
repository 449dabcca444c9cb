"""Recall of the first and the first five windows as a metric."""

from __future__ import annotations

import pytest

from lavis.metrics.moment_retrieval import MomentRetrieval
from lavis.structures import Moment, Prediction, VideoSample


def test_figures() -> None:
    samples = [VideoSample(name, "a.mp4", "q", 150, [Moment(0, 10)]) for name in ("a", "b")]
    answers = [Prediction("a", [Moment(50, 60), Moment(0, 10, 0.5)]), Prediction("b", [])]
    metric = MomentRetrieval()
    metric.update(samples, answers)
    figures = metric.compute()
    assert figures["R1@0.3"] == figures["mIoU"] == 0
    assert figures["R5@0.9"] == figures["best_mIoU"] == 50
    assert figures["union_mIoU"] == pytest.approx(25)
    assert figures["total"] == 2
    assert metric.names(samples) == set(figures)


def test_unknown_truth_reports_only_the_count() -> None:
    metric = MomentRetrieval()
    metric.update([VideoSample("a", "a.mp4", "q", 10)], [Prediction("a", [])])
    assert metric.compute() == {"total": 1}
