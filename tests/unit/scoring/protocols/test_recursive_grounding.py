"""Recursive grounding: the recorded rounds of HawkEye, how rows find their truth, and bad input."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lavis.scoring.base import ScoringError
from lavis.scoring.protocols.recursive_grounding import printed
from lavis.scoring.scorer import score


def rounds(*answers: str | None, duration: float | None = 10.0, **fields: Any) -> dict[str, Any]:
    return {"pred_answer_list": list(answers), "duration": duration, **fields}


def truth(*span: float, **fields: Any) -> dict[str, Any]:
    return {"question": "q", "answer": list(span), **fields}


def test_equal_to_the_notebook(golden_dir: Path) -> None:
    recorded = json.loads((golden_dir / "hawkeye" / "grounding_metrics.json").read_text())
    report = score("recursive_grounding", recorded["predictions"], recorded["golds"])
    assert report.figures == recorded["aggregate"]
    assert printed(report.figures) == [line for line in recorded["printed"] if line]
    assert report.pairs.tally.unparseable == 7
    assert report.scored.notes[0] == "answers and truth were paired by position"


def test_windows_are_halved() -> None:
    given = [rounds("end", "middle", "beginning", "throughout")]
    values = score("recursive_grounding", given, [truth(6.25, 8.75)]).headline
    assert [values[f"turn{turn}/mean_iou"] for turn in range(1, 5)] == [0.5, 1.0, 0.5, 0.5]
    assert values["turn1/r05"] == 0.0  # strictly above
    assert values["turn2/r07"] == 1.0


def test_short_answers_are_padded_and_long_ones_cut() -> None:
    report = score("recursive_grounding", [rounds("end"), rounds(*["end"] * 9)], [truth(5, 10), truth(7.5, 10)])
    values = [estimate.values.tolist() for name, estimate in report.scored.estimates.items() if "mean" in name]  # type: ignore[union-attr]
    assert values == [[1.0, 0.5], [1.0, 1.0], [1.0, 0.5], [1.0, 0.25]]
    assert set(score("recursive_grounding", [rounds("end")], [truth(5, 10)], max_turns=1).figures) == {"turn1"}


def test_always_throughout_on_charades(data_dir: Path) -> None:
    """HawkEye's issue 8 tells 0.2698 and 0.3430/0.0022/0.0000 with the durations that its reader finds in the files."""
    rows = [json.loads(line) for line in (data_dir / "charades" / "charades_test_release.jsonl").open()]
    given = [{"id": row["qid"], "text": "throughout"} for row in rows]
    report = score("recursive_grounding", given, rows)
    assert len(rows) == report.pairs.tally.scored == 3720
    values = report.figures["turn1"]
    assert values["mean_iou"] == pytest.approx(0.2713, abs=5e-5)
    assert [round(values[name], 4) for name in ("r03", "r05", "r07")] == [0.35, 0.0043, 0.0]
    assert values["mean_iou"] == pytest.approx(0.2698, abs=2e-3)
    shorter = [rounds("throughout", duration=row["duration"] + 0.25, qid=row["qid"]) for row in rows]
    assert score("recursive_grounding", shorter, rows).figures["turn1"]["mean_iou"] < values["mean_iou"]


def test_pairing_by_id_question_and_position() -> None:
    truths = [truth(0, 5, video=f"v/{i}.mp4", question=f"does '{i}' occur?", qid=f"q{i}") for i in range(3)]
    truths[2]["answer"] = [5, 10]
    by_id = [rounds("beginning", qid=f"q{i}") for i in (2, 0, 1)]
    report = score("recursive_grounding", by_id, truths)
    assert report.scored.notes == ["answers and truth were paired by id"]
    asked = [rounds("beginning", video_fname=f"{i}.mp4", question=f"does '{i}' occur?") for i in (2, 0, 1)]
    by_question = score("recursive_grounding", asked, truths)
    assert by_question.scored.notes == ["answers and truth were paired by video and question"]
    assert by_question.figures == report.figures
    by_position = score("recursive_grounding", [rounds("beginning")] * 3, truths)
    assert by_position.scored.notes == ["answers and truth were paired by position"]
    assert by_position.figures == report.figures


def test_positions_must_fit() -> None:
    with pytest.raises(ScoringError, match="2 rows of answers and 1 of truth"):
        score("recursive_grounding", [rounds("end")] * 2, [truth(5, 10)])
    other = [rounds("end", video_fname="a.mp4", question="Question: does 'x' occur?")] * 2
    truths = [truth(5, 10, video="a.mp4", question=name) for name in ("x", "y")]
    with pytest.raises(ScoringError, match="row 2 of the answers asks"):
        score("recursive_grounding", other, truths)


