"""Answers in time: which pairs a judge sees, in-span ratings, the original's filling up, bad input."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lavis.common.yaml_tree import ConfigError
from lavis.scoring.base import Derived, Estimate, ScoringError
from lavis.scoring.judges.base import Judge, Pair, Reply
from lavis.scoring.scorer import ScoreReport, score

Row = dict[str, Any]


class Says(Judge):
    """Says the same of every pair, or what a table holds; remembers what it saw."""

    def __init__(self, reply: str = "4", table: dict[tuple[str, str], Reply] | None = None) -> None:
        self.reply = reply
        self.table = table or {}
        self.seen: list[tuple[str, str]] = []

    def replies(self, pairs: Sequence[Pair]) -> list[Reply]:
        self.seen += [(pair.gold, pair.predicted) for pair in pairs]
        return [self.table.get((pair.gold, pair.predicted), self.reply) for pair in pairs]


def said(identity: str, *turns: tuple[float, str]) -> Row:
    listed = [{"time": 0, "content": "q?", "role": "user"}]
    listed += [{"time": time, "content": text, "role": "assistant"} for time, text in turns]
    return {"question_id": identity, "model_response_list": listed, "video_duration": 30.0}


def gold(identity: str, *answers: tuple[str, list[float]]) -> Row:
    listed = [{"role": "assistant", "content": text, "time": span} for text, span in answers]
    question = [{"role": "user", "content": "q?", "time": 0}]
    return {"question_id": identity, "video": f"{identity}.mp4", "conversation": question, "answer": listed}


def judged(
    identity: str, turns: list[tuple[float, str]], ratings: list[list[Any]], *answers: tuple[str, list[float]]
) -> Row:
    row = {**said(identity, *turns), "evaluator_output": ratings}
    return {**row, "answer": [text for text, _ in answers], "answer_time": [span for _, span in answers]}


def repaired(report: ScoreReport) -> float:
    return report.headline["repaired_score"]


def test_ratings_of_replies_in_span_are_averaged() -> None:
    judge = Says("2", {("A", "x"): "5", ("B", "y"): "4"})
    rows, truth = [said("1", (2, "x"), (3, "y"), (9, "y"))], [gold("1", ("A", [0, 3]), ("B", [9, 12]), ("C", [20, 30]))]
    report = score("magqa", rows, truth, judge=judge)
    assert judge.seen == [("A", "x"), ("A", "y"), ("B", "y")]
    # A: mean of 5 and 2, both ends of a span included; B: 4; C: nothing was said, 1.
    assert repaired(report) == pytest.approx((3.5 + 4 + 1) / 3)
    assert report.headline["repaired_turns"] == 3
    assert report.headline["repaired_distinct_turns"] == 2


def test_equal_texts_are_judged_once() -> None:
    judge = Says("3")
    truth = [gold("1", ("A", [0, 3]), ("A", [10, 12]))]
    report = score("magqa", [said("1", (1, "x"), (2, "x"), (25, "x"))], truth, judge=judge)
    assert judge.seen == [("A", "x")]
    assert repaired(report) == 2  # the second A is not met in time


def test_replies_are_judged_as_one_if_asked() -> None:
    judge = Says("5")
    rows = [said("1", (1, "x"), (8, "X "), (9, "y"))]
    truth = [gold("1", ("A", [0, 3]), ("B", [8, 9]))]
    report = score("magqa", rows, truth, judge=judge, concat_replies=True)
    assert judge.seen == [("A", "x y")]
    assert repaired(report) == 3
    assert report.headline["repaired_turns"] == 3


def test_the_original_fills_up_to_a_fixed_number() -> None:
    rows, truth = [said("1", (1, "x"))], [gold("1", ("A", [0, 3])), gold("2", ("B", [0, 3]))]
    report = score("magqa", rows, truth, judge=Says("5"))
    assert report.figures["original"]["printed"] == "1.0 & 0.0/0.0 & \\"
    assert report.figures["original"]["examples"] == 2000
    assert report.pairs.tally.missing == 1
    assert repaired(report) == 3
    assert report.headline["repaired_turns"] == 0.5
    four = score("magqa", rows, truth, judge=Says("5"), num_examples=4)
    assert four.headline["score"] == 2
    bare = score("magqa", rows, truth, judge=Says("5"), num_examples=4, pad_with_one=False)
    assert bare.headline["score"] == 5
    assert bare.figures["original"]["examples"] == 1


def test_the_original_takes_the_first_questions_only() -> None:
    rows = [judged(str(i), [(1, "x")], [[i]], ("A", [0, 3])) for i in (1, 2, 5)]
    assert score("magqa", rows, num_examples=2).headline["score"] == 1.5
    assert repaired(score("magqa", rows, num_examples=2)) == pytest.approx(8 / 3)


def test_questions_without_reference_answers() -> None:
    rows = [judged("1", [(1, "x")], [[5]], ("A", [0, 3])), judged("2", [(1, "x"), (2, "y")], [])]
    report = score("magqa", rows, num_examples=2)
    assert report.headline["score"] == 5
    assert report.headline["turns"] == 1.5
    assert report.headline["repaired_turns"] == 1
    # With something to fill up, the list of ratings is filled up to the number, too.
    assert score("magqa", rows, num_examples=3).headline["score"] == pytest.approx(7 / 3, abs=0.005)


def test_replies_without_a_time() -> None:
    row = {"question_id": "1", "model_response": ["It rains."], "video_duration": 20.0}
    truth = [gold("1", ("A", [0, 3]), ("B", [5, 9]))]
    assert score("magqa", [row], truth, judge=Says("4"), num_examples=1).headline["score"] == 4
    skipped = score("magqa", [row], truth, judge=Says("4"), num_examples=1, untimed="skip")
    assert skipped.headline["score"] == 1
    assert skipped.figures["original"]["with_replies"] == 0
    assert repaired(skipped) == 1


def test_texts_of_baselines() -> None:
    words = "From 10 to 30, a man runs.\n2.0 - 4.0 seconds, he falls."
    row = {"question_id": "1", "model_response": words, "video_duration": 20.0}
    judge = Says("4")
    truth = [gold("1", ("A", [4, 4]), ("B", [3, 3]), ("C", [5, 20]))]
    report = score("magqa", [row], truth, judge=judge)
    assert judge.seen == [("A", "a man runs."), ("B", "he falls.")]
    assert repaired(report) == 3


def test_predictions_of_this_project() -> None:
    row = {"id": "1", "moments": [[2, 2], [10, 14]], "text": "", "captions": ["x", "y"]}
    judge = Says("4")
    score("magqa", [row], [gold("1", ("A", [0, 3]), ("B", [12, 12]))], judge=judge)
    assert judge.seen == [("A", "x"), ("B", "y")]


@pytest.mark.parametrize(
    ("rule", "reply", "rating"),
    [
        ("first_number", "Score: 4.", 4),
        ("first_number", "4/5", 4),
        ("last_number", "of 5, I give 2", 2),
        ("first_number", "10 or 3.5", None),
        ("first_character", "3 of 5", 3),
        ("first_character", "Score: 4", None),
        ("last_character", "Score: 4", 4),
        ("last_character", "4.", None),
        ("whole", " 4\n", 4),
        ("whole", "4.", None),
        ("first_number", "", None),
    ],
)
def test_rules_for_replies(rule: str, reply: str, rating: float | None) -> None:
    rows, truth = [said("1", (1, "x"))], [gold("1", ("A", [0, 3]))]
    report = score("magqa", rows, truth, judge=Says(reply), reply_rule=rule, num_examples=1)
    assert report.headline["score"] == (1 if rating is None else rating)
    assert report.pairs.tally.unparseable == (rating is None)


def test_pairs_without_a_rating_are_one_or_left_out() -> None:
    rows, truth = [said("1", (1, "x"), (2, "y"))], [gold("1", ("A", [0, 3]), ("B", [2, 2]))]
    judge = Says("none", {("A", "x"): "5"})
    report = score("magqa", rows, truth, judge=judge, num_examples=1)
    assert report.headline["score"] == 2  # A: mean of 5 and 1; B: 1
    assert repaired(report) == 5  # A: 5; B has no rating at all
    assert any("2 pairs have no rating" in note for note in report.scored.notes)
    with pytest.raises(ScoringError, match="no rating by the rule first_number"):
        score("magqa", rows, truth, judge=judge, unscored="error")


def test_ratings_in_rows_need_no_judge_and_no_annotations(tmp_path: Path) -> None:
    rows = [judged("1", [(1, "x")], [["4"]], ("A", [0, 3])), judged("2", [(1, "x")], [[2.0]], ("A", [0, 3]))]
    assert repaired(score("magqa", rows)) == 3
    with pytest.raises(ScoringError, match=r"1 answers hold no ratings.*batch, local, openai, recorded"):
        score("magqa", [said("1", (1, "x"))], [gold("1", ("A", [0, 3]))])
    wrong = [judged("1", [(1, "x")], [[4], [4]], ("A", [0, 3]))]
    with pytest.raises(ScoringError, match="ratings .* of 2 reference answers"):
        score("magqa", wrong)
    for output, problem in (([[4, 4]], "rates 2 replies, but the row has 1"), ([[1e300]], "must hold ratings")):
        tally = score("magqa", [rows[1], judged("1", [(1, "x")], output, ("A", [0, 3]))]).pairs.tally
        assert tally.unparseable == 1
        assert problem in tally.examples["unparseable"][0]


def test_one_rating_for_replies_taken_as_one() -> None:
    """The original's analysis breaks here as soon as a later reply is in span."""
    rows = [judged("1", [(1, "x"), (8, "y")], [[5], [3]], ("A", [0, 3]), ("B", [7, 9]))]
    assert repaired(score("magqa", rows)) == 3


