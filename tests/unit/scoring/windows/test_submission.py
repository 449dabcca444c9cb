"""The file for the QVHighlights server."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from lavis.scoring.base import ScoringError
from lavis.scoring.scorer import score
from lavis.scoring.windows.submission import query_number, submission_rows, video_name, write_submission

Row = dict[str, Any]
VAL = {"qid": 9769, "query": "some men", "vid": "j7rJstUseKg_360.0_510.0", "duration": 150}
TEST = {"qid": 12, "query": "a dog", "vid": "abc_0.0_150.0", "duration": 150}


def test_submission(tmp_path: Path) -> None:
    def write() -> Path:
        return write_submission(
            tmp_path / "out",
            val=([{"id": "QVHighlight_9769", "moments": [[0, 150], [3, 9, 0.5]], "text": ""}], [VAL]),
            test=([{"id": "12", "moments": [[1.5, 2]], "frame_scores": [0.25, 0.5]}], [TEST]),
        )

    path = write()
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
    second = json.loads((tmp_path / "out" / "hl_test_submission.jsonl").read_text())
    assert (second["qid"], second["vid"], second["pred_saliency_scores"]) == (12, "abc_0.0_150.0", [0.25, 0.5])
    again = path.read_bytes()
    assert write().read_bytes() == again


def test_from_calce_annotations_and_results() -> None:
    asked = {"qid": "QVHighlight_3", "query": "q", "video": "folder/a_0.0_150.0.mp4", "relevant_windows": [[0, 40]]}
    (row,) = submission_rows([{"qid": "QVHighlight_3", "pred_windows": [[0, 40]], "raw_pred_windows": ""}], [asked])
    assert (row["qid"], row["vid"], row["pred_relevant_windows"]) == (3, "a_0.0_150.0", [[0, 40, 1]])


def test_a_submission_scores_like_the_predictions() -> None:
    rows = submission_rows([{"id": "QVHighlight_9769", "moments": [[0, 40]]}], [VAL])
    rows[0].pop("pred_saliency_scores")
    truth = {"qid": 9769, "vid": "a", "relevant_windows": [[0, 40]]}
    assert score("qvhighlights", rows, [truth]).figures["brief"]["MR-full-mAP"] == 100


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"qid": 9769, "pred_relevant_windows": []}], "without a window.*: 9769"),
        ([{"qid": 1, "pred_relevant_windows": [[0, 1]]}], "not answered: 9769"),
        ([{"qid": 9769, "pred_relevant_windows": [[0, 1]]}] * 2, "answered twice: 9769"),
        ([{"qid": q, "pred_relevant_windows": [[0, 1]]} for q in (9769, 5)], "but not asked: 5"),
        ([{"qid": 9769, "pred_relevant_windows": [[5, 1]]}], "reversed window: 9769"),
        ([{"qid": 9769, "pred_relevant_windows": [[-5, 1]]}], "negative or reversed window: 9769"),
        ([{"qid": 9769, "pred_relevant_windows": [[0, float("nan")]]}], "cannot be read"),
    ],
)
def test_submission_refuses_what_the_server_would(rows: list[Row], message: str, tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match=message):
        write_submission(tmp_path, (rows, [VAL]), ([{"id": 12, "moments": [[0, 1]]}], [TEST]))
    assert not list(tmp_path.iterdir())


def test_query_number() -> None:
    assert query_number("QVHighlight_07") == 7
    with pytest.raises(ValueError, match="no query number"):
        query_number("QVHighlight_one")
    with pytest.raises(ScoringError, match="no query number"):
        submission_rows([{"id": "x", "moments": [[0, 1]]}], [{**VAL, "qid": "x"}])


def test_video_name() -> None:
    assert video_name("/data/videos/a.b.MP4") == "a.b"
    assert video_name("j7rJstUseKg_360.0_510.0") == "j7rJstUseKg_360.0_510.0"
