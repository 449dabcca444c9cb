"""CALCE's figures: the published ones to the last digit, and what they mean on small sets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lavis.metrics.temporal import Temporal
from lavis.structures import Moment, Prediction, VideoSample
from lavis.tasks.moment_retrieval import MomentRetrieval


def pair(identity: str, predicted: list[list[float]], truth: list[list[float]]) -> tuple[VideoSample, Prediction]:
    sample = VideoSample(identity, "a.mp4", "q", 150, [Moment(*w) for w in truth])
    return sample, Prediction(identity, [Moment(*w) for w in predicted])


def compute(*pairs: tuple[VideoSample, Prediction]) -> dict[str, float]:
    metric = Temporal()
    metric.update([s for s, _ in pairs], [p for _, p in pairs])
    return metric.compute()


def test_published_figures_of_stage_1(data_dir: Path) -> None:
    """CALCE's README: 78.00 and 64.84 (recall), 72.89 (mIoU), 70.81 and 57.73 (mAP) on the validation split."""
    rows = json.loads((data_dir / "qvhighlights" / "calce_val_stage2.json").read_text())
    samples = [
        VideoSample(r["qid"], r["video"], r["query"], r["duration"], [Moment(*w) for w in r["relevant_windows"]])
        for r in rows
    ]
    predictions = [Prediction(r["qid"], [Moment(*w) for w in r["stage1_result"]]) for r in rows]
    figures = MomentRetrieval().evaluate(samples, predictions)
    assert f"{figures['r1@0.5']:.2f} {figures['r1@0.7']:.2f}" == "78.00 64.84"
    assert f"{100 * figures['mIoU']:.2f}" == "72.89"
    assert f"{figures['mAP@0.5']:.2f} {figures['mAP@0.75']:.2f}" == "70.81 57.73"
    assert figures["agg_metrics"] == 60.814
    assert figures["mAP"] == 56.17
    assert figures["mIoU"] == 0.7288868200655976
    assert figures["invalid_predictions"] == 0
    assert figures["total"] == 1550
    assert figures["R1@0.5"] == 78.0
    assert figures["R1@0.7"] == 64.84
    assert figures["R1@0.3"] > 78.0


def test_names_of_figures() -> None:
    names = list(compute(pair("a", [[0, 10]], [[0, 10]])))
    levels = ["0.5", "0.55", "0.6", "0.65", "0.7", "0.75", "0.8", "0.85", "0.9", "0.95"]
    assert names == [
        "R1@0.3",
        "R1@0.5",
        "R1@0.7",
        "mIoU",
        "mAP",
        "agg_metrics",
        "malformed_predictions",
        "invalid_predictions",
        *(f"r1@{level}" for level in levels),
        *(f"mAP@{level}" for level in levels),
        "total",
    ]


def test_perfect_and_missed() -> None:
    perfect = compute(pair("a", [[0, 10], [20, 30]], [[20, 30], [0, 10]]))
    assert perfect["agg_metrics"] == perfect["mAP"] == 100
    assert perfect["mIoU"] == 1
    half = compute(pair("a", [[0, 10]], [[0, 10]]), pair("b", [[0, 10]], [[50, 60]]))
    assert half["R1@0.5"] == half["mAP"] == 50
    assert half["mIoU"] == 0.5


def test_no_windows_are_a_miss_and_marks_are_invalid() -> None:
    """The original raises for the first, and counts the second; both are just missed."""
    figures = compute(pair("a", [[0, 10]], [[0, 10]]), pair("b", [], [[0, 10]]))
    assert figures["R1@0.5"] == figures["mAP"] == 50
    assert figures["invalid_predictions"] == 0.5
    marked = compute(pair("a", [[0, 10]], [[0, 10]]), pair("b", [[-1, -1]], [[0, 10]]))
    assert marked == figures


def test_malformed_texts_are_counted_whatever_stands_for_them() -> None:
    sample, prediction = pair("a", [[0, 150]], [[0, 150]])
    metric = Temporal()
    metric.update([sample], [Prediction("a", prediction.moments, malformed=True)])
    figures = metric.compute()
    assert figures["malformed_predictions"] == 1
    assert figures["invalid_predictions"] == 0


def test_recall_takes_the_first_window_and_precision_all() -> None:
    figures = compute(pair("a", [[50, 60], [0, 10]], [[0, 10]]))
    assert figures["R1@0.5"] == 0
    assert figures["mAP"] == 50


def test_a_truth_is_found_once() -> None:
    assert compute(pair("a", [[0, 10], [0, 10]], [[0, 10], [40, 50]]))["mAP"] == 50


def test_overlap_of_recall_divides_by_the_hull() -> None:
    """Both meanings agree for windows that overlap; for those apart both are 0."""
    assert compute(pair("a", [[0, 10]], [[5, 15]]))["mIoU"] == pytest.approx(1 / 3)
    assert compute(pair("a", [[0, 10]], [[20, 30]]))["mIoU"] == 0


def test_windows_without_length_overlap_nothing() -> None:
    figures = compute(pair("a", [[7, 7]], [[7, 7]]))
    assert figures["mIoU"] == figures["mAP"] == 0


def test_unknown_truth_reports_only_the_count() -> None:
    metric = Temporal()
    metric.update([VideoSample("a", "a.mp4", "q", 10)], [Prediction("a", [Moment(0, 5)])])
    assert metric.compute() == {"total": 1}


def test_recall_levels_are_ious() -> None:
    with pytest.raises(ValueError, match="recall_at"):
        Temporal(recall_at=[0.0])


def test_a_sample_seen_twice_counts_as_the_original_does() -> None:
    twice = compute(pair("a", [[0, 10]], [[0, 10]]), pair("a", [[50, 60]], [[0, 10]]))
    assert twice["R1@0.5"] == 0
    assert twice["mAP"] == 50  # of two windows for two truths one is found
