"""Figures of ``dvc`` and ``slc``: are the events found, and are they described well.

Samples are kept by video, so of two questions on one video the one with the higher index counts (the script takes the
later row). What is found is scaled by the share of samples that are kept; what is said is not: captions are scored
against the true captions of every event they overlap, or against a word without sense, video by video, with document
frequencies of that video alone.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from string import ascii_lowercase
from typing import Literal

import numpy as np

from lavis.scoring.base import Array, ScoringError
from lavis.scoring.captions import ngrams
from lavis.scoring.captions.matching import UNMATCHED, ascii_only, caption_pairs, detected, event_iou, harmonic
from lavis.scoring.captions.pairs import Corpus
from lavis.scoring.captions.tools import CaptionTools
from lavis.scoring.etbench.grounding import THRESHOLDS, Result, Sample, numpy_rounded
from lavis.scoring.etbench.sentence_similarity import SentenceSimilarity

CAPTION_FIGURES = ("Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "METEOR", "ROUGE_L", "CIDEr", "SentSim")
_MOST_PROPOSALS = 1000

_FENCE = "q"
"""A line between lists of captions, so that none sees another; small, as the end of a file is to the tokeniser."""

Filler = Literal["constant", "random"]
Tokenized = Literal["together", "apart"]


@dataclass(frozen=True, slots=True)
class Judges:
    """What captions are scored with.

    Args:
        similarity: of sentences.
        tools: tokeniser and METEOR; ``None`` where they cannot run, and then no caption is scored.
        filler: what a caption that meets no event is compared with: ``constant`` letters, or ``random`` ones.
        seed: of the random letters, which depend on video, threshold and caption alone.
        tokenized: ``together`` tokenises all captions of a source as lines of one text, as the script does: whether a
            final ``a.`` keeps its full stop depends on the next line. ``apart`` tokenises each for itself.
    """

    similarity: SentenceSimilarity
    tools: CaptionTools | None
    filler: Filler = "constant"
    seed: int = 0
    tokenized: Tokenized = "together"


@dataclass(frozen=True, slots=True, eq=False)
class Story:
    """A video's events beside those predicted; ``place`` is that of its sample."""

    place: int
    video: str
    overlap: Array
    predicted: list[str]
    true: list[str]


def captioned(samples: Sequence[Sample], judges: Judges) -> Result:
    """``dvc``, ``slc``."""
    stories = _stories(samples)
    failed = sum(answer is None or answer.windows is None or answer.captions is None for _, answer in samples)
    result = Result({"Total": len(samples), "Failed": failed}, {})
    _detection(stories, len(samples), result)
    if not stories:
        result.figures |= dict.fromkeys(CAPTION_FIGURES, 0)
        result.parts["SentSim"] = np.zeros(len(samples))
    elif judges.tools is not None:
        _captions(stories, len(samples), judges, judges.tools, result)
    return result


def _stories(samples: Sequence[Sample]) -> list[Story]:
    """One for each video with a readable answer, in the order of samples."""
    by_video: dict[str, Story] = {}
    for place, (question, answer) in enumerate(samples):
        if answer is None or answer.windows is None or answer.captions is None:
            continue
        overlap = event_iou(answer.windows[:_MOST_PROPOSALS], question.windows)
        by_video[question.video] = Story(place, question.video, overlap, answer.captions, question.captions)
    return list(by_video.values())


def _detection(stories: Sequence[Story], total: int, result: Result) -> None:
    f1s = []
    for threshold in THRESHOLDS:
        precision, recall = np.zeros(total), np.zeros(total)
        for story in stories:
            predicted, true = detected(story.overlap, threshold)
            precision[story.place] = predicted.mean() if len(predicted) else 0.0
            recall[story.place] = true.mean()
        result.parts |= {f"P@{threshold}": precision, f"R@{threshold}": recall}
        f1s.append(harmonic((_scaled(precision, stories), _scaled(recall, stories))))
        result.figures[f"F1@{threshold}"] = round(f1s[-1], 5)
    result.figures["F1"] = round(sum(f1s) / len(f1s), 5)