def test_judged_replies_are_written_and_read_again(tmp_path: Path) -> None:
    rows, truth = [said("1", (2, "x"), (3, "y")), said("2")], [gold("1", ("A", [0, 3])), gold("2", ("B", [0, 1]))]
    path = tmp_path / "judged.jsonl"
    first = score("magqa", rows, truth, judge=Says("3"), judged_file=str(path))
    (line,) = [json.loads(text) for text in path.read_text().splitlines()]
    assert line["evaluator_output"] == [[3, 3]]
    again = score("magqa", path)
    assert again.headline["score"] == first.headline["score"]
    recorded = score("magqa", rows, truth, judge={"name": "recorded", "file": str(path)})
    assert recorded.headline == first.headline


def test_figures_follow_from_their_estimates() -> None:
    rng = random.Random(0)
    rows = [judged(str(i), [(1, "x"), (2, "y")], [[rng.randint(1, 5), 2]], ("A", [0, 3])) for i in range(20)]
    report = score("magqa", [*rows, judged("none", [(1, "x")], [])], num_examples=30)
    estimates = report.scored.estimates
    assert set(report.headline) <= set(estimates)
    for name in report.headline:
        estimate = estimates[name]
        if isinstance(estimate, Derived):
            (part,) = (estimates[other] for other in estimate.parts)
            assert isinstance(part, Estimate)
            value = float(estimate.of(np.array([np.nanmean(part.values)]))[0])
        else:
            value = estimate.scale * np.nanmean(estimate.values)
        assert report.headline[name] == pytest.approx(value, abs=0.005)


