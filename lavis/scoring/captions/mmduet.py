"""Dense captioning as MMDuet scores it.

Source: MMDuet (Wang et al., 2024), whose evaluator is that of Vid2Seq (Yang et al., 2023) with rules of text for
YouCook2. Figures are percent with one decimal under the names it prints; ``SODA_c_1`` belongs to a second annotator
that its files never have, and is always -100. Differences: random letters have no influence; a gold video without
events is an error of the truth (the original crashes).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lavis.scoring.base import Array, Derived, Estimate, Scored
from lavis.scoring.captions.corpora import corpus_totals
from lavis.scoring.captions.dense import Events, best_detection, soda_values, video_corpora
from lavis.scoring.captions.matching import THRESHOLDS, event_iou, harmonic
from lavis.scoring.captions.ngrams import cider
from lavis.scoring.captions.pairs import CorpusScore, Pair
from lavis.scoring.captions.tools import CaptionTools

HEADLINE = ("SODA_c_2", "SODA_c_corrected", "CIDER", "METEOR", "F1_Score", "Para_CIDER", "Para_METEOR")
_UNPRINTED = ("SODA_c_corrected",)
_NO_LETTER = re.compile("[^a-zA-Z]")


@dataclass(frozen=True, slots=True, eq=False)
class Video:
    """Predicted and true events; true captions as annotated."""

    predicted: Events
    true: Events


def true_captions(captions: Sequence[str]) -> list[str]:
    """Gold captions as they are scored: one sentence each, with a full stop."""
    return [caption.replace(". ", ", ") + "." for caption in captions]


def paragraphs(videos: Sequence[Video]) -> list[tuple[str, str]]:
    """Each video's predicted captions in one text, and its true ones."""
    return [(". ".join(video.predicted.captions), " ".join(true_captions(video.true.captions))) for video in videos]


def paragraph_scores(videos: Sequence[Video], tools: CaptionTools | None, ngrams: bool) -> dict[str, CorpusScore]:
    """CIDEr and METEOR of the paragraphs of all videos as one corpus; letters only, so no tokeniser is needed."""
    told = [_letters_only(pair) for pair in paragraphs(videos)]
    scores: dict[str, CorpusScore] = {}
    if ngrams:
        scores["Para_CIDER"] = cider(told)
    if tools is not None:
        scores["Para_METEOR"] = tools.meteor([told])[0]
    return scores


def scored(videos: Sequence[Video], tools: CaptionTools | None, ngrams: bool, corrected: bool) -> Scored:
    """All figures.

    Args:
        videos: at least one.
        tools: ``None`` leaves out what needs the tokeniser or METEOR.
        ngrams: whether CIDEr can be computed.
        corrected: also SODA with METEOR's arguments the right way round and its columns in order.
    """
    told = paragraph_scores(videos, tools, ngrams)
    printed = {name: _percent(score.total) for name, score in told.items()}
    estimates: dict[str, Estimate | Derived] = {}
    if "Para_CIDER" in told:
        estimates["Para_CIDER"] = Estimate(told["Para_CIDER"].each)
    values = per_video(videos, tools, corrected)
    for name, column in values.items():
        estimates[name] = Estimate(column, scale=1.0 if name == "n_preds" else 100.0)
        printed[name] = round(_mean(column), 1) if name == "n_preds" else _percent(_mean(column))
    figures = {name: value for name, value in printed.items() if name not in _UNPRINTED}
    headline = {name: printed[name] for name in HEADLINE if name in printed}
    return Scored(figures=figures, headline=headline, estimates=estimates)


def per_video(videos: Sequence[Video], tools: CaptionTools | None, corrected: bool) -> dict[str, Array]:
    """Every figure of every video, ``[V]`` each, fractions; the names and their order are the original's."""
    scored_texts = [Video(v.predicted, Events(v.true.windows, true_captions(v.true.captions))) for v in videos]
    columns: dict[str, Array] = {}
    soda: dict[str, Array] = {}
    if tools is not None:
        videos = _tokenized(scored_texts, tools)
        columns |= _language(videos, tools)
        both = [(video.predicted, video.true) for video in videos]
        soda["SODA_c_2"] = soda_values(tools, both, ordered=True, by_text=True)
        if corrected:
            soda["SODA_c_corrected"] = soda_values(tools, both, ordered=True, swapped=False)
    columns |= _detection(videos)
    columns |= soda
    columns["n_preds"] = np.array([float(len(video.predicted.captions)) for video in videos])
    if tools is not None:
        columns["SODA_c_1"] = np.full(len(videos), -1.0)
    return columns


def _tokenized(videos: Sequence[Video], tools: CaptionTools) -> list[Video]:
    tools.tokenize([text for v in videos for text in (*v.predicted.captions, *v.true.captions)])
    return [Video(video.predicted.tokenized(tools), video.true.tokenized(tools)) for video in videos]


def _language(videos: Sequence[Video], tools: CaptionTools) -> dict[str, Array]:
    corpora = [corpus for v in videos for corpus in video_corpora(v.predicted, [v.true], ordered=True)]
    totals = corpus_totals(tools, corpora, ("CIDEr", "METEOR"))
    shape = (len(videos), len(THRESHOLDS))
    return {name.replace("CIDEr", "CIDER"): values.reshape(shape).mean(axis=1) for name, values in totals.items()}


def _detection(videos: Sequence[Video]) -> dict[str, Array]:
    found = [best_detection([event_iou(v.predicted.windows, v.true.windows, ordered=True)]) for v in videos]
    columns: dict[str, Array] = {}
    for number, threshold in enumerate(THRESHOLDS):
        columns[f"Precision@{threshold}"] = np.array([precision[number] for precision, _ in found])
        columns[f"Recall@{threshold}"] = np.array([recall[number] for _, recall in found])
    means = [(_mean(precision), _mean(recall)) for precision, recall in found]
    columns["Precision_Mean"] = np.array([precision for precision, _ in means])
    columns["Recall_Mean"] = np.array([recall for _, recall in means])
    columns["F1_Score"] = np.array([harmonic(both) for both in means])
    return columns


def _letters_only(texts: tuple[str, str]) -> Pair:
    predicted, true = (" ".join(_NO_LETTER.sub(" ", text).lower().split()) for text in texts)
    return predicted, (true,)


def _mean(values: Array) -> float:
    """Summed in order, as the original does: another order may round to another printed digit."""
    return float(sum(values.tolist()) / len(values))


def _percent(value: float) -> float:
    return round(value * 100, 1)
