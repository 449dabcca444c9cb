"""The protocol ``etchat_charades``: recorded figures to the last digit, matched frames, forms, broken rows."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lavis.scoring.base import ScoringError
from lavis.scoring.scorer import score

Row = dict[str, Any]


def row(video: str, span: list[float], pred: Any) -> Row:
    return {"vid": video, "query": "a person sits.", "response": "r", "span": span, "pred": pred}


def test_recorded_figures(golden_dir: Path) -> None:
    folder = golden_dir / "meco" / "metrics" / "etchat_charades"
    found = score("etchat_charades", folder / "preds.json")
    assert json.dumps(found.figures) == json.dumps(json.loads((folder / "result.json").read_text()))
    counts = found.pairs.tally.counts()
    assert counts["unparseable"] == found.figures["failed"] == 12
    for name, estimate in found.scored.estimates.items():
        assert found.headline[name] == pytest.approx(np.mean(estimate.values), abs=0.000501)  # type: ignore[union-attr]


@pytest.mark.parametrize("pred", [None, [], [3], [1, 2, 3]])
def test_anything_but_two_frames_fails(pred: Any) -> None:
    figures = score("etchat_charades", [row("a", [1, 5], pred), row("b", [1, 5], [1, 5])]).figures
    assert (figures["failed"], figures["total"], figures["mIoU"]) == (1, 2, 0.5)


@pytest.mark.parametrize("pred", [[5, 1], [3, 3], [9, 12]])
def test_reversed_empty_and_distant_pairs_are_misses_but_no_failures(pred: list[float]) -> None:
    figures = score("etchat_charades", [row("a", [1, 5], pred)]).figures
    assert (figures["failed"], figures["iou_sum"]) == (0, 0)


def test_equal_windows_without_length_overlap_nothing() -> None:
    assert score("etchat_charades", [row("a", [7, 7], [7, 7])]).figures["mIoU"] == 0


def test_charades_lines_are_truth(tmp_path: Path) -> None:
    path = tmp_path / "charades_sta_test.txt"
    path.write_text("3MSZA 24.3 30.4##a person sits.\n7AB 1 5##a person sits.\n")
    answers = [{**row("3MSZA", [0, 1], [24, 30]), "query": "a person sits"}, row("7AB", [0, 1], None)]
    found = score("etchat_charades", answers, path)
    assert found.headline["R@0.7"] == 0.5
    path.write_text("3MSZA 24.3##x\n")
    with pytest.raises(ScoringError, match=r"line 1: must be a line like"):
        score("etchat_charades", answers, path)


def test_our_own_predictions() -> None:
    truth = [{"qid": 1, "vid": "a", "duration": 9, "relevant_windows": [[1, 5]]}]
    found = score("etchat_charades", [{"id": "1", "moments": [[1, 5, 0.3], [2, 3, 0.9]]}], truth)
    assert found.headline == {"R@0.3": 1, "R@0.5": 1, "R@0.7": 1, "mIoU": 1}


@pytest.mark.parametrize(
    ("times", "failed", "recall"),
    [([1, 5], 0, 1), ([5, 1], 0, 0), ([1], 1, 0), ([], 1, 0), ([1, None], 1, 0), ([1, 3, 5], 1, 0), (None, 1, 0)],
)
def test_our_own_predictions_of_match_tokens(times: Any, failed: int, recall: int) -> None:
    truth = [{"qid": 1, "vid": "a", "duration": 9, "relevant_windows": [[1, 5]]}]
    told = {"id": "1", "moments": [[1, 5]], "text": "1 - 5 seconds", "details": {"frames": times, "times": times}}
    found = score("etchat_charades", [told], truth)
    # Tokens count, and not the windows that the text tells besides.
    assert (found.figures["failed"], found.headline["R@0.7"]) == (failed, recall)
    other = {**told, "details": {"ent_inds": []}}
    assert score("etchat_charades", [other], truth).headline["R@0.7"] == 1


def test_rows_of_one_video_are_told_apart_by_their_query() -> None:
    rows = [row("a", [1, 5], [1, 5]), {**row("a", [1, 5], [1, 2]), "query": "another"}]
    assert score("etchat_charades", rows).figures["total"] == 2
    assert score("etchat_charades", rows[::-1]).figures == score("etchat_charades", rows).figures


def test_truth_without_a_start_and_an_end() -> None:
    with pytest.raises(ScoringError):
        score("etchat_charades", [row("a", [1], [1, 5])])


def test_fuzzed_rows_are_counted() -> None:
    source = random.Random(1)
    junk: list[Any] = [None, "", "x", -1, 1e300, [1e300, 2e300], [[1, 2]], ["a", "b"], {}, True, [float("nan"), 1]]
    rows = [row(f"v{number}", [1, 5], source.choice([[1, 5], *junk])) for number in range(500)]
    truths = [{key: r[key] for key in ("vid", "query", "span")} for r in rows]
    found = score("etchat_charades", rows, truths, missing="zero")
    assert found.figures["total"] == 500
    assert np.isfinite(found.figures["iou_sum"])
    assert found.pairs.tally.counts()["unparseable"] >= 300
