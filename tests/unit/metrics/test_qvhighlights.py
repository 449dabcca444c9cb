"""The official figures: 104 published ones to the last digit, ranges, highlights, and the file for the server."""

from __future__ import annotations

import json
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lavis.metrics._submission import query_number, submission_rows, video_name, write_submission
from lavis.metrics.qvhighlights import QVHighlights, clip_ratings, highlights, report
from lavis.structures import Moment, Prediction, VideoSample


def figures_of(content: Any) -> list[float]:
    return [n for v in content.values() for n in figures_of(v)] if isinstance(content, dict) else [content]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_published_sample(data_dir: Path) -> None:
    folder = data_dir / "qvhighlights"
    predictions, truths = lines(folder / "sample_val_preds.jsonl"), lines(folder / "highlight_val_release.jsonl")
    recorded = json.loads((folder / "sample_val_preds_metrics_raw.json").read_text())
    started = time.process_time()
    ours = report(predictions, truths)
    assert time.process_time() - started < 2  # about 0.1 s on an idle machine
    assert len(figures_of(recorded)) == 104
    assert json.loads(json.dumps(ours)) == recorded
    assert list(ours) == list(recorded)


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
                saliency=clip_ratings(t).astype(int).tolist(),
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


def row(qid: int, windows: list[list[float]], **fields: Any) -> dict[str, Any]:
    return {"qid": qid, "pred_relevant_windows": windows, **fields}


def truth(qid: int, windows: list[list[float]], **fields: Any) -> dict[str, Any]:
    return {"qid": qid, "relevant_windows": windows, **fields}


def test_windows_are_ranked_by_score_but_recall_takes_the_first_listed() -> None:
    figures = report([row(1, [[50, 60, 0.1], [0, 40, 0.9]])], [truth(1, [[0, 40]])])
    assert figures["full"]["MR-mAP"]["0.95"] == 100
    assert figures["full"]["MR-R1"]["0.5"] == 0


def test_only_ten_windows_count() -> None:
    windows = [[100.0, 101.0, 0.1]] * 10 + [[0.0, 40.0, 0.9]]
    assert report([row(1, windows)], [truth(1, [[0, 40]])])["full"]["MR-mAP"]["0.5"] == 0


def test_ranges_look_at_lengths_of_truths() -> None:
    figures = report(
        [row(1, [[0, 10, 1.0]]), row(2, [[0, 40, 1.0]])], [truth(1, [[0, 10], [50, 70]]), truth(2, [[0, 40]])]
    )
    assert figures["brief"]["MR-short-mAP"] == 100
    assert figures["brief"]["MR-middle-mAP"] == 0
    assert figures["brief"]["MR-long-mAP"] == 100
    assert figures["brief"]["MR-full-mAP"] == 75


def test_a_range_without_truth_has_no_figures() -> None:
    """The original raises, as on Charades-STA."""
    figures = report([row(1, [[0, 5, 1.0]])], [truth(1, [[0, 5]])])
    assert figures["middle"] == {"MR-mAP": {}, "MR-R1": {}}
    assert "MR-middle-mAP" not in figures["brief"]
    assert figures["brief"]["MR-short-mAP"] == 100


def test_a_query_without_windows_is_a_miss() -> None:
    figures = report([row(1, [[0, 5, 1.0]]), row(2, [])], [truth(1, [[0, 5]]), truth(2, [[0, 5]])])
    assert figures["brief"]["MR-full-mAP"] == figures["brief"]["MR-full-R1@0.5"] == 50


def test_queries_must_match() -> None:
    with pytest.raises(ValueError, match="only in one of them: 2, 3"):
        report([row(1, []), row(2, [])], [truth(1, [[0, 5]]), truth(3, [[0, 5]])])
    with pytest.raises(ValueError, match="several predictions for the same query: 1"):
        report([row(1, []), row(1, [])], [truth(1, [[0, 5]])])
    with pytest.raises(ValueError, match="no predictions"):
        report([], [])


def test_clip_ratings() -> None:
    rated = truth(1, [[2, 4]], duration=7, relevant_clip_ids=[1], saliency_scores=[[4, 3, 0]])
    assert clip_ratings(rated).tolist() == [[0, 0, 0], [4, 3, 0], [0, 0, 0]]
    with pytest.raises(ValueError, match="query 1"):
        clip_ratings({**rated, "relevant_clip_ids": [3]})


