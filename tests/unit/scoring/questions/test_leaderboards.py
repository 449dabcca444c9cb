"""Files for the servers of STAR and TVQA."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lavis.cli import main
from lavis.scoring.base import ScoringError
from lavis.scoring.questions.leaderboards import question_ids, star_submission, tvqa_submission

STAR = [
    {"qid": "Interaction_T1_13", "pred": "(B) open the door."},
    {"qid": "Sequence_T2_1", "pred": "(E) x"},
    {"qid": "Feasibility_T1_7", "pred": ""},
]


def test_star() -> None:
    made = star_submission(STAR, seed=3)
    content = made.files["submission.json"]
    assert list(content) == ["Interaction", "Sequence", "Prediction", "Feasibility"]
    assert content["Interaction"] == [{"question_id": "Interaction_T1_13", "answer": 1}]
    assert content["Prediction"] == []
    assert made.drawn == ["Sequence_T2_1", "Feasibility_T1_7"]
    assert 0 <= content["Sequence"][0]["answer"] < 4


def test_draws_belong_to_seed_and_question() -> None:
    made = [star_submission(rows, seed=3).files["submission.json"] for rows in (STAR, STAR[::-1])]
    assert made[0] == made[1]
    rows = [{"qid": f"Sequence_{i}", "pred": "?"} for i in range(400)]
    first, other = (
        [a["answer"] for a in star_submission(rows, seed=s).files["submission.json"]["Sequence"]] for s in (0, 1)
    )
    assert first != other
    assert all(60 < first.count(index) < 140 for index in range(4))


def test_nothing_is_drawn_if_not_wanted() -> None:
    with pytest.raises(ScoringError, match="Sequence_T2_1"):
        star_submission(STAR, unreadable="error")


def test_ids_in_order_for_rows_without() -> None:
    rows = [{"task_type": "STAR", "pred": "(C) x", "gt_answer": "(x) None"}]
    with pytest.raises(ScoringError, match="no ids"):
        star_submission(rows)
    with pytest.raises(ScoringError, match="1 answers but 2 ids"):
        star_submission(rows, ids=["a", "b"])
    with pytest.raises(ScoringError, match="none of STAR's"):
        star_submission(rows, ids=["a"])
    content = star_submission(rows, ids=["Prediction_T1_1"]).files["submission.json"]
    assert content["Prediction"] == [{"question_id": "Prediction_T1_1", "answer": 2}]


def test_how_letters_are_read() -> None:
    ours = [{"id": "Sequence_1", "moments": [], "text": "Option D"}]
    assert star_submission(ours).drawn == ["Sequence_1"]  # the second character is no letter of an option
    assert star_submission(ours, reading="letter").files["submission.json"]["Sequence"][0]["answer"] == 3
    with pytest.raises(ScoringError, match="reading must be"):
        star_submission(ours, reading="words")  # type: ignore[arg-type]


def test_tvqa(tmp_path: Path) -> None:
    rows = [{"qid": 122039, "pred": "(E) x"}, {"qid": 122040, "prediction": 3}]
    made = tvqa_submission(rows, validation_ids=["5", "6"], meta={"model_name": "mine"})
    paths = made.write(tmp_path / "out")
    assert [path.name for path in paths] == ["prediction_test_public.json", "prediction_val.json", "meta.json"]
    assert json.loads(paths[0].read_text()) == {"122039": 4, "122040": 3}
    assert set(json.loads(paths[1].read_text())) == {"5", "6"}
    meta = json.loads(paths[2].read_text())
    assert (meta["model_name"], meta["with_ts"], meta["show_on_leaderboard"]) == ("mine", True, False)
    assert "prediction_val.json" not in tvqa_submission(rows).files


def test_bad_answers() -> None:
    with pytest.raises(ScoringError, match="twice"):
        tvqa_submission([{"qid": 1, "pred": "(A)"}, {"qid": "1", "pred": "(B)"}])
    with pytest.raises(ScoringError, match="cannot be read"):
        tvqa_submission([{"qid": 1, "pred": "(A)"}, {"qid": [], "pred": "(B)"}])
    with pytest.raises(ScoringError, match="no rows"):
        tvqa_submission([])


def test_answers_with_ids_must_be_those_asked() -> None:
    ids = question_ids([{"question_id": "Sequence_T2_1"}, {"qid": "Interaction_T1_13"}, {"id": "Feasibility_T1_7"}])
    assert star_submission(STAR, ids=ids).files == star_submission(STAR).files
    with pytest.raises(ScoringError, match="1 questions are not answered, such as 'Prediction_1'"):
        star_submission(STAR, ids=[*ids, "Prediction_1"])
    with pytest.raises(ScoringError, match="1 questions are none of the annotations"):
        star_submission(STAR, ids=ids[:2])
    with pytest.raises(ScoringError, match="row 1"):
        question_ids([{"question": "q"}])


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "preds.json").write_text(json.dumps(STAR))
    out = tmp_path / "out"
    assert main(["submit", "--benchmark", "star", "--test", str(tmp_path / "preds.json"), "--out", str(out)]) == 0
    assert "2 answers name no option and were drawn" in capsys.readouterr().out
    assert set(json.loads((out / "submission.json").read_text())) > {"Interaction"}
    (tmp_path / "val.jsonl").write_text('{"qid": 5}\n{"qid": 6}\n')
    given = ["--test", str(tmp_path / "preds.json"), "--annotations-val", str(tmp_path / "val.jsonl")]
    assert main(["submit", "--benchmark", "tvqa", *given, "--out", str(out), "--seed", "2"]) == 0
    assert set(json.loads((out / "prediction_val.json").read_text())) == {"5", "6"}


def test_the_command_needs_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", "--benchmark", "star", "--out", str(tmp_path)]) == 2
    assert "needs --test" in capsys.readouterr().err
    assert main(["submit", "--test", "a.jsonl", "--out", str(tmp_path)]) == 2
    assert "needs --val, --annotations-val, --annotations-test" in capsys.readouterr().err
