"""Batches of requests and results, and recorded replies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lavis.scoring.base import ScoringError
from lavis.scoring.judges.base import JudgingPending, Pair
from lavis.scoring.judges.batch import BatchJudge
from lavis.scoring.judges.recorded import RecordedJudge

PAIRS = [Pair("a*1.mp4", "What?", "gold", "p", (0, 2), (1,)), Pair("b", "What?", "gold", "other", (0,), (0, 3))]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def result(custom_id: str, text: str) -> dict[str, Any]:
    return {
        "custom_id": custom_id,
        "response": {"status_code": 200, "body": {"choices": [{"message": {"content": text}}]}},
    }


@pytest.mark.parametrize("custom_id", ["digest", "original"])
def test_requests_go_out_and_results_come_back(tmp_path: Path, custom_id: Any) -> None:
    requests = tmp_path / "requests.jsonl"
    with pytest.raises(JudgingPending, match="2 of 2 pairs have no result yet"):
        BatchJudge(str(requests), model="m", custom_id=custom_id).replies(PAIRS)
    rows = lines(requests)
    assert [row["method"] for row in rows] == ["POST", "POST"]
    assert rows[0]["body"]["model"] == "m"
    assert "What?" in rows[0]["body"]["messages"][-1]["content"]
    if custom_id == "original":
        assert [row["custom_id"] for row in rows] == ["a*1.mp4*0,2*1", "b*0*0,3"]
    came = write(tmp_path / "came.jsonl", [result(row["custom_id"], str(n + 1)) for n, row in enumerate(rows)][::-1])
    assert BatchJudge(str(requests), came, model="m").replies(PAIRS) == ["1", "2"]
    assert RecordedJudge(came).replies(PAIRS) == ["1", "2"]


def test_what_failed_is_asked_again(tmp_path: Path) -> None:
    requests = tmp_path / "requests.jsonl"
    failed = {"custom_id": "b*0*0,3", "response": {"status_code": 500, "body": {}}, "error": None}
    came = write(tmp_path / "came.jsonl", [result("a*1.mp4*0,2*1", "5"), failed])
    with pytest.raises(JudgingPending, match="1 of 2 pairs .* 1 came back as errors"):
        BatchJudge(str(requests), came, custom_id="original").replies(PAIRS)
    assert [row["custom_id"] for row in lines(requests)] == ["b*0*0,3"]
    more = write(tmp_path / "more.jsonl", [result("b*0*0,3", "2")])
    assert BatchJudge(str(requests), [came, more]).replies(PAIRS) == ["5", "2"]


def test_a_batch_without_texts_is_told_with_its_place(tmp_path: Path) -> None:
    came = write(tmp_path / "came.jsonl", [{"custom_id": "x", "response": {"body": {"choices": []}}}] * 2)
    with pytest.raises(ScoringError, match=r"came.jsonl, line 1: holds no choices"):
        BatchJudge(str(tmp_path / "r.jsonl"), came).replies(PAIRS)


def test_recorded_matrices(tmp_path: Path) -> None:
    rows = [
        {"question_id": "a*1.mp4", "evaluator_output": [[1, 4], [1, 1], [1, 4]]},
        {"question_id": "b", "evaluator_output": [["Score: 3", 1, 1, "Score: 3"]]},
    ]
    assert RecordedJudge(write(tmp_path / "r.jsonl", rows)).replies(PAIRS) == [4, "Score: 3"]


def test_absent_replies_stop_or_stay_without_a_rating(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", [result("b*0*0,3", "2")] * 2)
    with pytest.raises(ScoringError, match=r"no reply to 1 of 2 pairs, the first: question 'a\*1.mp4'"):
        RecordedJudge(path).replies(PAIRS)
    assert RecordedJudge(path, absent="unscored").replies(PAIRS) == [None, "2"]


def test_kept_replies_of_several_judges_must_be_told_apart(tmp_path: Path) -> None:
    kept = [
        {
            "model": model,
            "prompt": "p",
            "question_id": "b",
            "question": "What?",
            "gold": "gold",
            "predicted": "other",
            "reply": reply,
        }
        for model, reply in (("m", "2"), ("n", "5"))
    ]
    path = write(tmp_path / "kept.jsonl", kept)
    with pytest.raises(ScoringError, match="replies of several judges"):
        RecordedJudge(path).replies(PAIRS[1:])
    assert RecordedJudge(path, model="n").replies(PAIRS[1:]) == ["5"]


def test_rows_that_are_no_replies(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match=r"x.jsonl, line 1: holds no reply"):
        RecordedJudge(write(tmp_path / "x.jsonl", [{"question_id": 1}] * 2)).replies(PAIRS)
    (tmp_path / "torn.jsonl").write_text(json.dumps(result("b*0*0", "1")) + '\n{"custom')
    with pytest.raises(ScoringError, match="line 2: not JSON"):
        RecordedJudge(str(tmp_path / "torn.jsonl")).replies(PAIRS)