def test_truth_in_the_rows() -> None:
    report = score("recursive_grounding", [rounds("end", gt_span=[5, 10])])
    assert report.headline["turn1/mean_iou"] == 1.0
    with pytest.raises(ScoringError, match="--annotations"):
        score("recursive_grounding", [rounds("end", gt_span=None)])


def test_failed_queries_and_policies() -> None:
    given = [rounds("end"), rounds(None, duration=None)]
    truths = [truth(5, 10), truth(0, 1)]
    report = score("recursive_grounding", given, truths)
    assert report.headline["turn1/mean_iou"] == 1.0
    assert report.pairs.tally.counts()["unparseable"] == 1
    assert report.pairs.tally.counts()["missing"] == 0
    assert score("recursive_grounding", given, truths, missing="zero").headline["turn1/mean_iou"] == 0.5
    with pytest.raises(ScoringError, match="evaluator failed"):
        score("recursive_grounding", given, truths, missing="error")


def test_a_torn_last_line(tmp_path: Path) -> None:
    path = tmp_path / "preds.jsonl"
    path.write_text(json.dumps(rounds("end")) + "\n" + '{"pred_answer_list": ["en')
    report = score("recursive_grounding", path, [truth(5, 10), truth(0, 1)])
    assert report.pairs.tally.unparseable == 1
    assert "line 2" in report.pairs.tally.examples["unparseable"][0]


def test_ours_as_text() -> None:
    rows = [{"id": 3, "moments": [], "text": "End, middle\nthroughout."}]
    annotations = [{"qid": "3", "vid": "a", "duration": 10.0, "relevant_windows": [[6.25, 8.75]]}]
    assert score("recursive_grounding", rows, annotations).headline["turn2/mean_iou"] == 1.0
    del annotations[0]["duration"]
    with pytest.raises(ScoringError, match="duration"):
        score("recursive_grounding", rows, annotations)
    with pytest.raises(ScoringError, match="no query is left"):
        score("recursive_grounding", [{"id": 3, "text": "in the end"}], annotations)


@pytest.mark.parametrize("duration", [float("nan"), float("inf"), -3, "12", True, [3]])
def test_bad_durations_are_counted(duration: Any) -> None:
    report = score("recursive_grounding", [rounds("end"), rounds("end", duration=duration)], [truth(5, 10)] * 2)
    assert report.pairs.tally.unparseable == 1
    assert report.headline["turn1/mean_iou"] == 1.0


@pytest.mark.parametrize("span", [[], [1], ["a", "b"], [[1, float("nan")]], "x", None, [[1, 2], [3]]])
def test_bad_truth_is_refused(span: Any) -> None:
    with pytest.raises(ScoringError):
        score("recursive_grounding", [rounds("end")], [{"question": "q", "answer": span}])


def test_reversed_and_outside_truth_is_told() -> None:
    report = score("recursive_grounding", [rounds("end")] * 3, [truth(8, 6), truth(5, 40), truth(-2, 4)])
    assert "the truth of 3 queries lies outside" in report.scored.notes[1]
    assert np.isfinite(list(report.headline.values())).all()


def test_no_turn() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        score("recursive_grounding", [rounds("end")], [truth(5, 10)], max_turns=0)


def test_fuzzed_rows_never_crash() -> None:
    generator = random.Random(3)
    values = [None, True, 3, 2.5, float("nan"), "end", "x", [], ["end"], ["end", 3], [1, 2], [[1, 2]], {"a": 1}]
    names = ["id", "qid", "text", "pred_answer_list", "duration", "gt_span", "question", "video", "video_fname"]
    truths = [truth(1, 4, qid=str(i), video="a") for i in range(3)]
    for _ in range(500):
        rows = [{n: generator.choice(values) for n in generator.sample(names, generator.randint(1, 7))} for _ in "abc"]
        try:
            report = score("recursive_grounding", rows, truths)
        except ScoringError:
            continue
        assert all(0 <= value <= 1 for value in report.headline.values())


@pytest.mark.filterwarnings("error")
def test_durations_beyond_reason_are_counted() -> None:
    rows = [rounds("middle", duration=1.7e308), rounds("middle")]
    tally = score("recursive_grounding", rows, [truth(0, 5), truth(0, 5)]).pairs.tally
    assert (tally.unparseable, tally.scored) == (1, 1)
    with pytest.raises(ScoringError, match="'duration': times must lie within"):
        score("recursive_grounding", [rounds("end")], [truth(0, 5, duration=1e300)])
