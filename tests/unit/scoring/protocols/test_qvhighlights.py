"""The protocol ``qvhighlights``: 104 published figures to the last digit, ranges, highlights, forms, bad input."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lavis.scoring.base import ScoringError
from lavis.scoring.scorer import ScoreReport, score

Row = dict[str, Any]


def report(predictions: list[Row], truths: list[Row], **settings: Any) -> dict[str, Any]:
    return score("qvhighlights", predictions, truths, **settings).figures


def figures_of(content: Any) -> list[float]:
    return [n for v in content.values() for n in figures_of(v)] if isinstance(content, dict) else [content]


def test_published_sample(data_dir: Path) -> None:
    folder = data_dir / "qvhighlights"
    recorded = json.loads((folder / "sample_val_preds_metrics_raw.json").read_text())
    started = time.process_time()
    found = score("qvhighlights", folder / "sample_val_preds.jsonl", folder / "highlight_val_release.jsonl")
    assert time.process_time() - started < 2  # about 0.2 s on an idle machine
    assert len(figures_of(recorded)) == 104
    assert json.dumps(found.figures) == json.dumps(recorded)  # order and all
    assert found.headline == recorded["brief"]
    assert found.forms["predictions"].startswith("QVHighlights submission")
    same_as_estimates(found)


def same_as_estimates(found: ScoreReport) -> None:
    for name, estimate in found.scored.estimates.items():
        mean = estimate.scale * np.nanmean(estimate.values)  # type: ignore[union-attr]
        assert found.headline[name] == pytest.approx(mean, abs=0.00501)


def row(qid: int | str, windows: list[list[float]], **fields: Any) -> Row:
    return {"qid": qid, "pred_relevant_windows": windows, **fields}


def truth(qid: int | str, windows: list[list[float]], **fields: Any) -> Row:
    return {"qid": qid, "vid": f"v{qid}", "relevant_windows": windows, **fields}


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


def test_queries_must_match_unless_told_otherwise() -> None:
    truths = [truth(1, [[0, 5]]), truth(3, [[0, 5]])]
    with pytest.raises(ScoringError, match="1 missing"):
        report([row(1, [[0, 5, 1]])], truths)
    assert report([row(1, [[0, 5, 1]])], truths, missing="zero")["brief"]["MR-full-mAP"] == 50
    assert report([row(1, [[0, 5, 1]])], truths, missing="drop")["brief"]["MR-full-mAP"] == 100
    with pytest.raises(ScoringError, match="1 extra"):
        report([row(q, [[0, 5, 1]]) for q in (1, 2, 3)], truths)
    with pytest.raises(ScoringError, match="no predictions"):
        report([], truths)
    with pytest.raises(ScoringError, match="another split"):
        report([row(7, [[0, 5, 1]])], truths)


def test_a_query_answered_twice() -> None:
    """Recall sees the last row, precision the windows of both, ten of each."""
    found = score("qvhighlights", [row(1, [[0, 5, 0.9]]), row(1, [[50, 60, 0.1]])], [truth(1, [[0, 5]])])
    assert found.figures["brief"]["MR-full-R1@0.5"] == 0
    assert found.figures["brief"]["MR-full-mAP"] == 100
    assert found.pairs.tally.duplicated == 1


@pytest.mark.parametrize(
    "answer",
    [
        row("QVHighlight_7", [[0, 40, 0.5]]),
        row("7", [[0, 40]]),
        {"qid": "QVHighlight_7", "pred_windows": [[0, 40]], "raw_pred_windows": "[[0, 40]]"},
        {"qid": "QVHighlight_7", "pred_windows": "[[0, 40]]"},
        {"qid": "QVHighlight_7", "raw_pred_windows": "[[0, 40]]"},
        {"qid": "QVHighlight_7_3", "prediction": "[[0, 40]]", "raw_prediction": "", "target": "[[0, 40]]"},
        {"id": "QVHighlight_7", "moments": [[0, 40], [50, 60, 0.5]], "text": "[[0, 40]]"},
        {"id": 7, "moments": [[0, 40, 0.3]], "text": ""},
    ],
)
def test_forms_of_answers_and_ids(answer: Row) -> None:
    for true in (truth(7, [[0, 40]]), {"qid": "QVHighlight_7", "video": "a", "relevant_windows": [[0, 40]]}):
        assert report([answer], [true])["brief"]["MR-full-mAP"] == 100


def rated(qid: int, ratings: list[list[int]], windows: list[list[float]]) -> Row:
    clips = list(range(len(ratings)))
    return truth(qid, windows, duration=2 * len(ratings), relevant_clip_ids=clips, saliency_scores=ratings)


def test_highlights_where_both_sides_have_them() -> None:
    truths = [rated(1, [[4, 4, 4], [0, 0, 0]], [[0, 2]]), rated(2, [[4, 4, 4], [0, 0, 0]], [[0, 2]])]
    scored = row(1, [[0, 2, 1]], pred_saliency_scores=[0.9, 0.1])
    both = score("qvhighlights", [scored, {**scored, "qid": 2}], truths)
    assert both.figures["HL-min-VeryGood"] == {"HL-mAP": 100, "HL-Hit1": 100}
    same_as_estimates(both)
    some = score("qvhighlights", [scored, row(2, [[0, 2, 1]])], truths)
    assert some.figures["HL-min-VeryGood"] == {"HL-mAP": 50, "HL-Hit1": 50}
    assert "1 of 2 answers have no clip scores" in some.scored.notes[0]
    same_as_estimates(some)
    none = score("qvhighlights", [row(1, [[0, 2, 1]]), row(2, [])], truths)
    assert "HL-min-Good" not in none.figures and "left out" in none.scored.notes[0]
    unrated = score("qvhighlights", [scored], [truth(1, [[0, 2]])])
    assert "HL-min-Good" not in unrated.figures and "no ratings" in unrated.scored.notes[0]


def test_the_test_split_scores_where_its_truth_is_given(tmp_path: Path) -> None:
    file = tmp_path / "highlight_test_with_gt.jsonl"
    file.write_text("\n".join(json.dumps(rated(q, [[4, 3, 2], [1, 0, 0]], [[0, 2]])) for q in (1, 2)))
    answers = tmp_path / "test.jsonl"
    answers.write_text("\n".join(json.dumps(row(q, [[0, 2, 1]], pred_saliency_scores=[1, 0])) for q in (1, 2)))
    assert score("qvhighlights", answers, file).figures["brief"]["MR-short-mAP"] == 100


# Bad input


@pytest.mark.parametrize(
    "windows", [[[0, float("nan"), 1]], [[0, float("inf"), 1]], [["0", "5", 1]], [[0]], [0, 5], "x", None]
)
def test_windows_that_cannot_be_read_are_counted(windows: Any) -> None:
    rows = [row(1, [[0, 5, 1]]), row(2, windows)]
    truths = [truth(1, [[0, 5]]), truth(2, [[0, 5]])]
    found = score("qvhighlights", rows, truths, missing="zero")
    assert found.pairs.tally.unparseable == 1
    assert found.figures["brief"]["MR-full-mAP"] == 50
    with pytest.raises(ScoringError, match="predictions, row 2"):
        score("qvhighlights", rows, truths)


def test_windows_outside_the_video_are_counted_and_score_as_they_are() -> None:
    truths = [truth(q, [[0, 5]], duration=150) for q in (1, 2, 3, 4)]
    rows = [row(1, [[0, 160, 1]]), row(2, [[-3, 5, 1]]), row(3, [[5, 0, 1]]), row(4, [[0, 5, 1]])]
    found = score("qvhighlights", rows, truths)
    assert found.pairs.tally.out_of_range == 3
    assert found.figures["full"]["MR-R1"]["0.6"] == 50


def test_truth_that_cannot_be_read_stops_the_scoring() -> None:
    for bad in (truth(1, []), rated(1, [[4, 4], [3, 3]], [[0, 2]]), {**rated(1, [[4, 4, 4]], [[0, 2]]), "duration": 1}):
        with pytest.raises(ScoringError, match="the truth cannot be read"):
            report([row(1, [[0, 5, 1]])], [bad])


def test_a_torn_last_line(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text(json.dumps(row(1, [[0, 5, 1]])) + "\n" + json.dumps(row(2, [[0, 5, 1]]))[:-9])
    found = score("qvhighlights", file, [truth(1, [[0, 5]]), truth(2, [[0, 5]])], missing="zero")
    assert found.pairs.tally.unparseable == 1
    assert f"{file}, line 2" in found.pairs.tally.examples["unparseable"][0]