def test_highlights() -> None:
    ratings = np.array([[0, 0, 0], [4, 3, 0], [2, 2, 0]], dtype=float)
    perfect = highlights([[0.0, 0.9, 0.5]], [ratings])
    # Two of three annotators rate clip 1 as very good or good; the third rates nothing, which counts as 0.
    assert perfect["HL-min-VeryGood"] == {"HL-mAP": 33.33, "HL-Hit1": 100}
    assert perfect["HL-min-Fair"] == {"HL-mAP": 66.67, "HL-Hit1": 100}
    assert highlights([[0.9, 0.5, 0.1]], [ratings])["HL-min-Good"] == {"HL-mAP": 33.33, "HL-Hit1": 0}
    equal = highlights([[0.5, 0.5, 0.5]], [ratings])
    assert equal["HL-min-Good"]["HL-mAP"] == 22.22  # equal scores enter together
    assert highlights([[0.5]], [ratings])["HL-min-Fair"]["HL-Hit1"] == 0  # filled up with zeros
    assert highlights([[0.0, 0.1, 0.2, 9.0]], [ratings])["HL-min-Fair"]["HL-Hit1"] == 0  # best clip past the end


def test_videos_of_different_lengths() -> None:
    short, long = np.full((2, 3), 4.0), np.zeros((4, 3))
    figures = highlights([[0.1, 0.2], [0.1, 0.2, 0.3, 0.4]], [short, long])
    assert figures["HL-min-Good"] == {"HL-mAP": 50, "HL-Hit1": 50}


# The file for the server


def test_submission(tmp_path: Path) -> None:
    val = VideoSample("QVHighlight_9769", "videos/j7rJstUseKg_360.0_510.0.mp4", "some men", 150)
    test = VideoSample("12", "abc_0.0_150.0", "a dog", 150)
    path = write_submission(
        tmp_path / "out",
        val=([val], [Prediction(val.id, [Moment(0, 150), Moment(3, 9, 0.5)])]),
        test=([test], [Prediction(test.id, [Moment(1.5, 2)], frame_scores=[0.25, 0.5])]),
    )
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["hl_val_submission.jsonl", "hl_test_submission.jsonl"]
        first = json.loads(archive.read("hl_val_submission.jsonl"))
    assert first == {
        "qid": 9769,
        "query": "some men",
        "vid": "j7rJstUseKg_360.0_510.0",
        "pred_relevant_windows": [[0.0, 150.0, 1.0], [3.0, 9.0, 0.5]],
        "pred_saliency_scores": [1.0, 1.0],
    }
    (second,) = lines(tmp_path / "out" / "hl_test_submission.jsonl")
    assert (second["qid"], second["vid"], second["pred_saliency_scores"]) == (12, "abc_0.0_150.0", [0.25, 0.5])
    again = path.read_bytes()
    write_submission(
        tmp_path / "out",
        val=([val], [Prediction(val.id, [Moment(0, 150), Moment(3, 9, 0.5)])]),
        test=([test], [Prediction(test.id, [Moment(1.5, 2)], frame_scores=[0.25, 0.5])]),
    )
    assert path.read_bytes() == again


def test_a_submission_scores_like_the_predictions(tmp_path: Path) -> None:
    sample = VideoSample("QVHighlight_1", "a.mp4", "q", 150, [Moment(0, 40)])
    rows = submission_rows([sample], [Prediction(sample.id, [Moment(0, 40)])])
    rows[0].pop("pred_saliency_scores")
    assert report(rows, [truth(1, [[0, 40]])])["brief"]["MR-full-mAP"] == 100


def test_submission_refuses_what_the_server_would() -> None:
    sample = VideoSample("QVHighlight_1", "a.mp4", "q", 150)
    with pytest.raises(ValueError, match="QVHighlight_1"):
        submission_rows([sample], [Prediction(sample.id, [])])
    with pytest.raises(ValueError, match="no query number"):
        query_number("QVHighlight_one")
    assert query_number("QVHighlight_07") == 7


def test_video_name() -> None:
    assert video_name(VideoSample("1", "/data/videos/a.b.MP4", "q", 1)) == "a.b"
    assert video_name(VideoSample("1", "j7rJstUseKg_360.0_510.0", "q", 1)) == "j7rJstUseKg_360.0_510.0"
