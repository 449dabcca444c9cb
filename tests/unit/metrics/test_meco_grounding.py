"""MeCo's figures as metrics: those of the protocols, on predictions with windows and clip scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from lavis.metrics.base import Metric
from lavis.metrics.meco_charades import MecoCharades
from lavis.metrics.meco_qvhighlights import MecoQVHighlights
from lavis.structures import Moment, Prediction, VideoSample


def sample(identity: str, window: list[float], **fields: object) -> VideoSample:
    return VideoSample(identity, "a.mp4", "q", 30, [Moment(*window)], **fields)  # type: ignore[arg-type]


def compute(metric: Metric, *pairs: tuple[VideoSample, Prediction]) -> dict[str, float]:
    metric.update([s for s, _ in pairs], [p for _, p in pairs])
    return metric.compute()


def test_recorded_figures(golden_dir: Path) -> None:
    folder = golden_dir / "meco" / "metrics" / "qvhighlights"
    rows = json.loads((folder / "preds.json").read_text())
    recorded = json.loads((folder / "result.json").read_text())
    pairs = []
    for row, answer in zip(rows, recorded["per_sample"], strict=True):
        ratings = np.zeros((int(row["duration"] / 2), 3), dtype=int)
        ratings[row["relevant_clip_ids"]] = row["saliency_scores"]
        truth = VideoSample(
            str(row["qid"]),
            row["vid"],
            row["query"],
            row["duration"],
            [Moment(*window) for window in row["relevant_windows"]],
            saliency=ratings.tolist(),
        )
        windows = [Moment(start, end, score) for start, end, score in answer["pred_relevant_windows"]]
        pairs.append((truth, Prediction(truth.id, windows, frame_scores=answer["pred_saliency_scores"])))
    assert compute(MecoQVHighlights(), *pairs) == {**recorded["metrics"]["brief"], "total": 48}


def test_charades() -> None:
    figures = compute(
        MecoCharades(),
        (sample("a", [0, 10]), Prediction("a", [Moment(20, 30), Moment(0, 10)])),
        (sample("b", [5, 10]), Prediction("b", [Moment(5, 10)])),
    )
    assert (figures["MR-full-R1@0.7"], figures["MR-full-R5@0.7"], figures["total"]) == (50, 100, 2)
    assert not any(name.startswith("HL") for name in figures)


def test_a_prediction_without_windows_is_missed() -> None:
    figures = compute(
        MecoCharades(),
        (sample("a", [0, 10]), Prediction("a", [])),
        (sample("b", [0, 10]), Prediction("b", [Moment(0, 10)])),
    )
    assert figures["MR-full-mIoU"] == 50


def test_no_samples() -> None:
    assert MecoQVHighlights().compute() == {"total": 0}
