"""Multiple-choice benchmarks: their groups, rounding, rules and files."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from lavis.scoring.base import ScoringError
from lavis.scoring.scorer import score

OPTIONS = ["dance.", "a man.", "walk away.", "sit.", "eat."]


def hawkeye(pred: str, gold: str, task: str = "Action Count", **fields: Any) -> dict[str, Any]:
    return {"task_type": task, "video_fname": "a.mp4", "pred": pred, "gt_answer": gold, **fields}


def video(identity: str, duration: str, domain: str, *pairs: tuple[str, str]) -> dict[str, Any]:
    """One video of Video-MME's result file with ``(answer, response)`` of its questions."""
    questions = [
        {
            "question_id": f"{identity}-{i}",
            "task_type": "OCR Problems" if i else "Counting Problem",
            "question": "what?",
            "choices": ["A. one.", "B. two.", "C. three.", "D. four."],
            "answer": answer,
            "response": response,
        }
        for i, (answer, response) in enumerate(pairs)
    ]
    return {
        "video_id": identity,
        "duration_category": duration,
        "video_category": domain,
        "video_subcategory": f"{domain} sub",
        "questions": questions,
    }


VIDEOMME = [
    video("001", "short", "Knowledge", ("A", "The best answer is A."), ("B", "C")),
    video("002", "long", "Sports Competition", ("D", "D. four."), ("B", "no idea"), ("B", "b")),
]


def table(tmp_path: Path) -> Path:
    path = tmp_path / "test.csv"
    rows = [("1", "5", "CW", 1), ("1", "6", "TN", 0), ("2", "5", "TP", 2), ("2", "6", "DO", 4)]
    lines = [f"{v},10,4,3,why,{a},{q},{t}," + ",".join(OPTIONS) for v, q, t, a in rows]
    path.write_text("video,frame_count,width,height,question,answer,qid,type,a0,a1,a2,a3,a4\n" + "\n".join(lines))
    return path


def test_mvbench_by_task_and_over_all_questions() -> None:
    rows = [hawkeye("(A) yes", "(A) yes."), hawkeye("(B)", "(A) yes."), hawkeye("(b)", "(B) no", "Action Antonym")]
    report = score("multiple_choice", rows, benchmark="mvbench")
    assert report.figures == {"Action Antonym": 100.0, "Action Count": 50.0, "Avg": pytest.approx(200 / 3)}
    assert "20 tasks" in report.scored.notes[0]


def test_lenient_answers_are_told_apart() -> None:
    rows = [hawkeye(pred, "(B) No") for pred in ("(B)", "", "(", " (A)", "(C) x", "B")]
    report = score("multiple_choice", rows, benchmark="mvbench")
    assert report.headline["Avg"] == pytest.approx(500 / 6)
    assert report.headline["lenient_correct"] == 3
    assert report.pairs.tally.unparseable == 2
    assert any("3 answers count as right" in note for note in report.scored.notes)
    strict = score("multiple_choice", rows, benchmark="mvbench", rule="letter")
    assert strict.headline["Avg"] == pytest.approx(200 / 6)
    assert "lenient_correct" not in strict.headline


