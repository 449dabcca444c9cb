"""Windows of any file that is scored: the same answers as the protocol sees, and what is wrong with them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from lavis.report.grounding.cases import STATES, Case, iou
from lavis.report.grounding.checks import check_grounding, true_cases
from lavis.report.grounding.example import example_predictions, make_example
from lavis.report.grounding.naive import naive_ious, overlap_table
from lavis.scoring import ScoringError

TRUTH = [
    {"qid": 1, "vid": "kitchen", "query": "a kettle boils", "duration": 20, "relevant_windows": [[2, 6], [10, 14]]},
    {"qid": 2, "vid": "street", "query": "a dog barks", "duration": 30, "relevant_windows": [[0, 10]]},
    {"qid": 3, "vid": "street", "query": "a car stops", "duration": 30, "relevant_windows": [[20, 30]]},
]


def answered(*windows: Any) -> list[dict[str, Any]]:
    return [{"qid": number, "pred_windows": found} for number, found in enumerate(windows, start=1)]


def test_windows_truth_and_sentences_come_together() -> None:
    check = check_grounding("calce", answered([[11, 13], [0, 1]], [[0, 10]], [[0, 5]]), TRUTH)
    first = check.cases[0]
    assert (first.id, first.video, first.query, first.duration) == ("1", "kitchen", "a kettle boils", 20)
    assert first.truth == [(2, 6), (10, 14)]
    assert first.windows == [(11, 13), (0, 1)]
    assert first.nearest == (10, 14)
    assert check.ious() == [0.5, 1.0, 0.0]
    assert check.report.headline["mIoU"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("windows", "state"),
    [
        ([[2, 6]], "fine"),
        ([[6, 2]], "reversed"),
        ([[-1, -1]], "unreadable"),
        ([], "unreadable"),
        ("no list", "unreadable"),
        ([[-2, 6]], "before the start"),
        ([[2, 21]], "past the end"),
        ([[3, 3]], "no length"),
    ],
)
def test_every_fault_has_a_name(windows: Any, state: str) -> None:
    check = check_grounding("calce", answered(windows, [[0, 10]], [[20, 30]]), TRUTH)
    assert check.cases[0].state() == state
    assert check.states() == {name: (name == state) + 2 * (name == "fine") for name in STATES}


def test_a_missing_row_is_no_answer_and_slack_forgives_a_late_end() -> None:
    check = check_grounding("calce", answered([[2, 20.4]]), TRUTH, missing="zero")
    assert [case.state() for case in check.cases] == ["past the end", "no answer", "no answer"]
    assert check.cases[0].state(slack_s=0.5) == "fine"
    assert check.ious()[1:] == [0.0, 0.0]


def test_a_reversed_window_overlaps_nothing() -> None:
    assert iou((6, 2), (2, 6)) == 0
    assert iou(None, (2, 6)) == 0
    assert iou((3, 3), (3, 3)) == 0
    assert iou((2, 4), (3, 5)) == pytest.approx(1 / 3)


def test_rounds_of_hawkeye_are_replayed_on_the_duration_of_their_row() -> None:
    rows = [{"qid": 1, "pred_answer_list": ["end", "beginning"], "duration": 40.0}]
    truth = [{"qid": 1, "video": "a", "question": "what", "answer": [20, 30], "duration": 41.0}]
    case = check_grounding("recursive_grounding", rows, truth, {"max_turns": 2}).cases[0]
    assert case.rounds == [(20, 40), (20, 30)]
    assert case.first == (20, 30)
    assert (case.iou, case.query) == (1.0, "what")


def test_rows_that_hold_the_truth_need_no_annotations() -> None:
    rows = [{"pred": "From second 3.0 to second 9.0.", "gt_answer": "From 3.0 to 6.0.", "video_secs": 12, "qid": 5}]
    case = check_grounding("direct_grounding", rows).cases[0]
    assert (case.first, case.truth, case.duration, case.iou) == ((3.0, 9.0), [(3.0, 6.0)], 12, 0.5)


def test_time_tokens_are_shares_of_the_duration() -> None:
    rows = {"1": "From <0> to <150>.", "2": "<0> <100>", "3": "<200> <300>"}
    check = check_grounding("moment_retrieval", rows, TRUTH, {"reading": "time_tokens"})
    assert check.cases[0].windows == [(0, 10)]
    assert check.ious()[1:] == pytest.approx([1.0, 1.0])


def test_spans_of_nextgqa(tmp_path: Path) -> None:
    truth = {"v": {"duration": 10, "location": {"0": [[2, 4]]}, "fps": 30}}
    check = check_grounding("nextgqa", {"v_0": [2, 6]}, truth)
    assert (check.cases[0].first, check.cases[0].iou) == ((2.0, 6.0), 0.5)


def test_segments_of_didemo_become_seconds() -> None:
    truth = [{"annotation_id": 7, "video": "a", "times": [[1, 1]] * 4, "description": "a cat", "num_segments": 6}]
    case = check_grounding("moment_retrieval", {"7": [[1, 2]]}, truth, {"dataset": "didemo"}).cases[0]
    assert case.windows == [(5, 15)]
    assert case.query == "a cat"


def test_scores_saliency_and_prior_are_kept() -> None:
    truth = [
        TRUTH[0]
        | {"relevant_clip_ids": [1, 2], "saliency_scores": [[1, 2, 3], [4, 4, 4]], "stage1_result": [[1, 9], [-1, -1]]}
    ]
    rows = [{"qid": 1, "pred_relevant_windows": [[2, 6, 0.9]], "pred_saliency_scores": [0.1, 0.4]}]
    case = check_grounding("qvhighlights", rows, truth).cases[0]
    assert case.prior == [(1, 9)]
    assert case.scores is not None
    assert (case.scores.times, case.scores.values) == ([5.0, 15.0], [0.1, 0.4])
    assert case.saliency is not None
    assert case.saliency.times[:3] == [1.0, 3.0, 5.0]
    assert case.saliency.values == [0.0, 2.0, 4.0] + [0.0] * 7


def test_answers_that_are_no_windows_are_refused_with_what_to_take() -> None:
    rows = [{"qid": 1, "pred": "(a)", "answer": "(a)", "question": "q", "candidates": ["x", "y"]}]
    with pytest.raises(ScoringError, match="are no windows.*recursive_grounding"):
        check_grounding("multiple_choice", rows, rows)


def test_length_of_a_video_without_duration_is_that_of_its_windows() -> None:
    case = Case("1", "v", "", math.nan, [(2, 6)], [(4, 9)])
    assert (case.length, case.state()) == (9, "fine")


def test_published_predictions_give_the_overlap_of_their_protocol(data_dir: Path) -> None:
    check = check_grounding("calce", data_dir / "qvhighlights" / "calce_val_stage2.json")
    assert sum(check.ious()) / len(check.cases) == pytest.approx(check.report.headline["mIoU"], abs=1e-12)
    assert check.states()["fine"] == len(check.cases) == 1550


def test_naive_answers_and_their_table() -> None:
    check = check_grounding("calce", answered([[2, 6]], [[0, 10]], [[20, 30]]), TRUTH)
    naive = naive_ious(check.cases, true_cases("calce", TRUTH), draws=3)
    assert naive["whole video"] == pytest.approx([4 / 20, 10 / 30, 10 / 30])
    assert len(naive["random window"]) == 9
    # Means of the shares: starts 0.1, 0.5, 0, 2/3; ends 0.3, 0.7, 1/3, 1.
    start, end = (0.1 + 0.5 + 2 / 3) / 4, (0.3 + 0.7 + 1 / 3 + 1) / 4
    assert naive["mean training window"][1] == pytest.approx((10 - 30 * start) / (30 * end))
    assert "mean training window" not in naive_ious(check.cases)
    assert overlap_table({"a": [0.2, 0.5]})[1] == ["a", "35.00", "50.00", "50.00", "0.00"]


def test_example_has_every_kind_of_fault_and_is_the_same_each_time(tmp_path: Path) -> None:
    rows = [
        {"qid": f"Sample_{number}", "duration": 40, "relevant_windows": [[5, 12], [20, 30]]} for number in range(60)
    ]
    made = example_predictions(rows, seed=3, spread=0.3, broken=0.3)
    assert made == example_predictions(rows, seed=3, spread=0.3, broken=0.3)
    check = check_grounding("calce", made, rows, missing="zero")
    states = check.states()
    for state in ("fine", "no answer", "unreadable", "reversed", "past the end", "no length"):
        assert states[state] > 0, state


def test_example_files_fit_each_other(tmp_path: Path) -> None:
    example = make_example(tmp_path, num_videos=1)
    check = check_grounding("qvhighlights", example.stage2, example.annotations, missing="zero")
    assert check.cases[0].saliency is not None
    assert check.cases[0].query == json.loads(example.annotations.read_text())[0]["query"]
    assert (example.videos / f"{check.cases[0].video}.mp4").exists()
    assert (example.subtitles / f"{check.cases[0].video}.srt").exists()
    with pytest.raises(ValueError, match="at least 1"):
        make_example(tmp_path, num_videos=0)
