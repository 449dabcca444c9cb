"""How questions are written, and which option an answer names under each rule."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lavis.scoring.questions.text import (
    first_character_index,
    gold_index,
    gold_text,
    hawkeye_correct,
    letter_of,
    lettered_index,
    option_index,
    question_text,
    videomme_index,
)

OPTIONS = ["dance.", "a man.", "walk away.", "sit.", "eat."]


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("Option B", 1),
        ("B", 1),
        ("(c) walk away", 2),
        ("Answer: D.", 3),
        ("E) eat", 4),
        ("a man", 1),  # words come before letters
        (" Walk away ", 2),
        ("b", 1),
        ("(D", 3),
        ("(E) eat.</s>", 4),
        ("Answer: (B) a man", 1),
        ("The best answer is C.", 2),
        ("Best option: (A)", 0),
        ("the correct option is: b", 1),
        ("a woman", None),
        ("F", None),
        ("", None),
        ("(", None),
        ("(AB)", None),
        ("maybe C", None),
    ],
)
def test_option_index(text: str, index: int | None) -> None:
    assert option_index(text, OPTIONS) == index


def test_without_options_any_letter_counts() -> None:
    assert option_index("Option G", []) == 6


def test_long_texts_take_no_time() -> None:
    assert option_index("the " * 100_000, OPTIONS) is None
    assert option_index(" " * 100_000 + "B", OPTIONS) is None


def test_check_of_hawkeye(golden_dir: Path) -> None:
    recorded = json.loads((golden_dir / "hawkeye" / "qa_template_and_check.json").read_text())
    choices = [row for row in recorded["check"] if "choice" in row[0]]
    assert len(choices) == 48
    assert [hawkeye_correct(pred, gold) for _, pred, gold, _ in choices] == [row[3] for row in choices]


@pytest.mark.parametrize("text", ["", "(", "A", "a.", " anything"])
def test_what_hawkeye_lets_pass(text: str) -> None:
    """An empty first word, a parenthesis and the bare letter are inside ``(a)``."""
    assert hawkeye_correct(text, "(A) yes.")


def test_questions_and_gold() -> None:
    assert question_text("What?", ["Red.", "Blue"]) == "Question: What?\nOptions:\n(A) Red.\n(B) Blue"
    assert gold_text("Blue.", ["Red.", "Blue", "Green."]) == "(B) Blue."
    assert gold_text("a", ["a", "b", "a"]) == "(C) a"  # the last that fits
    assert gold_text("z", ["x", "y"]) == "(@) z"
    assert gold_index("z", ["x", "y"]) is None
    with pytest.raises(ValueError, match="no letter for option 26"):
        letter_of(26)


@pytest.mark.parametrize(
    ("gold", "index"), [("(B) a dog", 1), ("b", 1), ("C. three", 2), ("D: x", 3), ("(@) z", None), ("dog", None)]
)
def test_lettered_gold(gold: str, index: int | None) -> None:
    assert lettered_index(gold) == index


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("C", 2),
        ("C. Berries.", 2),
        ("The best answer is B", 1),
        ("Answer: (B) a dog", 1),
        ("Option: D", 3),
        ("I think it is a dog, Because of its tail", 1),  # any capital A to D
        ("Best answer: C", 1),  # the list of phrases lacks a comma: the B of Best
        ("A man (C)", 0),
        ("it cannot be said from these frames of the video alone, sorry", None),
        ("e", None),
        ("", None),
    ],
)
def test_extraction_of_videomme(text: str, index: int | None) -> None:
    assert videomme_index(text) == index


def test_parentheses_before_other_letters() -> None:
    assert videomme_index("A man is in (C)", prefer_parenthesised=True) == 2
    assert videomme_index("A man", prefer_parenthesised=True) == 0


def test_first_character() -> None:
    assert first_character_index("B) because", OPTIONS) == 1
    assert first_character_index("(B)", OPTIONS) is None
    assert first_character_index("b", OPTIONS) is None
    assert first_character_index("F", OPTIONS) is None
    assert first_character_index("", OPTIONS) is None
