"""Answers as the letter of an option."""

from __future__ import annotations

from typing import Any

import pytest

from lavis.models.codecs.option_letter import OptionLetter
from lavis.structures import ModelOutput
from tests.toy_models import sample

OPTIONS = ["a dog", "a man", "a cat"]


@pytest.mark.parametrize(
    "truth", [{"answer": "a man"}, {"answer": "1"}, {"answer": "a man", "extra": {"answer_index": 1}}]
)
def test_the_target_is_the_letter_however_the_truth_is_told(truth: dict[str, Any]) -> None:
    (text,) = OptionLetter().encode(sample(options=OPTIONS, **truth))
    assert (text.text, text.learned, text.eos) == ("Option B", True, True)


@pytest.mark.parametrize("truth", [{}, {"answer": "7"}, {"answer": "a bird"}, {"extra": {"answer_index": 3}}])
def test_an_unknown_truth_is_refused(truth: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="one of 3 options"):
        OptionLetter().encode(sample(options=OPTIONS, **truth))


@pytest.mark.parametrize(
    ("text", "index"), [("Option C", 2), ("C", 2), ("Option A: a dog", 0), ("Option E", None), ("", None), ("[[", None)]
)
def test_reading(text: str, index: int | None) -> None:
    prediction = OptionLetter().decode(ModelOutput(text), sample(options=OPTIONS))
    assert prediction.scores.get("option") == index
    assert prediction.malformed == (index is None)
