"""Answers that ignore the video and the query: what a model has to beat before its figures mean anything."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from lavis.common.random import SampleDraws
from lavis.structures import Moment, Prediction, VideoSample


def whole_video(samples: Sequence[VideoSample]) -> list[Prediction]:
    """The whole clip, for each sample."""
    return [Prediction(sample.id, [sample.window]) for sample in samples]


def mean_training_window(train: Sequence[VideoSample], samples: Sequence[VideoSample]) -> list[Prediction]:
    """The mean window of the training truth as a share of its clip, laid on the clip of each sample.

    Raises:
        ValueError: if no training sample has a true moment.
    """
    windows = [(moment, sample.window) for sample in train for moment in sample.moments or []]
    if not windows:
        raise ValueError("the mean training window needs training samples with true moments; there are none")
    start = statistics.fmean((moment.start - clip.start) / clip.length for moment, clip in windows)
    end = statistics.fmean((moment.end - clip.start) / clip.length for moment, clip in windows)
    return [Prediction(sample.id, [_part(sample.window, start, end)]) for sample in samples]


def random_window(samples: Sequence[VideoSample], seed: int = 0) -> list[Prediction]:
    """Two times drawn uniformly from each clip, in order; the same for the same id and seed."""
    answers = []
    for sample in samples:
        start, end = sorted(SampleDraws(sample.id, seed).rand(2).tolist())
        answers.append(Prediction(sample.id, [_part(sample.window, start, end)]))
    return answers


def _part(clip: Moment, start: float, end: float) -> Moment:
    return Moment(clip.start + start * clip.length, clip.start + end * clip.length)
