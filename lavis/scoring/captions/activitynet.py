"""Dense captioning as the ActivityNet line scores it.

Source: the ActivityNet Captions evaluator (Krishna et al., 2017) and SODA (Fujita et al., 2020) as VTimeLLM (Huang et
al., 2024) ships them; also used for Grounded-VideoLLM. Figures are fractions under the names of those scripts.
Differences: the order of videos and the random letters have no influence; long stories keep their SODA (see ``soda``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lavis.scoring.base import Array, Derived, Estimate, Scored
from lavis.scoring.captions.corpora import BLEU_NAMES, corpus_totals
from lavis.scoring.captions.dense import Events, best_detection, soda_values, video_corpora
from lavis.scoring.captions.matching import THRESHOLDS, ascii_only, event_iou
from lavis.scoring.captions.tools import CaptionTools

_LANGUAGE = ("METEOR", "CIDEr", "Rouge-L", *BLEU_NAMES)
_PART = " of reference "
HEADLINE = ("soda_c", "SODA_c_corrected", "METEOR", "CIDEr", "Recall", "Precision", "F1")


@dataclass(frozen=True, slots=True, eq=False)
class Video:
    """Predicted events, and those of each reference (``None``: this reference does not know the video)."""

    predicted: Events
    references: tuple[Events | None, ...]

    @property
    def known(self) -> list[Events]:
        """The references that know the video; at least one."""
        return [reference for reference in self.references if reference is not None]


def scored(videos: Sequence[Video], tools: CaptionTools | None, max_proposals: int, corrected: bool) -> Scored:
    """All figures.

    Args:
        videos: at least one.
        tools: ``None`` leaves out what needs words.
        max_proposals: predictions beyond these count for SODA alone.
        corrected: also SODA with METEOR's arguments the right way round.
    """
    estimates: dict[str, Estimate | Derived] = {}
    if tools is not None:
        videos = _tokenized(videos, tools)
        estimates |= _soda("soda_c", videos, tools, swapped=True)
        if corrected:
            estimates |= _soda("SODA_c_corrected", videos, tools, swapped=False)
        estimates |= _language(videos, tools, max_proposals)
    estimates |= _detection(videos, max_proposals)
    figures = {name: _value(estimates, name) for name in estimates if _PART not in name}
    headline = {name: round(100 * figures[name], 2) for name in HEADLINE if name in figures}
    figures.pop("SODA_c_corrected", None)
    return Scored(figures=figures, headline=headline, estimates=estimates)


def _tokenized(videos: Sequence[Video], tools: CaptionTools) -> list[Video]:
    plain = [
        Video(_plain(video.predicted), tuple(r if r is None else _plain(r) for r in video.references))
        for video in videos
    ]
    tools.tokenize([text for video in plain for events in (video.predicted, *video.known) for text in events.captions])
    return [
        Video(video.predicted.tokenized(tools), tuple(r if r is None else r.tokenized(tools) for r in video.references))
        for video in plain
    ]


def _plain(events: Events) -> Events:
    return Events(events.windows, [ascii_only(caption) for caption in events.captions])


def _soda(name: str, videos: Sequence[Video], tools: CaptionTools, swapped: bool) -> dict[str, Estimate | Derived]:
    """Mean over references of the mean over the videos that each knows."""
    parts: dict[str, Estimate] = {}
    for number, references in enumerate(zip(*(video.references for video in videos), strict=True)):
        pairs = {
            place: (videos[place].predicted.in_time_order(), reference.in_time_order())
            for place, reference in enumerate(references)
            if reference is not None
        }
        if pairs:
            values = np.full(len(videos), np.nan)
            values[list(pairs)] = soda_values(tools, list(pairs.values()), ordered=False, swapped=swapped)
            parts[f"{name}{_PART}{number + 1}"] = Estimate(values)
    if len(parts) == 1:
        return {name: next(iter(parts.values()))}
    return {**parts, name: Derived(tuple(parts), lambda *columns: np.asarray(np.mean(columns, axis=0)))}


def _language(videos: Sequence[Video], tools: CaptionTools, max_proposals: int) -> dict[str, Estimate]:
    corpora = [
        corpus
        for video in videos
        for corpus in video_corpora(video.predicted.first(max_proposals), video.known, ordered=False)
    ]
    totals = corpus_totals(tools, corpora, _LANGUAGE)
    return {
        name: Estimate(values.reshape(len(videos), len(THRESHOLDS)).mean(axis=1)) for name, values in totals.items()
    }


def _detection(videos: Sequence[Video], max_proposals: int) -> dict[str, Estimate | Derived]:
    found = [
        best_detection(
            [event_iou(video.predicted.windows[:max_proposals], reference.windows) for reference in video.known]
        )
        for video in videos
    ]
    precision, recall = (np.array(column) for column in zip(*found, strict=True))
    estimates: dict[str, Estimate | Derived] = {}
    for number, threshold in enumerate(THRESHOLDS):
        estimates[f"Recall@{threshold}"] = Estimate(recall[:, number])
        estimates[f"Precision@{threshold}"] = Estimate(precision[:, number])
        estimates[f"F1@{threshold}"] = Derived((f"Precision@{threshold}", f"Recall@{threshold}"), _f1)
    estimates["Recall"] = Estimate(recall.mean(axis=1))
    estimates["Precision"] = Estimate(precision.mean(axis=1))
    parts = [f"{name}@{threshold}" for threshold in THRESHOLDS for name in ("Precision", "Recall")]
    estimates["F1"] = Derived(tuple(parts), _mean_f1)
    return estimates


def _f1(precision: Array, recall: Array) -> Array:
    total = precision + recall
    return np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)


def _mean_f1(*columns: Array) -> Array:
    f1: Array = np.mean([_f1(*columns[place : place + 2]) for place in range(0, len(columns), 2)], axis=0)
    return f1


def _value(estimates: dict[str, Estimate | Derived], name: str) -> float:
    """The figure as a fraction."""
    estimate = estimates[name]
    if isinstance(estimate, Estimate):
        return float(np.nanmean(estimate.values))
    return float(estimate.of(*(np.array([_value(estimates, part)]) for part in estimate.parts))[0])
