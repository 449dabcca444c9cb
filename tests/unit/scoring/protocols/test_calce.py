"""The protocol ``calce``: published and recorded figures, forms, duplicates, windows that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lavis.scoring.base import ScoringError
from lavis.scoring.protocols.calce import Calce
from lavis.scoring.scorer import score

Row = dict[str, Any]


def row(qid: str, predicted: list[list[float]], truth: list[list[float]]) -> Row:
    return {"qid": qid, "pred_relevant_windows": predicted, "relevant_windows": truth}


def figures(rows: list[Row]) -> Row:
    return score("calce", rows).figures["mr"]["full"]


def test_published_figures_of_stage_1(data_dir: Path) -> None:
    """CALCE's README: 78.00 and 64.84 (recall), 72.89 (mIoU), 70.81 and 57.73 (mAP); the file holds both sides."""
    found = score("calce", data_dir / "qvhighlights" / "calce_val_stage2.json")
    headline = found.headline
    assert (headline["R1@0.5"], headline["R1@0.7"]) == (78.0, 64.84)
    assert headline["mIoU"] == 0.7288868200655976
    assert (headline["mAP@0.5"], headline["mAP@0.75"], headline["mAP"]) == (70.81, 57.73, 56.17)
    assert headline["R1-avg"] == 60.814 and headline["invalid"] == 0
    assert found.pairs.tally.scored == 1550
    for name, estimate in found.scored.estimates.items():
        mean = estimate.scale * np.nanmean(estimate.values)  # type: ignore[union-attr]
        assert headline[name] == pytest.approx(mean, abs=0.00501)


def test_the_release_is_truth_for_calces_files_too(data_dir: Path) -> None:
    folder = data_dir / "qvhighlights"
    own = score("calce", folder / "calce_val_stage2.json")
    assert (
        score("calce", folder / "calce_val_stage2.json", folder / "highlight_val_release.jsonl").figures == own.figures
    )


def test_recorded_report(golden_dir: Path) -> None:
    recorded = json.loads((golden_dir / "calce" / "unit" / "metrics_project.json").read_text())
    assert score("calce", recorded["submission"]).figures == recorded["expected"]
    twice = recorded["submission"] + recorded["submission"][:2]
    assert score("calce", twice).figures == recorded["expected_with_first_two_duplicated"]


def test_charades_results_hold_truth_as_text() -> None:
    rows = [
        {
            "qid": "Charades_1",
            "duration": 30,
            "raw_pred_windows": "[[0, 10]]",
            "pred_windows": [[0, 10]],
            "gt_windows": "[[0, 10]]",
            "query": "q",
        },
        {
            "qid": "Charades_2",
            "duration": 30,
            "raw_pred_windows": "",
            "pred_windows": [[20, 31]],
            "gt_windows": [[0, 10]],
            "query": "q",
        },
    ]
    found = score("calce", rows)
    assert found.headline["R1@0.5"] == found.headline["mAP"] == 50
    assert found.pairs.tally.out_of_range == 1
    rows[1]["gt_windows"] = None
    with pytest.raises(ScoringError, match="gt_windows"):
        score("calce", rows)


def test_no_windows_and_marks_are_invalid() -> None:
    for bad in ([], [[-1, -1]]):
        found = score("calce", [row("a", [[0, 10]], [[0, 10]]), row("b", bad, [[0, 10]])])
        assert found.headline["invalid"] == 1
        assert found.headline["R1@0.5"] == found.headline["mAP"] == 50
    told = score("calce", [{"qid": "a", "raw_pred_windows": "none", "relevant_windows": [[0, 10]]}])
    assert told.pairs.tally.unparseable == 1 and told.headline["invalid"] == 1


def test_missing_answers() -> None:
    truths = [row("a", [], [[0, 10]]), row("b", [], [[0, 10]])]
    answers = [{"qid": "a", "pred_windows": [[0, 10]]}]
    with pytest.raises(ScoringError, match="1 missing"):
        score("calce", answers, truths)
    assert score("calce", answers, truths, missing="zero").headline["R1@0.5"] == 50
    assert score("calce", answers, truths, missing="drop").headline["R1@0.5"] == 100


def test_equal_overlaps_are_decided_by_position() -> None:
    """Of two equal truths the later is taken first, so the figure does not depend on the processor."""
    predicted, truth = [[0.0, 10.0]] * 3, [[0.0, 10.0]] * 3
    assert figures([row("a", predicted, truth)])["mAP"]["0.95"] == 100


def test_rows_without_truth_or_none_at_all() -> None:
    with pytest.raises(ScoringError, match="without a true window cannot be scored"):
        score("calce", [{"qid": "b", "pred_windows": [[0, 1]]}], [row("b", [], [])])
    with pytest.raises(ScoringError, match="no predictions"):
        score("calce", [])
    with pytest.raises(ScoringError, match="no truth of its own"):
        score("calce", [{"qid": "b", "pred_windows": [[0, 1]]}])
    with pytest.raises(ValueError, match="recall_at"):
        Calce(recall_at=[0.0])


def test_many_windows_stay_cheap() -> None:
    """One text can hold some thousand windows; the others' arrays do not grow with it."""
    draw = np.random.default_rng(0)
    starts = draw.integers(0, 140, 2500)
    rows = [row("long", [[int(a), int(a) + 5] for a in starts], [[10, 15], [40, 45]])]
    rows += [row(str(i), [[10, 15]], [[10, 15]]) for i in range(300)]
    assert 99 < figures(rows)["mAP"]["average"] <= 100