def _scaled(values: Array, stories: Sequence[Story]) -> float:
    """Mean over the videos kept, times the share of samples that are kept."""
    if not stories:
        return 0.0
    return sum(float(values[story.place]) for story in stories) / len(stories) * (len(stories) / len(values))


def _captions(stories: Sequence[Story], total: int, judges: Judges, tools: CaptionTools, result: Result) -> None:
    texts = [[_pairs(story, threshold, judges) for story in stories] for threshold in THRESHOLDS]
    corpora = _tokenized(texts, tools, judges.tokenized)
    scores: dict[str, list[float]] = {name: [] for name in CAPTION_FIGURES}
    for corpus in corpora:
        for name, score in zip(CAPTION_FIGURES, ngrams.bleu(corpus), strict=False):
            scores[name].append(score.total)
        scores["ROUGE_L"].append(ngrams.rouge_l(corpus).total)
        scores["CIDEr"].append(ngrams.cider(corpus).total)
    scores["METEOR"] = [score.total for score in tools.meteor(corpora)]
    try:
        scores["SentSim"] = _similarities(corpora, judges.similarity)
    except ScoringError as error:
        del scores["SentSim"]
        result.notes.append(str(error))
    for name, values in scores.items():
        by_threshold = np.reshape(values, (len(THRESHOLDS), len(stories)))
        result.figures[name] = numpy_rounded(sum(by_threshold.mean(axis=1)) / len(THRESHOLDS), 5)
        if name == "SentSim":
            result.parts[name] = np.full(total, np.nan)
            result.parts[name][[story.place for story in stories]] = by_threshold.mean(axis=0)


def _pairs(story: Story, threshold: float, judges: Judges) -> list[tuple[str, str]]:
    """What is said beside what should be."""
    return [
        (
            ascii_only(story.predicted[prediction]),
            _filler(story, threshold, number, judges) if event is None else ascii_only(story.true[event]),
        )
        for number, (prediction, event) in enumerate(caption_pairs(story.overlap, threshold))
    ]


def _filler(story: Story, threshold: float, number: int, judges: Judges) -> str:
    if judges.filler == "constant":
        return UNMATCHED
    draw = random.Random(f"{judges.seed}/{story.video}/{threshold}/{number}")
    return "".join(draw.choice(ascii_lowercase) for _ in range(draw.randint(10, 20)))


def _tokenized(
    blocks: Sequence[Sequence[Sequence[tuple[str, str]]]], tools: CaptionTools, how: Tokenized
) -> list[Corpus]:
    """Corpora of tokenised captions, in one call of the tokeniser.

    Args:
        blocks: for each threshold and story, what is said beside what should be.
        tools: of captions.
        how: see ``Judges``.
    """
    sides = [[pair[side] for corpus in block for pair in corpus] for block in blocks for side in (0, 1)]
    lines = [line for side in sides for line in (*side, _FENCE)]
    words = iter(tools.tokenize_together(lines) if how == "together" else tools.tokenize(lines))
    tokens = [[next(words) for _ in (*side, _FENCE)] for side in sides]
    corpora: list[Corpus] = []
    for block, said, meant in zip(blocks, tokens[0::2], tokens[1::2], strict=True):
        pairs = zip(said, meant, strict=True)
        for corpus in block:
            corpora.append([(hypothesis, (reference,)) for hypothesis, reference in islice(pairs, len(corpus))])
    return corpora


def _similarities(corpora: Sequence[Corpus], similarity: SentenceSimilarity) -> list[float]:
    said = [pair[0] for corpus in corpora for pair in corpus]
    meant = [pair[1][0] for corpus in corpora for pair in corpus]
    values = np.split(similarity(said, meant), np.cumsum([len(corpus) for corpus in corpora])[:-1])
    return [float(part.mean()) if len(part) else 0.0 for part in values]
