"""Result rows of each task, in the form its users know."""

from __future__ import annotations

from dataclasses import replace

from lavis.structures import Moment, Prediction, VideoSample
from lavis.tasks.moment_retrieval import MomentRetrieval
from lavis.tasks.temporal_action_localization import TemporalActionLocalization
from lavis.tasks.videogqa import VideoGQA
from lavis.tasks.videoqa import VideoQA

SAMPLE = VideoSample("QVHighlight_1", "a.mp4", "a dog", 150, [Moment(24, 62)])
ANSWER = Prediction("QVHighlight_1", [Moment(20, 60)], "[[20, 60]]")


def test_moment_retrieval() -> None:
    rows = MomentRetrieval().result_rows([SAMPLE, replace(SAMPLE, moments=None)], [ANSWER, ANSWER])
    assert rows[0] == {
        "duration": 150,
        "raw_pred_windows": "[[20, 60]]",
        "pred_windows": [[20, 60]],
        "gt_windows": "[[24, 62]]",
        "qid": "QVHighlight_1",
        "query": "a dog",
    }
    assert rows[1]["gt_windows"] is None


def test_questions() -> None:
    asked = VideoSample("TN_1_0", "a.mp4", "why?", 20, [Moment(0, 9)], options=["x", "y"], answer="Option B")
    said = Prediction("TN_1_0", [Moment(1, 3)], "A")
    assert VideoQA().result_rows([asked], [said]) == [{"qid": "TN_1_0", "prediction": 0, "target": 1}]
    assert VideoGQA().result_rows([asked], [said]) == [
        {
            "qid": "TN_1_0",
            "prediction": 0,
            "target": 1,
            "relevant_moments": [[1, 3]],
            "relevant_moments_gt": [[0, 9]],
            "duration": 20,
        }
    ]
    figures = VideoGQA().evaluate([asked], [said])
    assert figures["agg_metrics"] == figures["Acc@GQA"] == 0
    assert figures["mIoP"] == 100
    unknown = replace(asked, answer=None, moments=None)
    assert VideoGQA().result_rows([unknown], [said])[0]["target"] is None


def test_actions() -> None:
    sample = replace(SAMPLE, extra={"labels": ["Surfing"]})
    (row,) = TemporalActionLocalization().result_rows([sample], [ANSWER])
    assert row["target"] == [[24, 62, "Surfing"]]
    assert row["prediction"] == [[20, 60]]
    assert TemporalActionLocalization().result_rows([replace(SAMPLE, moments=None)], [ANSWER])[0]["target"] is None