def test_the_order_of_rows_does_not_matter() -> None:
    rng = random.Random(0)
    rows = [said(str(i), *((rng.random() * 10, f"r{rng.randrange(3)}") for _ in range(4))) for i in range(20)]
    truth = [gold(str(i), ("A", [0, 4]), ("B", [3, 8])) for i in range(20)]
    judge = Says("1", {("A", "r0"): "5", ("B", "r1"): "3"})
    ours, other = score("magqa", rows, truth, judge=judge), score("magqa", rows[::-1], truth[::-1], judge=judge)
    assert ours.headline == pytest.approx(other.headline)


@pytest.mark.parametrize(
    "broken",
    [
        {"question_id": "1", "model_response_list": "x"},
        {"question_id": "1", "model_response_list": ["x"]},
        {"question_id": "1", "model_response_list": [{"role": "assistant", "time": 1}]},
        {"question_id": "1", "model_response_list": [{"role": "assistant", "time": "1", "content": "x"}]},
        {"question_id": "1", "model_response_list": [{"role": "assistant", "time": float("nan"), "content": "x"}]},
    ],
)
def test_broken_rows_are_counted_and_rated_one(broken: Row) -> None:
    truth = [gold("1", ("A", [0, 3])), gold("2", ("A", [0, 3]))]
    report = score("magqa", [broken, said("2", (1, "x"))], truth, judge=Says("5"))
    assert report.pairs.tally.unparseable == 1
    assert repaired(report) == 3


def test_bad_files() -> None:
    truth = [gold("1", ("A", [0, 3]))]
    with pytest.raises(ScoringError, match="no rows"):
        score("magqa", [], truth, judge=Says())
    with pytest.raises(ScoringError, match="another split"):
        score("magqa", [said("9", (1, "x"))], truth, judge=Says())
    with pytest.raises(ScoringError, match="which the truth does not hold"):
        score("magqa", [said("9", (1, "x")), said("1")], truth, judge=Says())
    with pytest.raises(ScoringError, match="must have 2 dimension|a window has"):
        score("magqa", [said("1", (1, "x"))], [gold("1", ("A", [0, 3, 4]))], judge=Says())
    with pytest.raises(ConfigError, match=r"unknown judge 'recorder'.*Did you mean 'recorded'"):
        score("magqa", [said("1")], truth, judge="recorder")
    with pytest.raises(ConfigError, match="judge: .*modle"):
        score("magqa", [said("1")], truth, judge={"name": "openai", "modle": "m"})
    with pytest.raises(ConfigError, match="num_examples must be at least 1"):
        score("magqa", [said("1")], truth, num_examples=0)


def test_replies_outside_the_video_are_counted() -> None:
    truth = [gold("1", ("A", [0, 3]))]
    report = score("magqa", [said("1", (31, "x"), (-2, "y"))], truth, judge=Says())
    assert report.pairs.tally.out_of_range == 1


def test_fuzzed_rows() -> None:
    rng = random.Random(0)
    values = [None, True, "x", "", -1, 1e400, float("nan"), [], [1], [[1, 2]], {}, 0.5, [{"role": "assistant"}]]
    keys = ["question_id", "model_response_list", "model_response", "video_duration", "id", "moments", "captions"]
    rows = [said("0", (1, "x"))]
    for number in range(1, 500):
        row = said(
            str(number), *((rng.choice([1, 2.5, "x", None, 1e400]), rng.choice(["a", "b", 3])) for _ in range(2))
        )
        for _ in range(rng.randrange(3)):
            row[rng.choice(keys)] = rng.choice(values)
        rows.append(row)
    truth = [gold(str(i), ("A", [0, 3])) for i in range(500)]
    report = score("magqa", rows, truth, judge=Says("2"), extra="drop")
    assert report.pairs.tally.scored == 500
    assert report.pairs.tally.unparseable > 100
