"""Options in texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from lavis.scoring.base import Array
from lavis.scoring.etbench.choosing import Choice, chosen_options, grounded_choice, meco_choice, referring_choice
from lavis.scoring.etbench.sentence_similarity import SentenceSimilarity


@pytest.mark.parametrize(
    ("answer", "option"),
    [
        ("(B) it", 1),
        ("the answer is (d)", 3),
        ("A", 0),
        ("c) x", 2),
        ("Best Option: (B 3 - 4", 1),
        ("best option:A, x", 0),
    ],
)
def test_letters_decide(answer: str, option: int) -> None:
    assert referring_choice(answer, 4, right=1, go_on=False) == Choice(option, None)


def test_a_wrong_letter_stops_or_goes_on() -> None:
    assert referring_choice("(A) x", 4, right=2, go_on=False) == Choice(0, None)
    assert referring_choice("(A) x", 4, right=2, go_on=True) == Choice(None, "a) x")
    assert referring_choice("(A) C", 4, right=0, go_on=True) == Choice(0, None)


def test_unknown_letters_leave_it_to_similarity() -> None:
    assert referring_choice("(Z) a dog", 4, right=0, go_on=False) == Choice(None, "z) a dog")
    assert referring_choice("E", 4, right=0, go_on=False) == Choice(None, "e")
    assert referring_choice("A dogs", 4, right=0, go_on=False) == Choice(0, None)


def test_failures_are_counted_as_the_script_counts_them() -> None:
    assert referring_choice("   (", 4, right=0, go_on=False) == Choice(None, None, failed=True)
    assert referring_choice("the dog", 4, right=0, go_on=False) == Choice(None, "the dog", failed=True)
    assert grounded_choice("the dog", 5) == Choice(None, "the dog")
    assert grounded_choice("Best option: (", 5) == Choice(None, None, failed=True)


def test_letters_of_grounded_questions() -> None:
    assert grounded_choice("E", 5) == Choice(4, None)
    assert grounded_choice("(e) 3 - 4", 5) == Choice(4, None)
    assert grounded_choice("E", 4) == Choice(None, "E")


def test_meco_letters() -> None:
    answer = "he does it<ent> Therefore, the answer is: (D)."
    assert meco_choice(answer, 5, "meco", "characters") == Choice(4, None)
    assert meco_choice(answer, 4, "meco", "characters") == Choice(4, None)
    assert meco_choice(answer, 5, "repaired", "characters") == Choice(3, None)
    assert meco_choice("E. door<ent>", 5, "meco", "characters") == Choice(5, None)
    assert meco_choice("E. door<ent>", 5, "repaired", "characters") == Choice(4, None)


def test_strip_of_characters_eats_words() -> None:
    assert meco_choice("net then <ent>", 4, "meco", "characters") == Choice(None, " then ")
    assert meco_choice("net then <ent>", 4, "meco", "marker") == Choice(None, "net then")
    assert meco_choice("<ent>", 4, "meco", "characters") == Choice(None, None, failed=True)


class Words(SentenceSimilarity):
    """Counts shared words."""

    def __call__(self, first: Sequence[str], second: Sequence[str]) -> Array:
        return np.array([len(set(a.split()) & set(b.split())) for a, b in zip(first, second, strict=True)], float)


def test_similarity_is_asked_only_where_it_has_to_be() -> None:
    choices = [Choice(2, None), Choice(None, "a dog"), Choice(None, None, failed=True), Choice(None, "the cat")]
    options = [["x"] * 4, ["a cat", "a dog"], ["x"] * 4, ["dog", "bird", "cat"]]
    assert chosen_options(choices, options, Words()) == [2, 1, None, 2]
    assert chosen_options([Choice(1, None)], [["a", "b"]], SentenceSimilarity("no such model")) == [1]
