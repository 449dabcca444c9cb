"""Grounding and highlights from scores of frames: forms, settings, quirks of the original, bad input."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lavis.common.yaml_tree import ConfigError
from lavis.scoring.base import ScoringError
from lavis.scoring.frames.rows import spans_of_clips
from lavis.scoring.scorer import score

Row = dict[str, Any]


def frames(identity: str | int, scores: list[Any], interval: float = 1.0, time: str = "video_time") -> Row:
    entries = [{time: i * interval, "relevance_score": value} for i, value in enumerate(scores)]
    return {"question_id": identity, "debug_data": entries}


def truth(identity: str | int, *spans: list[float]) -> Row:
    return {"question_id": identity, "video": f"{identity}.mp4", "timestamps": list(spans)}


def rated(identity: int, clips: list[int], ratings: list[list[int]], duration: float = 20) -> Row:
    row = {"qid": identity, "vid": "v", "duration": duration, "relevant_clip_ids": clips}
    return {**row, "saliency_scores": ratings}


RISING = [0.0, 0.1, 0.2, 0.8, 1.0, 0.9, 0.1, 0.0]


def test_a_threshold_makes_a_set_of_frames() -> None:
    report = score("frame_scores", [frames("a", RISING)], [truth("a", [3, 5])], smooth=0)
    assert report.headline["mIoU"] == 100
    assert report.figures["result"]["threshold"] == 0.5
    report = score("frame_scores", [frames("a", RISING)], [truth("a", [3, 6])], smooth=0, threshold=0.85)
    assert report.headline["mIoU"] == 50


def test_settings_by_default_and_as_given() -> None:
    report = score("frame_scores", [frames("a", RISING)], [truth("a", [3, 5])])
    assert report.figures["result"]["smooth_window_size"] == 6
    assert "no threshold is published" in report.figures["result"]["setting"]
    report = score("frame_scores", [frames("a", RISING)], [truth("a", [3, 5])], smooth=1, threshold=0.3)
    assert report.figures["result"]["setting"] == "window 1, threshold 0.3; as given"


def test_the_sweep_has_its_own_name() -> None:
    rng = random.Random(0)
    rows = [frames(i, [rng.random() for _ in range(40)]) for i in range(5)]
    report = score("frame_scores", rows, [truth(i, [5, 20]) for i in range(5)])
    sweep = report.figures["sweep_on_test"]
    assert len(sweep) == 15 * 21
    best = max(row["scores"][0] for row in sweep)
    assert report.figures["best_on_test"]["scores"][0] == best == report.headline["best_on_test_mIoU"]
    assert best >= report.headline["mIoU"]
    oracle = report.figures["oracle_threshold"]
    assert [row["smooth_window_size"] for row in oracle] == list(range(15))
    assert all(
        row["scores"][0] >= max(r["scores"][0] for r in sweep[i * 21 : i * 21 + 21]) for i, row in enumerate(oracle)
    )
    assert any("chosen on the very questions" in note for note in report.scored.notes)


def test_window_and_threshold_are_fitted_on_validation(tmp_path: Path) -> None:
    rng = random.Random(0)
    validation = [frames(i, [rng.random() + (5 <= t <= 20) * 0.4 for t in range(40)]) for i in range(6)]
    gold = [truth(i, [5, 20]) for i in range(6)]
    (tmp_path / "p.json").write_text(json.dumps(validation))
    (tmp_path / "a.json").write_text(json.dumps(gold))
    files = {"validation_predictions": str(tmp_path / "p.json"), "validation_annotations": str(tmp_path / "a.json")}
    best = score("frame_scores", validation, gold).figures["best_on_test"]
    found = score("frame_scores", [frames("a", RISING)], [truth("a", [3, 5])], **files).figures["result"]
    assert (found["smooth_window_size"], found["threshold"]) == (best["smooth_window_size"], best["threshold"])
    assert "smooth and threshold fitted on" in found["setting"]
    assert "6 questions, best mIoU" in found["setting"]
    one = score("frame_scores", [frames("a", RISING)], [truth("a", [3, 5])], smooth=1, **files).figures["result"]
    assert one["smooth_window_size"] == 1
    assert "threshold fitted on" in one["setting"]
    rows = score("frame_scores", validation, gold).figures["sweep_on_test"]
    assert (
        one["threshold"]
        == max((r for r in rows if r["smooth_window_size"] == 1), key=lambda r: r["scores"][0])["threshold"]
    )


def test_highlights_are_fitted_on_validation(tmp_path: Path) -> None:
    rng = random.Random(1)
    rows = [frames(i, [rng.random() for _ in range(20)]) for i in range(4)]
    gold = [rated(i, [2, 3], [[4, 2, 0], [3, 3, 1]]) for i in range(4)]
    (tmp_path / "p.json").write_text(json.dumps(rows))
    (tmp_path / "a.json").write_text(json.dumps(gold))
    files = {"validation_predictions": str(tmp_path / "p.json"), "validation_annotations": str(tmp_path / "a.json")}
    report = score("frame_scores", rows, gold, **files)
    name = "HL-min-VeryGood-mAP"
    assert report.figures["result"]["brief"][name] == report.headline[f"best_on_test_{name}"]


def test_both_schemas_of_frames_are_read() -> None:
    pairs = [frames("a", [[1 - s, s] for s in RISING]), frames("b", RISING, time="time")]
    report = score("frame_scores", pairs, [truth("a", [3, 5]), truth("b", [3, 5])], smooth=0)
    assert report.headline["mIoU"] == 100
    other = [{"question_id": "a", "debug_data": [{"time": t, "informative_score": s} for t, s in enumerate(RISING)]}]
    gold = [truth("a", [3, 5])]
    assert score("frame_scores", other, gold, smooth=0, score_name="informative_score").headline["mIoU"] == 100


def test_a_frame_without_a_score_has_zero() -> None:
    row = frames("a", RISING)
    del row["debug_data"][4]["relevance_score"]
    same = frames("a", [*RISING[:4], 0, *RISING[5:]])
    gold = [truth("a", [3, 5])]
    assert score("frame_scores", [row], gold).figures == score("frame_scores", [same], gold).figures


def test_own_predictions_know_how_far_frames_are_apart() -> None:
    row = {"id": "a", "moments": [], "text": "", "frame_scores": RISING}
    gold = [truth("a", [6, 10])]
    assert score("frame_scores", [row], gold, smooth=0).headline["mIoU"] == 100
    assert score("frame_scores", [row], [truth("a", [3, 5])], smooth=0, seconds_per_score=1).headline["mIoU"] == 100
    timed = {**row, "frame_times": [10.0 + i for i in range(8)]}
    assert score("frame_scores", [timed], [truth("a", [13, 15])], smooth=0).headline["mIoU"] == 100


@pytest.mark.parametrize("level", [0.5, 0.0])
def test_equal_scores_count_as_nothing_found(level: float) -> None:
    report = score("frame_scores", [frames("a", [level] * 20)], [truth("a", [0, 20])])
    assert report.headline["mIoU"] == 0
    assert all(row["scores"] == [0, 0, 0, 0] for row in report.figures["sweep_on_test"])


def test_means_of_equal_scores_may_differ_in_the_last_bit() -> None:
    """The original stretches such differences to the range from 0 to 1; ``zero`` does not."""
    level = next(s for s in np.arange(1, 1000) / 1000 if len({np.mean([s] * n) for n in range(7, 14)}) > 1)
    rows, gold = [frames("a", [float(level)] * 20)], [truth("a", [0, 20])]
    assert score("frame_scores", rows, gold).headline["mIoU"] > 0
    assert score("frame_scores", rows, gold, constant_scores="zero").headline["mIoU"] == 0


def test_spans_of_rated_clips() -> None:
    clips, best = np.array([1.0, 2, 3, 6, 7, 9]), np.array([4.0, 4, 1, 4, 4, 4])
    assert spans_of_clips(clips, best, "original").tolist() == [[6, 6], [12, 20]]
    assert spans_of_clips(clips, best, "repaired").tolist() == [[2, 6], [12, 16], [18, 20]]
    assert spans_of_clips(np.zeros(0), np.zeros(0), "original").shape == (0, 2)


def test_spans_of_rated_clips_change_the_figures() -> None:
    answer = {"relevant_clip_ids": [1, 2, 3], "saliency_scores": [[4, 0, 0], [4, 4, 4], [0, 0, 0]]}
    gold = [{"question_id": "a", "answer": answer}]
    scores = [0.0, 0, 1, 1, 1, 1, 1, 0, 0, 0]
    assert score("frame_scores", [frames("a", scores)], gold, smooth=0).headline["mIoU"] == 20
    assert score("frame_scores", [frames("a", scores)], gold, smooth=0, qvh_spans="repaired").headline["mIoU"] == 100


def test_task_follows_from_the_truth() -> None:
    rows, gold = [frames(1, RISING * 2)], [rated(1, [2, 3], [[4, 2, 0], [3, 3, 1]])]
    assert "HL-min-Fair-mAP" in score("frame_scores", rows, gold).headline
    assert "mIoU" in score("frame_scores", rows, gold, task="grounding").headline
    with pytest.raises(ScoringError, match="highlights need rated clips"):
        score("frame_scores", rows, [truth(1, [3, 5])], task="highlights")


def test_highlights_of_clip_scores() -> None:
    row = {"qid": 1, "pred_saliency_scores": [0.0, 0, 3, 2, 0, 0, 0, 0, 0, 0]}
    report = score("frame_scores", [row], [rated(1, [2, 3], [[4, 4, 4], [4, 4, 4]])], smooth=0)
    assert report.headline["HL-min-VeryGood-mAP"] == 100
    assert report.headline["HL-min-VeryGood-Hit1"] == 100
    assert [row["smooth_window_size"] for row in report.figures["sweep_on_test"]] == list(range(15))


def test_highlights_leave_out_what_one_side_lacks() -> None:
    rows = [frames(1, RISING * 2), frames(9, RISING)]
    report = score("frame_scores", rows, [rated(1, [2], [[4, 2, 0]]), rated(2, [2], [[4, 2, 0]])])
    assert report.pairs.tally.counts() | {"queries": 2} == report.pairs.tally.counts()
    assert (report.pairs.tally.missing, report.pairs.tally.extra, report.pairs.tally.scored) == (1, 1, 1)
    zero = score("frame_scores", rows, [rated(1, [2], [[4, 2, 0]]), rated(2, [2], [[4, 2, 0]])], missing="zero")
    assert zero.headline["HL-min-Fair-mAP"] == pytest.approx(report.headline["HL-min-Fair-mAP"] / 2, abs=0.01)


def test_frames_further_apart_than_a_clip_are_an_error() -> None:
    with pytest.raises(ScoringError, match="'1': the first two frames lie 3 s apart"):
        score("frame_scores", [frames(1, RISING, interval=3.0)], [rated(1, [2], [[4, 2, 0]])])
    with pytest.raises(ScoringError, match="one frame only"):
        score("frame_scores", [frames(1, [0.5])], [rated(1, [2], [[4, 2, 0]])])


def text(identity: str | int, words: str, duration: float = 40.0) -> Row:
    return {"question_id": identity, "model_response": [words], "video_duration": duration}


def test_texts_with_two_numbers() -> None:
    gold = [truth("a", [4, 12]), truth("b", [3.5, 7.25]), truth("c", [1, 2])]
    rows = [
        text("a", "From 10 to 30, he walks."),
        text("b", "in 3.5 - 7.25 seconds"),
        text("c", "Between 1 and 2 or 3"),
    ]
    report = score("frame_scores", rows, gold)
    assert report.headline["mIoU"] == 100
    assert report.pairs.tally.unparseable == 1
    assert score("frame_scores", rows, gold, unreadable_text="zero").headline["mIoU"] == pytest.approx(200 / 3)
    with pytest.raises(ScoringError, match="no text names exactly two numbers"):
        score("frame_scores", rows[2:], gold[2:])


def test_windows_of_texts_are_counted_a_second_longer() -> None:
    report = score("frame_scores", [text("a", "3.0 - 5.0 seconds")], [truth("a", [5, 6], [0, 9])])
    assert report.headline["mIoU"] == 25


def test_highlights_of_texts() -> None:
    report = score("frame_scores", [text(1, "3.5 - 7.5 seconds", 20.9)], [rated(1, [2, 3], [[4, 4, 4], [4, 4, 4]])])
    assert report.headline["HL-min-VeryGood-mAP"] == 100
    bare = {"question_id": 1, "model_response": "3.5 - 7.5 seconds"}
    with pytest.raises(ScoringError, match="video_duration"):
        score("frame_scores", [bare], [rated(1, [2], [[4, 4, 4]])])


def test_unknown_questions_are_counted_and_may_stop() -> None:
    rows, gold = [frames("a", RISING), frames("nope", RISING)], [truth("a", [3, 5])]
    assert score("frame_scores", rows, gold).pairs.tally.extra == 1
    with pytest.raises(ScoringError, match="nope"):
        score("frame_scores", rows, gold, extra="error")


def test_figures_are_means_of_their_estimates() -> None:
    rng = random.Random(3)
    rows = [frames(i, [rng.random() for _ in range(30)]) for i in range(6)]
    for gold in ([truth(i, [5, 12]) for i in range(6)], [rated(i, [2, 3], [[4, 2, 0], [3, 3, 4]]) for i in range(6)]):
        report = score("frame_scores", rows, gold)
        assert set(report.headline) == set(report.scored.estimates)
        for name, estimate in report.scored.estimates.items():
            assert report.headline[name] == pytest.approx(estimate.scale * np.nanmean(estimate.values), abs=0.006)


def test_the_order_of_rows_does_not_matter() -> None:
    rng = random.Random(4)
    rows = [frames(i, [rng.random() for _ in range(30)]) for i in range(6)]
    gold = [truth(i, [i, 12]) for i in range(6)]
    ours, other = score("frame_scores", rows, gold), score("frame_scores", rows[::-1], gold[::-1])
    assert ours.headline == pytest.approx(other.headline)


@pytest.mark.parametrize(
    "broken",
    [
        {"question_id": "a", "debug_data": []},
        {"question_id": "a", "debug_data": ["x"]},
        {"question_id": "a", "debug_data": [{"video_time": 0}, {"relevance_score": 1}]},
        {"question_id": "a", "debug_data": [{"video_time": "0", "relevance_score": 1}]},
        {"question_id": "a", "debug_data": [{"video_time": 0, "relevance_score": float("nan")}]},
        {"question_id": "a", "debug_data": [{"video_time": 0, "relevance_score": [0.1, 0.2, 0.7]}]},
        {"question_id": "a", "debug_data": [{"video_time": float("inf"), "relevance_score": 1}]},
    ],
)
def test_broken_rows_are_counted(broken: Row) -> None:
    report = score("frame_scores", [broken, frames("b", RISING)], [truth("a", [3, 5]), truth("b", [3, 5])])
    assert report.pairs.tally.unparseable == 1
    assert report.pairs.tally.scored == 1


def test_bad_files(tmp_path: Path) -> None:
    gold = [truth("a", [3, 5])]
    with pytest.raises(ScoringError, match="no rows"):
        score("frame_scores", [], gold)
    with pytest.raises(ScoringError, match="another split"):
        score("frame_scores", [frames("z", RISING)], gold)
    torn = tmp_path / "torn.jsonl"
    torn.write_text(json.dumps(frames("a", RISING)) + "\n" + json.dumps(frames("b", RISING))[:50])
    report = score("frame_scores", torn, [*gold, truth("b", [0, 1])])
    assert report.pairs.tally.unparseable == 1
    assert f"{torn}, line 2" in report.pairs.tally.examples["unparseable"][0]
    with pytest.raises(ScoringError, match="outside the 10 clips"):
        score("frame_scores", [frames(1, RISING)], [rated(1, [10], [[1, 2, 3]])])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"smooth": -1}, "smooth must be 0 or more"),
        ({"threshold": 1.5}, "threshold must lie in 0..1"),
        ({"seconds_per_score": 0}, "above 0"),
        ({"validation_predictions": "p.jsonl"}, "together"),
        ({"fitted_figure": "accuracy"}, "fitted_figure must be one of"),
    ],
)
def test_bad_options(options: Row, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        score("frame_scores", [frames("a", RISING)], [truth("a", [3, 5])], **options)


def test_fuzzed_rows() -> None:
    rng = random.Random(0)
    values = [
        None,
        True,
        "x",
        "",
        -1,
        1e400,
        float("nan"),
        [],
        [1],
        [[1, 2]],
        {},
        {"video_time": 1},
        0.5,
        "From 1 to 2",
    ]
    keys = ["question_id", "debug_data", "model_response", "video_duration", "id", "frame_scores", "x"]
    gold = [truth(i, [0, 3]) for i in range(500)]
    rows = [frames(0, RISING)]
    for number in range(1, 500):
        row = frames(number, [rng.choice([*values, 0.2, 0.7]) for _ in range(rng.randrange(4))])
        for _ in range(rng.randrange(3)):
            row[rng.choice(keys)] = rng.choice(values)
        rows.append(row)
    tally = score("frame_scores", rows, gold).pairs.tally
    assert tally.scored + tally.missing + tally.unparseable >= 499
    assert tally.unparseable > 100


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "answer",
    [
        frames(1, [1.7e308, -1.7e308, 0.0]),
        frames(1, [0.1, 0.2], interval=1e300),
        {"question_id": 1, "model_response": "1 5", "video_duration": 1e16},
        {"id": 1, "frame_scores": [0.1, 0.2], "frame_times": [0.0, 1e300]},
    ],
)
@pytest.mark.parametrize("task", ["grounding", "highlights"])
def test_numbers_beyond_reason_are_counted(answer: Row, task: str) -> None:
    truths = [rated(1, [1], [[1, 2, 4]]), rated(2, [1], [[1, 2, 4]])]
    usual = {key: value for key, value in answer.items() if key in ("question_id", "id")}
    fine: Row = {"frame_scores": [0.1] * 10} if "id" in usual else {"debug_data": frames(2, [0.1] * 10)["debug_data"]}
    if "model_response" in answer:
        fine = {"model_response": "1 5", "video_duration": 20}
    report = score("frame_scores", [answer, {next(iter(usual)): 2, **fine}], truths, task=task)
    assert (report.pairs.tally.unparseable, report.pairs.tally.scored) == (1, 1)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "change",
    [{"duration": 1e16}, {"duration": -4}, {"relevant_clip_ids": [1e300]}, {"saliency_scores": [[1e300, 1, 2]]}],
)
def test_truth_beyond_reason_is_refused(change: Row) -> None:
    truths = [{**rated(1, [1], [[1, 2, 4]]), **change}, rated(2, [1], [[1, 2, 4]])]
    with pytest.raises(ScoringError, match=f"row 1: field '{next(iter(change))}'"):
        score("frame_scores", [frames(2, RISING)], truths, task="highlights")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("interval", [5e-324, 1e-20, 1e-6])
def test_frames_at_almost_the_same_time_are_all_of_the_first_clip(interval: float) -> None:
    report = score("frame_scores", [frames(1, RISING, interval)], [rated(1, [0], [[4, 4, 4]])], task="highlights")
    assert report.headline["HL-min-VeryGood-Hit1"] == 100
