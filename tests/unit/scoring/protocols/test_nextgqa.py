"""NExT-GQA's figures: the official evaluator's arithmetic, its files, and everybody else's."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lavis.scoring.base import ScoringError
from lavis.scoring.scorer import score
from tests.parity_cases import grounded_videollm_nextgqa as parity

TRUTH = {
    "100": {"duration": 60, "location": {"1": [[0, 10], [40, 44]], "2": [[0.5, 10]]}, "fps": 25.0},
    "200": {"duration": 30, "location": {"1": [[0, 10]], "7": [[20, 30]]}, "fps": 29.97},
}
SPANS = {"100_1": [40, 50], "100_2": [5, 5], "200_1": [20, 30], "200_7": [21.5, 29]}
ANSWERS = {
    "100_1": {"prediction": 2, "answer": 2},
    "100_2": {"prediction": 0, "answer": 0},
    "200_1": {"prediction": 1, "answer": 1},
    "200_7": {"prediction": 1, "answer": 3},
}


@pytest.fixture
def answers(tmp_path: Path) -> str:
    path = tmp_path / "test-res.json"
    path.write_text(json.dumps(ANSWERS))
    return str(path)


def evaluator(truth: dict[str, Any], spans: dict[str, Any], answers: dict[str, Any] | None) -> list[float]:
    """The definition, question by question: the line of seven figures with one decimal."""
    ious, iops, right = [], [], []
    for video, content in truth.items():
        for qid, locations in content["location"].items():
            name = f"{video}_{qid}"
            if name not in spans:
                continue
            start, end = spans[name]
            iou = iop = 0.0
            for first, last in locations:
                shared = min(last, end) - max(first, start)
                if start == end:
                    iop = max(iop, float(first <= start <= last))
                elif end > start:
                    iou = max(iou, shared / (max(last, end) - min(first, start)))
                    iop = max(iop, shared / (end - start))
            ious.append(iou)
            iops.append(iop)
            right.append(answers is not None and answers[name]["answer"] == answers[name]["prediction"])
    percents = [
        np.mean([r and p >= 0.5 for r, p in zip(right, iops, strict=True)]),
        *[np.mean(v) for v in (iops, [p >= 0.3 for p in iops], [p >= 0.5 for p in iops])],
        *[np.mean(v) for v in (ious, [u >= 0.3 for u in ious], [u >= 0.5 for u in ious])],
    ]
    return [float(f"{100 * value:.1f}") for value in percents]


def test_official_files(answers: str) -> None:
    report = score("nextgqa", SPANS, TRUTH, answers=answers)
    assert report.figures == {
        "Acc&GQA": 25.0,  # 100_2 lies inside, 200_7 is wrong
        "mIoP": 60.0,
        "TIoP@0.3": 75.0,
        "TIoP@0.5": 50.0,
        "mIoU": 28.7,
        "TIoU@0.3": 50.0,
        "TIoU@0.5": 25.0,
        "Acc@QA": 75.0,
    }
    assert [report.figures[name] for name in parity.ORDER] == evaluator(TRUTH, SPANS, ANSWERS)
    assert report.headline["IoP@0.3"] == 75.0
    assert report.forms["predictions"].startswith("NExT-GQA spans")


def test_every_form_gives_the_same(answers: str) -> None:
    expected = score("nextgqa", SPANS, TRUTH, answers=answers).figures
    nested: dict[str, dict[str, Any]] = {}
    for name, span in SPANS.items():
        nested.setdefault(name.split("_")[0], {})[name.split("_")[1]] = span
    assert score("nextgqa", nested, TRUTH, answers=answers).figures == expected
    questions = [
        {"qid": f"TN_{name}", "video": name.split("_")[0], **{f"a{i}": f"word {i}" for i in range(5)}}
        | {"answer": ANSWERS[name]["answer"], "relevant_windows": TRUTH[name[:3]]["location"][name[4:]]}  # type: ignore[index]
        for name in SPANS
    ]
    ours = [
        {"id": f"TN_{name}", "moments": [span, [0, 1]], "text": f"Option {'ABCDE'[ANSWERS[name]['prediction']]}"}
        for name, span in SPANS.items()
    ]
    assert score("nextgqa", ours, questions).figures == expected
    results = [
        {
            "qid": f"TN_{name}_0",
            "prediction": ANSWERS[name]["prediction"],
            "target": ANSWERS[name]["answer"],
            "relevant_moments": [SPANS[name]],
            "relevant_moments_gt": TRUTH[name[:3]]["location"][name[4:]],  # type: ignore[index]
        }
        for name in SPANS
    ]
    assert score("nextgqa", results).figures == expected


def test_letters_beside_the_official_table(tmp_path: Path) -> None:
    table = tmp_path / "test.csv"
    head = "video_id,frame_count,width,height,question,answer,qid,type,a0,a1,a2,a3,a4\n"
    options = ",".join(f"word {i}" for i in range(5))
    rows = [
        f'{name[:3]},10,4,3,"why, then?",word {ANSWERS[name]["answer"]},{name[4:]},CW,{options}\n' for name in SPANS
    ]
    table.write_text(head + "".join(rows))
    given = [
        {"id": name, "pred": f"({'ABCDE'[ANSWERS[name]['prediction']]})", "span": span} for name, span in SPANS.items()
    ]
    report = score("nextgqa", given, TRUTH, questions=str(table))
    assert report.figures["Acc&GQA"] == 25.0
    assert report.figures["Acc@QA"] == 75.0
    table.write_text(head + "".join(rows[:2]))
    with pytest.raises(ScoringError, match="lacks 2 questions"):
        score("nextgqa", given, TRUTH, questions=str(table))


def test_skipped_questions_and_policies() -> None:
    one = {"100_1": [0, 10]}
    report = score("nextgqa", one, TRUTH)
    assert report.headline["mIoU"] == 100.0
    assert (report.pairs.tally.missing, report.missing) == (3, "drop")
    assert score("nextgqa", one, TRUTH, missing="zero").headline["mIoU"] == 25.0
    with pytest.raises(ScoringError, match="3 missing"):
        score("nextgqa", one, TRUTH, missing="error")


def test_spans_without_answers_have_no_accuracy(answers: str) -> None:
    report = score("nextgqa", SPANS, TRUTH)
    assert "Acc&GQA" not in report.figures
    assert "answers=FILE" in report.scored.notes[0]
    with_text = [{"id": name, "moments": [span], "text": "A"} for name, span in SPANS.items()]
    assert "questions=FILE" in score("nextgqa", with_text, TRUTH).scored.notes[0]


def test_relative_spans() -> None:
    """Shares of the duration, rounded to a tenth of a second."""
    relative = {"200_1": [0.0, 0.3337]}
    report = score("nextgqa", relative, TRUTH, relative=True)
    assert report.headline["mIoU"] == 100.0
    with pytest.raises(ScoringError, match="need durations"):
        score("nextgqa", relative, {"200": {"location": {"1": [[0, 10]]}}}, relative=True)


def test_order_of_rows_does_not_matter() -> None:
    generator = random.Random(0)
    names = [f"{v}_{q}" for v in range(40) for q in range(3)]
    truth = {
        str(v): {"duration": 60, "location": {str(q): [[s := generator.random() * 40, s + 9]] for q in range(3)}}
        for v in range(40)
    }
    spans = {name: sorted([generator.random() * 60, generator.random() * 60]) for name in names}
    expected = score("nextgqa", spans, truth).figures
    shuffled = dict(generator.sample(list(spans.items()), len(spans)))
    assert score("nextgqa", shuffled, truth).figures == expected
    assert [expected.get(name, 0.0) for name in parity.ORDER] == evaluator(truth, spans, None)


BAD: list[tuple[Any, str]] = [
    ([float("nan"), 3], "finite"),
    ([3, float("inf")], "finite"),
    (["3", "4"], "numbers only"),
    ([3], "a start and an end"),
    ({"start": 3}, "'value' is missing"),
]


@pytest.mark.parametrize(("span", "problem"), BAD)
def test_bad_spans_are_counted(span: Any, problem: str) -> None:
    report = score("nextgqa", {**SPANS, "100_1": span}, TRUTH)
    assert report.pairs.tally.unparseable == 1
    assert problem in report.pairs.tally.examples["unparseable"][0]
    assert report.pairs.tally.scored == 3


def test_reversed_and_outside_spans_are_counted() -> None:
    report = score("nextgqa", {"100_1": [50, 40], "100_2": [-3, 4], "200_1": [10, 90], "200_7": [0, 30.9]}, TRUTH)
    assert report.pairs.tally.out_of_range == 3
    reversed_one = score("nextgqa", {"100_1": [9, 3]}, TRUTH).headline
    assert (reversed_one["mIoU"], reversed_one["mIoP"]) == (0.0, 0.0)


def test_no_answer_at_all() -> None:
    with pytest.raises(ScoringError, match="holds no rows"):
        score("nextgqa", {}, TRUTH)
    with pytest.raises(ScoringError, match="another split"):
        score("nextgqa", {"999_1": [0, 1]}, TRUTH)
    rows = [{"id": "100_1", "moments": [], "text": ""}, {"id": "200_1", "moments": [[0, 10]], "text": "B"}]
    report = score("nextgqa", rows, TRUTH)
    assert report.pairs.tally.unparseable == 1
    assert report.headline["mIoU"] == 50.0


def test_fuzzed_rows_never_crash() -> None:
    generator = random.Random(7)
    values = [None, True, -3, 2.5, float("nan"), "x", "[[1, 2]]", [], [1], [1, 2], [[1, 2]], [[1, "b"]], {"a": 1}, [[]]]
    names = ["id", "qid", "moments", "span", "pred", "text", "prediction", "scores", "malformed", "relevant_windows"]
    for _ in range(500):
        rows = [
            {name: generator.choice(values) for name in generator.sample(names, generator.randint(1, 6))}
            | generator.choice([{}, {"id": generator.choice(["100_1", 5, "200_1"])}])
            for _ in range(3)
        ]
        try:
            score("nextgqa", rows, TRUTH)
        except ScoringError:
            continue


def test_recorded_files_are_taken_by_their_form(tmp_path: Path) -> None:
    line = evaluator(TRUTH, SPANS, ANSWERS)
    content = {
        "gt": TRUTH,
        "pred": SPANS,
        "pred_qa": ANSWERS,
        "printed": "Acc&GQA mIoP TIoP@0.3 TIoP@0.5 mIoU TIoU@0.3 TIoU@0.5 \n" + " \t ".join(f"{v:.1f}" for v in line),
        "tiou": [[[0, 10], [5, 15], [1 / 3, 0.5]], [[0, 10], [4, 4], [0, 1]], [[0, 10], [20, 30], [-1 / 3, -1.0]]],
        "iou": [[[0, 10], [5, 15], 1 / 3], [[0, 10], [20, 30], 0]],
    }
    (tmp_path / "metrics_nextgqa.json").write_text(json.dumps(content))
    found = dict(parity.cases(tmp_path))
    assert sorted(found) == [f"metrics_nextgqa {name}" for name in ("iou", "printed", "tiou")]
    assert all(compare() == pytest.approx(0) for compare in found.values())
    content["printed"] = str(content["printed"]).replace("28.7", "28.8")
    content["tiou"][0][2][1] = 0.25  # type: ignore[index]
    (tmp_path / "metrics_nextgqa.json").write_text(json.dumps(content))
    found = dict(parity.cases(tmp_path))
    for name in ("printed", "tiou"):
        with pytest.raises(AssertionError):
            found[f"metrics_nextgqa {name}"]()
