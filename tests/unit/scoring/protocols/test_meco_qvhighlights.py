"""The protocol ``meco_qvhighlights``: recorded figures to the last digit, forms of answers, ranges, broken rows."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lavis.scoring.base import ScoringError
from lavis.scoring.scorer import ScoreReport, score

Row = dict[str, Any]


def record(qid: int | str, similarities: list[list[float]], windows: list[list[float]], **fields: Any) -> Row:
    return {
        "qid": qid,
        "vid": f"v{qid}",
        "duration": 20,
        "relevant_windows": windows,
        "ent_inds": list(range(len(similarities))),
        "tst_inds": [],
        "vl_sims": similarities,
        "scale": 10.0,
        **fields,
    }


def peak(first: int, last: int, frames: int = 20) -> list[float]:
    return [1.0 if first <= frame <= last else 0.0 for frame in range(frames)]


@pytest.fixture(scope="module")
def recorded(golden_dir: Path) -> tuple[list[Row], Row]:
    folder = golden_dir / "meco" / "metrics" / "qvhighlights"
    return json.loads((folder / "preds.json").read_text()), json.loads((folder / "result.json").read_text())


def test_recorded_figures(recorded: tuple[list[Row], Row]) -> None:
    rows, result = recorded
    found = score("meco_qvhighlights", rows)
    assert json.dumps(found.figures) == json.dumps(result["metrics"])  # order and all
    assert found.headline == result["metrics"]["brief"]
    assert found.forms["predictions"].startswith("MeCo similarities")
    assert found.pairs.tally.counts()["unparseable"] == 8  # answers without a box: the whole video counts
    same_as_estimates(found)


def same_as_estimates(found: ScoreReport) -> None:
    assert set(found.scored.estimates) == set(found.headline)
    for name, estimate in found.scored.estimates.items():
        mean = estimate.scale * np.nanmean(estimate.values)  # type: ignore[union-attr]
        assert found.headline[name] == pytest.approx(mean, abs=0.00501)


def test_recorded_windows_and_clips(recorded: tuple[list[Row], Row]) -> None:
    rows, result = recorded
    answers = {answer.id: answer for answer in score("meco_qvhighlights", rows).pairs.answers}
    for sample in result["per_sample"]:
        answer = answers[str(sample["qid"])]
        np.testing.assert_allclose(answer.windows, sample["pred_relevant_windows"], atol=1e-6)
        np.testing.assert_allclose(answer.clips, sample["pred_saliency_scores"], atol=1e-6)


def test_decoded_windows_give_the_same_figures(recorded: tuple[list[Row], Row]) -> None:
    rows, result = recorded
    decoded = score("meco_qvhighlights", result["per_sample"], rows)
    assert decoded.figures == result["metrics"]
    ours = [
        {"id": str(s["qid"]), "moments": s["pred_relevant_windows"], "frame_scores": s["pred_saliency_scores"]}
        for s in result["per_sample"]
    ]
    found = score("meco_qvhighlights", ours, rows)
    assert found.figures == result["metrics"]
    assert found.forms["predictions"].startswith("lavis predictions")


def test_order_does_not_matter(recorded: tuple[list[Row], Row]) -> None:
    rows, result = recorded
    assert score("meco_qvhighlights", rows[::-1]).figures == result["metrics"]


def test_an_answer_without_a_window_is_the_whole_video() -> None:
    rows = [record(1, [], [[0, 20]]), record(2, [[0.5] * 20], [[0, 10]])]
    found = score("meco_qvhighlights", rows)
    assert [answer.windows.tolist() for answer in found.pairs.answers] == [[[0, 20, 1]]] * 2
    assert [answer.clips.tolist() for answer in found.pairs.answers] == [[1.0] * 10] * 2
    assert found.headline["MR-full-mIoU"] == 75
    assert found.pairs.tally.counts()["unparseable"] == 2


def test_an_empty_range_has_the_figures_of_all() -> None:
    found = score("meco_qvhighlights", [record(1, [peak(4, 10)], [[4, 10]]), record(2, [peak(0, 3)], [[0, 6]])])
    assert found.figures["long"] == found.figures["middle"] == found.figures["full"] == found.figures["short"]
    assert len(found.scored.notes) == 2
    same_as_estimates(found)


def test_ranges_end_with_their_upper_limit() -> None:
    rows = [record(1, [peak(0, 10)], [[0, 10]]), record(2, [peak(0, 9)], [[0, 10.5]])]
    figures = score("meco_qvhighlights", rows).figures
    assert figures["short"]["MR-mIoU"] == 100
    assert figures["middle"]["MR-mIoU"] == pytest.approx(85.71)


def test_no_comparison_and_no_growing_unless_asked_for() -> None:
    rows = [record(1, [peak(4, 10), peak(6, 12)], [[4, 10]])]
    windows = score("meco_qvhighlights", rows).pairs.answers[0].windows
    assert windows[:, :2].tolist() == [[4, 10], [6, 12]]
    compared = score("meco_qvhighlights", rows, compare_tokens=True, nms=0.99).pairs.answers[0].windows
    assert sorted(compared[:, :2].tolist()) == [[3, 11], [5, 13]]


def test_threshold_counts_here() -> None:
    row = [0.0, 0.6, 1.0, 0.6, *[0.0] * 16]
    assert score("meco_qvhighlights", [record(1, [row], [[1, 3]])]).headline["MR-full-R1@0.7"] == 0
    assert score("meco_qvhighlights", [record(1, [row], [[1, 3]])], threshold=0.5).headline["MR-full-R1@0.7"] == 100


def test_suppressed_boxes_are_kept_with_score_zero() -> None:
    rows = [record(1, [peak(4, 14), peak(4, 13)], [[4, 14]])]
    windows = score("meco_qvhighlights", rows).pairs.answers[0].windows
    assert windows[:, :2].tolist() == [[4, 13], [4, 14]]
    assert windows[1, 2] == 0
    assert score("meco_qvhighlights", rows, nms=0.95).pairs.answers[0].windows[1, 2] > 0


def test_records_without_scale() -> None:
    rows = [record(1, [peak(4, 10)], [[4, 10]]), record(2, [peak(4, 10)], [[4, 10]])]
    del rows[1]["scale"]
    with pytest.raises(ScoringError, match=r"1 unparseable[\s\S]*row 2: field 'scale' is missing"):
        score("meco_qvhighlights", rows)
    assert score("meco_qvhighlights", rows, scale=10.0).headline["MR-full-mIoU"] == 100
    missed = score("meco_qvhighlights", rows, missing="zero")
    assert missed.headline["MR-full-mIoU"] == 50
    assert missed.pairs.tally.counts()["unparseable"] == 1
    assert score("meco_qvhighlights", rows, missing="drop").headline["MR-full-mIoU"] == 100


def test_recall_of_five() -> None:
    windows = [[50, 60, 0.1], [0, 4, 0.9], [10, 12, 0.8], [10, 13, 0.8], [10, 18, 0.7], [10, 20, 0.6]]
    truth = [{"qid": 1, "duration": 60, "relevant_windows": [[10, 20], [30, 40]]}]
    figures = score("meco_qvhighlights", [{"qid": 1, "pred_relevant_windows": windows}], truth).figures["full"]
    assert figures["MR-R1"]["0.3"] == 0
    assert [figures["MR-R5"][at] for at in ("0.8", "0.85")] == [100, 0]


def test_ids_as_numbers_and_as_text() -> None:
    truth = [{"qid": 7, "duration": 60, "relevant_windows": [[10, 20]]}]
    for identity in (7, "7", "QVHighlight_7"):
        found = score("meco_qvhighlights", [{"id": identity, "moments": [[10, 20]]}], truth)
        assert found.headline["MR-full-R1@0.7"] == 100


def test_truth_of_another_split() -> None:
    truth = [{"qid": 8, "duration": 60, "relevant_windows": [[10, 20]]}]
    with pytest.raises(ScoringError, match="another split"):
        score("meco_qvhighlights", [record(7, [peak(4, 10)], [[4, 10]])], truth)


def test_nothing_to_score(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match="no rows"):
        score("meco_qvhighlights", [])
    (tmp_path / "preds.jsonl").write_text("")
    with pytest.raises(ScoringError, match="empty"):
        score("meco_qvhighlights", tmp_path / "preds.jsonl")


def test_a_torn_last_line_is_told_with_its_place(tmp_path: Path) -> None:
    lines = [json.dumps(record(n, [peak(4, 10)], [[4, 10]])) for n in range(3)]
    path = tmp_path / "preds.jsonl"
    path.write_text("\n".join(lines)[:-40])
    found = score("meco_qvhighlights", path, missing="zero")
    assert found.pairs.tally.counts()["unparseable"] == 1
    assert "line 3" in found.pairs.tally.examples["unparseable"][0]


JUNK: list[Any] = [None, "", "x", -1, 1e300, float("nan"), float("inf"), [], [[]], [1], [[1, 2]], [["a"]], {}, True]


def test_fuzzed_rows_are_counted() -> None:
    source = random.Random(4)
    rows, truths = [], []
    for number in range(500):
        row = record(number, [peak(4, 10), peak(1, 3)], [[4, 10]])
        truths.append({key: row[key] for key in ("qid", "vid", "duration", "relevant_windows")})
        for field in source.sample(sorted(row), source.randrange(3)):
            row[field] = source.choice(JUNK)
        rows.append(row)
    found = score("meco_qvhighlights", rows, truths, missing="zero", extra="drop")
    counts = found.pairs.tally.counts()
    assert counts["scored"] == 500
    assert 100 < counts["unparseable"] < 400
    assert all(np.isfinite(value) for value in found.headline.values())
