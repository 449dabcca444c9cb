"""Moments and clip scores as QVHighlights scores and takes them."""

from __future__ import annotations

from lavis.scoring.scorer import score
from lavis.structures import Moment, Prediction, VideoSample
from lavis.tasks.highlight_detection import HighlightDetection


def test_figures_and_rows() -> None:
    sample = VideoSample("QVHighlight_7", "a", "q", 4, [Moment(0, 2)], saliency=[[4, 4, 4], [0, 0, 0]])
    prediction = Prediction(sample.id, [Moment(0, 2)], frame_scores=[0.9, 0.1])
    task = HighlightDetection()
    figures = task.evaluate([sample], [prediction])
    assert figures["HL-min-VeryGood-Hit1"] == figures["MR-full-mAP"] == 100
    rows = task.result_rows([sample], [prediction])
    assert rows == [
        {
            "qid": "QVHighlight_7",
            "query": "q",
            "vid": "a",
            "pred_relevant_windows": [[0, 2, 1.0]],
            "pred_saliency_scores": [0.9, 0.1],
        }
    ]
    truth = {"qid": 7, "vid": "a", "relevant_windows": [[0, 2]]}
    assert score("qvhighlights", rows, [truth]).headline["MR-full-mAP"] == 100
    plain = task.result_rows([sample], [Prediction(sample.id, [Moment(0, 2, 0.5)])])
    assert plain[0]["pred_relevant_windows"] == [[0, 2, 0.5]] and "pred_saliency_scores" not in plain[0]
