"""Arithmetic of dense captioning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from lavis.scoring.base import Array
from lavis.scoring.captions.pairs import Corpus, CorpusScore
from lavis.scoring.captions.tools import caption_tools, captions_available
from lavis.scoring.etbench.captioning import CAPTION_FIGURES, Judges, captioned
from lavis.scoring.etbench.grounding import Sample
from lavis.scoring.etbench.records import Answer, Question
from lavis.scoring.etbench.sentence_similarity import SentenceModelError, SentenceSimilarity


class SameText(SentenceSimilarity):
    def __call__(self, first: Sequence[str], second: Sequence[str]) -> Array:
        return np.array([float(a == b) for a, b in zip(first, second, strict=True)])


class Absent(SentenceSimilarity):
    def __call__(self, first: Sequence[str], second: Sequence[str]) -> Array:
        raise SentenceModelError("install it")


def sample(video: str, found: list[list[float]] | None, texts: Sequence[str] = ("one cat", "two dogs")) -> Sample:
    true = np.array([[0.0, 10.0], [20.0, 30.0]])
    question = Question(f"dvc/s/{video}", "dvc", "s", video, video, 40, true, [], -1, ["one cat", "two dogs"])
    if found is None:
        return question, Answer(question.id, "dvc", "")
    return question, Answer(question.id, "dvc", "", np.array(found, float).reshape(-1, 2), list(texts)[: len(found)])


class Tools:
    """Tokeniser and METEOR that need no Java."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def tokenize(self, texts: Sequence[str]) -> list[str]:
        self.asked.append("apart")
        return [text.lower().rstrip(".") for text in texts]

    def tokenize_together(self, lines: Sequence[str]) -> list[str]:
        words = self.tokenize(lines)
        self.asked[-1] = "together"
        return words

    def meteor(self, corpora: Sequence[Corpus]) -> list[CorpusScore]:
        return [CorpusScore(0.25, np.full(len(corpus), 0.25)) for corpus in corpora]


def judged(samples: Sequence[Sample], tools: Any = None, **settings: Any) -> dict[str, float]:
    pytest.importorskip("pycocoevalcap", reason="needs the extra 'metrics'")
    judges = Judges(settings.pop("similarity", SameText()), tools or Tools(), **settings)
    return captioned(samples, judges).figures


WITHOUT = Judges(SameText(), None)


def test_detection_is_scaled_by_the_share_that_is_kept() -> None:
    result = captioned([sample("a", [[0, 10], [20, 30]]), sample("b", None)], WITHOUT)
    assert result.figures["Failed"] == 1
    assert result.figures["F1@0.7"] == result.figures["F1"] == 0.5
    assert result.parts["P@0.1"].tolist() == [1.0, 0.0]
    assert not set(CAPTION_FIGURES) & result.figures.keys()


def test_an_iou_of_just_the_threshold_is_not_detected() -> None:
    figures = captioned([sample("a", [[0, 7]])], WITHOUT).figures
    assert figures["F1@0.7"] == 0.0
    assert figures["F1@0.5"] == round(2 / 3, 5)


def test_no_prediction_is_no_precision() -> None:
    """The script stops, or takes the number of predictions of another video."""
    result = captioned([sample("a", []), sample("b", [[0, 10]])], WITHOUT)
    assert result.figures["Failed"] == 0
    assert result.parts["P@0.1"].tolist() == [0.0, 1.0]
    assert result.figures["F1@0.1"] == round(2 * 0.5 * 0.25 / 0.75, 5)


def test_the_last_of_two_samples_on_one_video_counts() -> None:
    result = captioned([sample("a", [[0, 10], [20, 30]]), sample("a", [[0, 10]])], WITHOUT)
    assert result.parts["R@0.5"].tolist() == [0.0, 0.5]
    assert result.figures["F1@0.5"] == round(2 * 0.5 * 0.25 / 0.75, 5)


def test_all_failed() -> None:
    figures = captioned([sample("a", None)], WITHOUT).figures
    assert figures["F1"] == 0
    assert [figures[name] for name in CAPTION_FIGURES] == [0] * 8


def test_captions_are_compared_where_they_overlap() -> None:
    figures = judged([sample("a", [[0, 10], [20, 30]])])
    assert figures["SentSim"] == figures["Bleu_1"] == figures["ROUGE_L"] == 1.0
    assert judged([sample("a", [[20, 30], [0, 10]])])["SentSim"] == 0.0
    assert judged([sample("a", [[0, 10], [35, 40]])])["SentSim"] == 0.5


def test_captions_are_not_scaled() -> None:
    assert judged([sample("a", [[0, 10], [20, 30]]), sample("b", None)])["SentSim"] == 1.0
    assert judged([sample("a", [[0, 10], [20, 30]]), sample("b", [])])["SentSim"] == 0.5


def test_fillers_are_drawn_anew_and_the_same_for_a_seed() -> None:
    class Said(SameText):
        def __call__(self, first: Sequence[str], second: Sequence[str]) -> Array:
            words.append(list(second))
            return super().__call__(first, second)

    words: list[list[str]] = []
    for seed in (0, 0, 1):
        judged([sample("a", [[35, 40], [36, 40]])], similarity=Said(), filler="random", seed=seed)
    assert words[0] == words[1] != words[2]
    assert len(set(words[0])) == 8
    assert all(10 <= len(word) <= 20 for word in words[0])
    judged([sample("a", [[35, 40]])], similarity=Said())
    assert words[3] == ["q" * 12] * 4


def test_captions_are_tokenised_in_one_call() -> None:
    for how in ("together", "apart"):
        tools = Tools()
        judged([sample("a", [[0, 10]]), sample("b", [[0, 10]])], tools, tokenized=how)
        assert tools.asked == [how]


def test_neighbours_may_change_a_word() -> None:
    reason = captions_available()
    if reason:
        pytest.skip(reason)
    with caption_tools() as tools:
        assert tools.tokenize_together(["there walks a.", "two dogs"]) == ["there walks a.", "two dogs"]
        assert tools.tokenize_together(["there walks a.", "The dogs"]) == ["there walks a", "the dogs"]
        assert tools.tokenize(["there walks a.", "The dogs"])[0] == tools.tokenize(["there walks a."])[0]


def test_without_a_sentence_model_the_other_figures_come_out() -> None:
    figures = judged([sample("a", [[0, 10]])], similarity=Absent())
    assert figures["METEOR"] == 0.25
    assert "SentSim" not in figures