def test_nextqa_groups(tmp_path: Path) -> None:
    results = {
        "1_5": {"prediction": 1, "answer": 1},
        "1_6": {"prediction": 3, "answer": 0},
        "2_5": {"prediction": 2, "answer": 2},
        "2_6": {"prediction": 4, "answer": 4},
        "9_9": {"prediction": 0, "answer": 0},  # the official script never looks at it
    }
    report = score("multiple_choice", results, table(tmp_path), benchmark="nextqa")
    assert report.figures == {
        "Why": 100.0,
        "Bef&Aft": 50.0,  # TP counts as TN
        "Other": 100.0,
        "Acc_C": 100.0,
        "Acc_T": 50.0,
        "Acc_D": 100.0,
        "Acc": 75.0,
        "types": {"CW": 100.0, "DO": 100.0, "TN": 0.0, "TP": 100.0},
    }
    assert report.pairs.tally.extra == 1
    by_type = [{"qid": f"{t}_{q}_0", "prediction": p, "target": a} for t, q, p, a in
               [("CW", "1_5", 1, 1), ("TN", "1_6", 3, 0), ("TP", "2_5", 2, 2), ("DO", "2_6", 4, 4)]]  # fmt: skip
    assert score("multiple_choice", by_type, benchmark="nextqa").figures == report.figures
    assert score("multiple_choice", by_type, table(tmp_path), benchmark="nextqa").figures == report.figures
    alone = score("multiple_choice", results, benchmark="nextqa")
    assert alone.figures == {"Acc": 80.0, "types": {}}
    assert "do not tell types" in alone.scored.notes[0]
    with pytest.raises(ScoringError, match="1 missing"):
        score("multiple_choice", {name: results[name] for name in ("1_5", "1_6", "2_5")}, table(tmp_path),
              benchmark="nextqa")  # fmt: skip


def test_hawkeyes_conversion_of_nextqa_has_the_same_ids(tmp_path: Path) -> None:
    converted = [
        {"video": f"1164/{v}.mp4", "question": "why?", "qid": q, "candidates": OPTIONS, "answer": OPTIONS[a]}
        for v, q, a in [(1, 5, 1), (1, 6, 0), (2, 5, 2)]
    ]
    assert score("multiple_choice", {"1_5": "B", "1_6": "A", "2_5": "walk away"}, converted).figures["Acc"] == 100.0


def test_star_categories_and_mean() -> None:
    truth = [
        {"question_id": f"{kind}_T1_{i}", "video_id": "v", "question": "q", "answer": "b",
         "choices": [{"choice_id": j, "choice": text} for j, text in enumerate("abcd")]}
        for i, kind in enumerate(["Interaction", "Interaction", "Sequence", "Prediction", "Feasibility"])
    ]  # fmt: skip
    answers = [{"question_id": row["question_id"], "answer": i % 2} for i, row in enumerate(truth)]
    report = score("multiple_choice", answers, truth, benchmark="star", intervals=True)
    assert report.figures == {
        "Interaction": 50.0, "Sequence": 0.0, "Prediction": 100.0, "Feasibility": 0.0, "Acc": 40.0, "Mean": 37.5
    }  # fmt: skip
    assert set(report.intervals) == set(report.headline)
    with pytest.raises(ScoringError, match="Interaction, Sequence"):
        score("multiple_choice", [hawkeye("(A)", "(A) a", "STAR")], benchmark="star")


def test_rows_without_ids_are_paired_by_position() -> None:
    """As HawkEye pairs its answers to STAR with the annotations."""
    truth = [{"video": "v.mp4", "question": "q", "qid": f"Sequence_T1_{i}", "candidates": list("abcd"), "answer": "c"}
             for i in range(3)]  # fmt: skip
    rows = [{"task_type": "STAR", "pred": pred, "gt_answer": "(x) None"} for pred in ("(C) c", "(B) b", "c")]
    report = score("multiple_choice", rows, truth, benchmark="star")
    assert report.headline["Sequence"] == pytest.approx(66.67)
    assert "by position" in report.scored.notes[-1]
    with pytest.raises(ScoringError, match="2 rows of answers and 3 of truth"):
        score("multiple_choice", rows[:2], truth, benchmark="star")
    with pytest.raises(ScoringError, match="no truth|give annotations"):
        score("multiple_choice", rows, benchmark="star")


def test_tvqa_shows() -> None:
    truth = [
        {"qid": i, "q": "who?", "vid_name": f"v{i}", "show_name": show, "answer_idx": 1, "ts": "0-3"}
        | {f"a{j}": text for j, text in enumerate(OPTIONS)}
        for i, show in enumerate(["Castle", "Friends"])
    ]
    answers = [
        {"id": "0", "moments": [], "text": "Option B"},
        {"id": 1, "moments": [], "text": "x", "scores": {"option": 2.0}},
    ]
    report = score("multiple_choice", answers, truth, benchmark="tvqa")
    assert report.figures == {"Acc": 50.0, "Castle": 100.0, "Friends": 0.0}


