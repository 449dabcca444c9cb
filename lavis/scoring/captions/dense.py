"""What the evaluators of dense captioning share: detection, caption corpora, and SODA of many videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lavis.scoring.base import Array
from lavis.scoring.captions.matching import THRESHOLDS, UNMATCHED, caption_pairs, detected, event_iou
from lavis.scoring.captions.pairs import Pair
from lavis.scoring.captions.soda import soda_c, soda_pairs, text_sorted
from lavis.scoring.captions.tools import CaptionTools


@dataclass(frozen=True, slots=True, eq=False)
class Events:
    """Windows ``[N, 2]`` in seconds and their ``N`` captions."""

    windows: Array
    captions: list[str]

    def in_time_order(self) -> Events:
        """By start; equal starts stay as they stand."""
        order = np.argsort(self.windows[:, 0], kind="stable")
        return Events(self.windows[order], [self.captions[number] for number in order])

    def first(self, count: int) -> Events:
        """The first few."""
        return Events(self.windows[:count], self.captions[:count])

    def tokenized(self, tools: CaptionTools) -> Events:
        """The captions as words; cheap for texts the tools have seen."""
        return Events(self.windows, tools.tokenize(self.captions))


def best_detection(ious: Sequence[Array]) -> tuple[Array, Array]:
    """Share of predictions that meet an event and of events that are met, at each of ``THRESHOLDS``.

    Args:
        ious: ``[P, G]`` for each reference; of several the best counts, for each share by itself.

    Returns:
        precision and recall, ``[4]`` each; precision is 0 without predictions.
    """
    precision, recall = np.zeros(len(THRESHOLDS)), np.zeros(len(THRESHOLDS))
    for iou in ious:
        for number, threshold in enumerate(THRESHOLDS):
            predictions, events = detected(iou, threshold)
            precision[number] = max(precision[number], predictions.sum() / max(len(predictions), 1))
            recall[number] = max(recall[number], events.sum() / len(events))
    return precision, recall


def video_corpora(predicted: Events, references: Sequence[Events], ordered: bool) -> list[list[Pair]]:
    """The pairs of a video at each of ``THRESHOLDS``; captions are tokenised."""
    true = [caption for reference in references for caption in reference.captions]
    windows = np.concatenate([reference.windows for reference in references])
    iou = event_iou(predicted.windows, windows, ordered)
    return [
        [
            (predicted.captions[prediction], (UNMATCHED if event is None else true[event],))
            for prediction, event in caption_pairs(iou, threshold)
        ]
        for threshold in THRESHOLDS
    ]


def soda_values(
    tools: CaptionTools,
    videos: Sequence[tuple[Events, Events]],
    *,
    ordered: bool,
    swapped: bool = True,
    by_text: bool = False,
) -> Array:
    """SODA_c of each video, ``[V]``.

    Args:
        tools: for METEOR.
        videos: predicted and true events, tokenised, in the order in which they are to be matched.
        ordered: put reversed windows right first.
        swapped: hand METEOR the prediction as reference.
        by_text: METEOR's columns come back in the order of their numbers as text.
    """
    corpora = [soda_pairs(predicted.captions, true.captions, swapped) for predicted, true in videos]
    values = np.zeros(len(videos))
    for number, ((predicted, true), score) in enumerate(zip(videos, tools.meteor(corpora), strict=True)):
        meteor = score.each.reshape(len(true.captions), len(predicted.captions))
        iou = event_iou(predicted.windows, true.windows, ordered).T
        values[number] = soda_c(iou, text_sorted(meteor) if by_text else meteor)
    return values
