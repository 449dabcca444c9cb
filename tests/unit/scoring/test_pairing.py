"""What is missing, extra, duplicated and broken is counted, and treated as the policies say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lavis.scoring.base import Policy, ScoringError
from lavis.scoring.pairing import paired
from tests.toy_protocol import Guess, Toy

TRUTH = [{"id": n, "video": f"v{n % 2}", "truth": float(n)} for n in range(4)]


def guesses(*ids: Any) -> list[dict[str, Any]]:
    return [{"id": identity, "guess": 1} for identity in ids]


def test_ids_as_numbers_and_text_meet() -> None:
    pairs, forms = paired(Toy(), guesses("3", 1, 2.0, "0"), TRUTH)
    assert pairs.ids == ["0", "1", "2", "3"]
    assert pairs.videos == ["v0", "v1", "v0", "v1"]
    assert [answer.id for answer in pairs.answers if answer] == pairs.ids
    assert forms == {"predictions": "guesses, JSON list", "annotations": "facts, JSON list"}


@pytest.mark.parametrize(("policy", "scored"), [("zero", 4), ("drop", 2)])
def test_missing_and_broken_answers(policy: Policy, scored: int) -> None:
    rows = [*guesses(0, 1), {"id": 2, "guess": "two"}]
    pairs, _ = paired(Toy(), rows, TRUTH, policy)
    assert pairs.tally.counts() == {
        "queries": 4, "scored": scored, "missing": 1, "extra": 0, "duplicated": 0, "unparseable": 1, "out_of_range": 0,
    }  # fmt: skip
    assert pairs.tally.examples["unparseable"] == ["predictions, row 3: field 'guess' must be a number, got 'two'"]
    assert pairs.tally.examples["missing"] == ["no answer to '3'"]
    assert len(pairs.truths) == len(pairs.answers) == scored


def test_the_policy_error_names_what_lacks() -> None:
    told = r"1 missing, 1 unparseable(.|\n)*row 3(.|\n)*no answer to '3'(.|\n)*--missing"
    with pytest.raises(ScoringError, match=told):
        paired(Toy(), [*guesses(0, 1), {"id": 2, "guess": None}], TRUTH)


def test_a_good_row_beside_a_broken_one_answers() -> None:
    pairs, _ = paired(Toy(), [{"id": 0, "guess": "x"}, *guesses(0, 1, 2, 3)], TRUTH, "drop")
    assert pairs.tally.unparseable == 1
    assert pairs.tally.scored == 4


def test_broken_rows_without_an_id_are_counted_too() -> None:
    pairs, _ = paired(Toy(), [*guesses(0, 1, 2), {"guess": 5}, 7], TRUTH, "zero")
    assert (pairs.tally.unparseable, pairs.tally.missing, pairs.tally.scored) == (2, 1, 4)


def test_extra_answers_stop_or_are_left_out() -> None:
    rows = guesses(0, 1, 2, 3, 99)
    with pytest.raises(ScoringError, match=r"1 extra(.|\n)*row 5: answers '99'(.|\n)*--extra drop"):
        paired(Toy(), rows, TRUTH)
    pairs, _ = paired(Toy(), rows, TRUTH, extra="drop")
    assert pairs.tally.extra == 1


def test_the_truth_of_another_split() -> None:
    with pytest.raises(ScoringError, match=r"none of the 2 answered queries is in the truth: answers to '7', '8'"):
        paired(Toy(), guesses(7, 8), TRUTH, "zero", "drop")


def test_the_last_of_several_answers_counts() -> None:
    rows = [*guesses(0, 1, 2, 3), {"id": 0, "guess": 5}]
    pairs, _ = paired(Toy(), rows, TRUTH)
    assert pairs.answers[0] == Guess("0", 5.0)
    assert pairs.tally.duplicated == 1
    assert pairs.tally.examples["duplicated"] == ["predictions, row 5: '0' is answered again"]


def test_truth_twice_or_broken() -> None:
    with pytest.raises(ScoringError, match=r"row 5: the truth holds the id '0' twice"):
        paired(Toy(), guesses(0), [*TRUTH, TRUTH[0]])
    with pytest.raises(ScoringError, match=r"the truth cannot be read: annotations, row 5: field 'truth'"):
        paired(Toy(), guesses(0), [*TRUTH, {"id": 9, "video": "v", "truth": None}])


def test_truth_in_the_rows_of_predictions() -> None:
    rows = [{**truth, "guess": 1} for truth in TRUTH]
    pairs, forms = paired(Toy(), rows, None)
    assert pairs.tally.scored == 4
    assert forms["annotations"] == "in the rows of predictions"
    with pytest.raises(ScoringError, match=r"holds no truth of its own; give the annotations"):
        paired(Toy(), guesses(0), None)


def test_broken_truth_in_the_rows_of_predictions_is_counted() -> None:
    rows = [{**truth, "guess": 1} for truth in TRUTH]
    rows[2]["truth"] = "x"
    pairs, _ = paired(Toy(), rows, None, "zero", "drop")
    assert (pairs.tally.unparseable, pairs.tally.queries) == (1, 3)


def test_out_of_range_is_the_protocols_to_count() -> None:
    pairs, _ = paired(Toy(), [*guesses(0, 1, 2), {"id": 3, "guess": -1}], TRUTH)
    assert pairs.tally.examples["out_of_range"] == ["predictions, row 4: -1.0 is negative"]


def test_nothing_left() -> None:
    with pytest.raises(ScoringError, match="no query is left to score"):
        paired(Toy(), [{"id": 0, "guess": "x"}], TRUTH, "drop")


def test_files_are_named_with_lines(tmp_path: Path) -> None:
    answers = tmp_path / "a.jsonl"
    answers.write_text("".join(json.dumps(row) + "\n" for row in guesses(0, 1)) + '{"id": 2, "gu')
    (tmp_path / "t.json").write_text(json.dumps(TRUTH))
    pairs, _ = paired(Toy(), answers, tmp_path / "t.json", "zero")
    (example,) = pairs.tally.examples["unparseable"]
    assert example.startswith(f"{answers}, line 3: not JSON (the last line was cut short)")
