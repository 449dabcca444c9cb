"""Choice of subtitles: order, threshold, and no text encoded twice."""

from __future__ import annotations

import torch
from torch import Tensor

from lavis.models.prompts.subtitle_choice import SubtitleChoice
from lavis.structures import Subtitle
from tests.toy_models import bert_tokenizer, sample


class Counting:
    """A text encoder whose embedding is a histogram of ids: equal texts are equal, and order does not matter."""

    def __init__(self) -> None:
        self.texts = 0

    def __call__(self, ids: Tensor, mask: Tensor) -> Tensor:
        self.texts += len(ids)
        return torch.nn.functional.one_hot(ids * mask, 200).float().sum(dim=1)[:, 5:]


LINES = [Subtitle(0, 1, "open door"), Subtitle(2, 3, "man talks"), Subtitle(4, 5, "talks man red")]


def choose(choice: SubtitleChoice, encode: Counting, repeatable: bool = True) -> list[list[str]]:
    asked = [sample("a", subtitles=LINES), sample("b", subtitles=[])]
    chosen = choice(asked, encode, torch.device("cpu"), repeatable)
    return [[line.text for line in lines] for lines in chosen]


def test_nearest_first_and_only_above_the_threshold() -> None:
    assert choose(SubtitleChoice(bert_tokenizer(), threshold=0.5), Counting()) == [["man talks", "talks man red"], []]
    assert choose(SubtitleChoice(bert_tokenizer(), threshold=0.99), Counting()) == [["man talks"], []]
    assert choose(SubtitleChoice(bert_tokenizer(), threshold=0.5, max_lines=1), Counting()) == [["man talks"], []]


def test_each_text_is_encoded_once() -> None:
    choice, encode = SubtitleChoice(bert_tokenizer()), Counting()
    choose(choice, encode)
    choose(choice, encode)
    # "man talks" is both the query and a line.
    assert encode.texts == 3
    choice.reset()
    choose(choice, encode)
    assert encode.texts == 6


def test_encoders_with_dropout_are_asked_each_time() -> None:
    choice, encode = SubtitleChoice(bert_tokenizer()), Counting()
    choose(choice, encode, repeatable=False)
    choose(choice, encode, repeatable=False)
    assert encode.texts == 6


def test_the_callers_list_is_left_alone() -> None:
    before = list(LINES)
    choose(SubtitleChoice(bert_tokenizer()), Counting())
    assert before == LINES
