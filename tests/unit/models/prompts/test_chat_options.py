"""Questions that show the options of a sample."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lavis.models.prompts.chat import Chat
from lavis.structures import VideoSample

SAMPLE = VideoSample("q_1", "v.mp4", "What is it?", 10.0, options=["a cup", " a dog ", "{query}"], kind="x")


def test_options_are_listed_by_letter() -> None:
    prompt = Chat(question="Question: {query}\nOptions:\n{options}\nOnly the best.")
    assert prompt.questions(SAMPLE) == [
        "Question: What is it?\nOptions:\n(A) a cup\n(B) a dog\n(C) {query}\nOnly the best."
    ]
    dotted = Chat(question="{options}\n{query}", option="{letter}. {text}")
    assert dotted.questions(SAMPLE) == ["A. a cup\nB. a dog\nC. {query}\nWhat is it?"]
    of_kind = Chat(question_of_kind={"x": "{query} {options}"}, option="{text}")
    assert of_kind.questions(SAMPLE) == ["What is it? a cup\na dog\n{query}"]


def test_options_that_cannot_be_shown() -> None:
    with pytest.raises(ValueError, match=r"sample q_1: prompt.question shows options"):
        Chat(question="{query} {options}").questions(replace(SAMPLE, options=[]))
    with pytest.raises(ValueError, match=r"prompt\.option must hold {text} once"):
        Chat(option="{letter}")
