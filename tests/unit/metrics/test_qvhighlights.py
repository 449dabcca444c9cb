"""The official figures as a metric: the 104 published ones, names, and what is ranked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from lavis.metrics.qvhighlights import QVHighlights
from lavis.structures import Moment, Prediction, VideoSample


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def ratings(row: dict[str, Any]) -> list[list[int]]:
    rated = np.zeros((int(row["duration"] / 2), 3), dtype=int)
    rated[row["relevant_clip_ids"]] = row["saliency_scores"]
    return rated.tolist()


def compute(*pairs: tuple[VideoSample, Prediction]) -> dict[str, float]:
    metric = QVHighlights()
    metric.update([s for s, _ in pairs], [p for _, p in pairs])
    return metric.compute()


def sample(identity: str, windows: list[list[float]], **fields: Any) -> VideoSample:
    return VideoSample(identity, "a.mp4", "q", 150, [Moment(*w) for w in windows], **fields)


def test_the_metric_reports_the_same(data_dir: Path) -> None:
    folder = data_dir / "qvhighlights"
    predictions, truths = lines(folder / "sample_val_preds.jsonl"), lines(folder / "highlight_val_release.jsonl")
    recorded = json.loads((folder / "sample_val_preds_metrics_raw.json").read_text())
    by_id = {row["qid"]: row for row in predictions}
    metric = QVHighlights()
    metric.update(
        [
            VideoSample(
                str(t["qid"]),
                t["vid"],
                t["query"],
                t["duration"],
                [Moment(*w) for w in t["relevant_windows"]],
                saliency=ratings(t),
            )
            for t in truths
        ],
        [
            Prediction(
                str(t["qid"]),
                [Moment(*w) for w in by_id[t["qid"]]["pred_relevant_windows"]],
                frame_scores=by_id[t["qid"]]["pred_saliency_scores"],
            )
            for t in truths
        ],
    )
    figures = metric.compute()
    assert {name: figures[name] for name in recorded["brief"]} == recorded["brief"]
    assert figures["MR-middle-mAP@0.75"] == recorded["middle"]["MR-mAP"]["0.75"]
    assert figures["MR-long-R1@0.9"] == recorded["long"]["MR-R1"]["0.9"]
    assert figures["total"] == 1550


def test_windows_are_ranked_by_score_but_recall_takes_the_first_listed() -> None:
    figures = compute((sample("1", [[0, 40]]), Prediction("1", [Moment(50, 60, 0.1), Moment(0, 40, 0.9)])))
    assert figures["MR-full-mAP@0.95"] == 100
    assert figures["MR-full-R1@0.5"] == 0


def test_moments_without_score_count_as_scored_1() -> None:
    figures = compute((sample("1", [[0, 40]]), Prediction("1", [Moment(50, 60, 0.9), Moment(0, 40)])))
    assert figures["MR-full-mAP@0.95"] == 100


def test_ranges_without_truth_and_queries_without_answer() -> None:
    figures = compute(
        (sample("1", [[0, 5]]), Prediction("1", [Moment(0, 5)])), (sample("2", [[0, 5]]), Prediction("2", []))
    )
    assert "MR-middle-mAP" not in figures
    assert figures["MR-short-mAP"] == figures["MR-full-R1@0.5"] == 50
    assert figures["total"] == 2


def test_highlights_need_ratings_and_scores() -> None:
    rated = sample("1", [[0, 5]], saliency=[[4, 4, 4], [0, 0, 0]])
    figures = compute((rated, Prediction("1", [Moment(0, 5)], frame_scores=[0.5, 0.1])))
    assert figures["HL-min-Good-Hit1"] == figures["HL-min-Good-mAP"] == 100
    assert not any(name.startswith("HL") for name in compute((rated, Prediction("1", [Moment(0, 5)]))))
    assert QVHighlights().names([rated]) == set(figures)


def test_unknown_truth_reports_only_the_count() -> None:
    assert compute((VideoSample("a", "a.mp4", "q", 10), Prediction("a", [Moment(0, 5)]))) == {"total": 1}