def test_videomme_parts_and_rounding() -> None:
    report = score("multiple_choice", VIDEOMME, benchmark="videomme")
    assert report.headline["Overall"] == 66.7  # two of three that name a letter
    assert report.figures["short"]["Overall"] == 50.0
    assert report.figures["long"]["Overall"] == 100.0
    assert report.figures["entire"]["domains"] == {"Knowledge": 50.0, "Sports Competition": 100.0}
    assert report.figures["entire"]["sub_categories"] == {"Knowledge sub": 50.0, "Sports Competition sub": 100.0}
    assert report.figures["entire"]["task_types"] == {"Counting Problem": 100.0, "OCR Problems": 0.0}
    assert report.headline["task/Counting Problem"] == 100.0
    assert report.pairs.tally.unparseable == 2
    assert any("2 answers that name no option are left out" in note for note in report.scored.notes)
    counted = score("multiple_choice", VIDEOMME, benchmark="videomme", unreadable="wrong")
    assert counted.headline["Overall"] == 40.0


def test_videomme_answers_beside_the_annotations() -> None:
    newer = [
        {"video_id": v["video_id"], "duration": v["duration_category"], "domain": v["video_category"],
         "sub_category": v["video_subcategory"],
         "questions": [{**q, "options": q["choices"]} for q in v["questions"]]}
        for v in VIDEOMME
    ]  # fmt: skip
    flat = [{"question_id": q["question_id"], "response": q["response"]} for v in VIDEOMME for q in v["questions"]]
    expected = score("multiple_choice", VIDEOMME, benchmark="videomme").figures
    assert score("multiple_choice", flat, newer, benchmark="videomme").figures == expected
    assert score("multiple_choice", newer, benchmark="videomme").figures == expected


def test_any_questions() -> None:
    truth = [{"id": i, "options": OPTIONS, "answer": "sit", "type": kind} for i, kind in enumerate("xxy")]
    report = score("multiple_choice", {"0": "D", "1": "sit", "2": "(A)"}, truth)
    assert report.figures == {"Acc": 66.67, "kinds": {"x": 100.0, "y": 0.0}}
    indices = score("multiple_choice", [{"id": i, "prediction": 3} for i in range(3)], truth)
    assert indices.headline["Acc"] == 100.0
    past = score("multiple_choice", {"0": 17, "1": -1, "2": 3}, truth)
    assert (past.headline["Acc"], past.pairs.tally.unparseable) == (33.33, 2)


def test_mvbench_annotations_by_task() -> None:
    truth = {"Action Count": [{"video": "a.mp4", "question": "q", "candidates": ["x", "y"], "answer": "y"}] * 2}
    answers = {"Action Count_0": "(B) y", "Action Count_1": "(A)"}
    assert score("multiple_choice", answers, truth, benchmark="mvbench").figures["Avg"] == 50.0


def test_an_answer_that_is_no_option() -> None:
    truth = [{"id": "a", "candidates": ["x", "y"], "answer": "z"}]
    report = score("multiple_choice", {"a": "x"}, truth)
    assert report.headline["Acc"] == 0.0
    assert "1 questions have an answer that is none of their options" in report.scored.notes


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"benchmark": "seed"}, "benchmark must be one of"),
        ({"rule": "guess"}, "rule must be one of"),
        ({"unreadable": "right"}, "unreadable must be"),
        ({"prefer_parenthesised": True}, "belongs to the rule videomme"),
    ],
)
def test_bad_options(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        score("multiple_choice", {"a": "A"}, [{"id": "a", "options": ["x"], "answer": "x"}], **options)


def test_defaults_are_the_official_checks() -> None:
    from lavis.scoring.protocols.multiple_choice import MultipleChoice

    assert MultipleChoice("mvbench").rule == "hawkeye"
    assert (MultipleChoice("videomme").rule, MultipleChoice("videomme").unreadable) == ("videomme", "drop")
    assert (MultipleChoice().rule, MultipleChoice().unreadable, MultipleChoice().extra) == ("letter", "wrong", "error")
    assert MultipleChoice("nextqa").extra == "drop"
    assert not MultipleChoice("videomme").prefer_parenthesised


def test_order_of_rows_does_not_matter() -> None:
    generator = random.Random(1)
    truth = [{"id": i, "options": OPTIONS, "answer": i % 5, "type": "xyz"[i % 3]} for i in range(90)]
    answers = [{"id": i, "pred": generator.choice("ABCDE")} for i in range(90)]
    expected = score("multiple_choice", answers, truth).figures
    assert score("multiple_choice", answers[::-1], truth[::-1]).figures == expected


def test_a_torn_last_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(hawkeye("(A)", "(A) a")) + '\n{"task_type": "x", "pr')
    report = score("multiple_choice", path, benchmark="mvbench", missing="drop")
    assert report.pairs.tally.scored == 1
    assert "line 2" in report.pairs.tally.examples["unparseable"][0]


@pytest.mark.parametrize("value", [None, 2.5, True, ["A"], {"a": "A"}, float("nan")])
def test_unreadable_answers_are_counted_and_wrong(value: Any) -> None:
    truth = [{"id": i, "options": OPTIONS, "answer": 0} for i in "ab"]
    report = score("multiple_choice", [{"id": "a", "pred": value}, {"id": "b", "pred": "A"}], truth)
    assert (report.headline["Acc"], report.pairs.tally.unparseable) == (50.0, 1)


@pytest.mark.parametrize("row", [{"answer": None}, {"answer": 5}, {"answer": -1}, {"options": "ab"}, {"options": [1]}])
def test_bad_truth_is_refused(row: dict[str, Any]) -> None:
    truth = [{"id": "a", "options": OPTIONS, "answer": 0, **row}]
    with pytest.raises(ScoringError, match="truth"):
        score("multiple_choice", {"a": "A"}, truth)


def test_nothing_to_score() -> None:
    with pytest.raises(ScoringError, match="holds no rows"):
        score("multiple_choice", [], [{"id": "a", "options": OPTIONS, "answer": 0}])
    with pytest.raises(ScoringError, match="another split"):
        score("multiple_choice", {"z": "A"}, [{"id": "a", "options": OPTIONS, "answer": 0}])
    with pytest.raises(ScoringError, match="no answer names an option"):
        score("multiple_choice", [video("1", "short", "x", ("A", "none"))], benchmark="videomme")


def test_fuzzed_rows_never_crash() -> None:
    generator = random.Random(5)
    values = [
        None,
        True,
        3,
        -2,
        2.5,
        float("nan"),
        "A",
        "(b) x",
        "x_1",
        "2",
        [],
        ["x", "y"],
        [{"choice": "x"}],
        {"a": 1},
    ]
    names = ["id", "qid", "question_id", "pred", "prediction", "target", "answer", "gt_answer", "text", "response",
             "options", "candidates", "a0", "type", "task_type", "video_id", "questions", "scores"]  # fmt: skip
    truth = [{"id": i, "options": OPTIONS, "answer": 0} for i in ("A", "x_1", 3)]
    for number in range(500):
        rows = [{n: generator.choice(values) for n in generator.sample(names, generator.randint(1, 9))} for _ in "abc"]
        benchmark = generator.choice(["generic", "mvbench", "nextqa", "star", "tvqa", "videomme"])
        try:
            score("multiple_choice", rows, truth if number % 2 else None, benchmark=benchmark)
        except ScoringError:
            continue
