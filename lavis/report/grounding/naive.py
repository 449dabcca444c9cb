"""Overlaps of answers that look at neither video nor query, beside those of predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lavis.report.baselines import mean_training_window, random_window, whole_video
from lavis.report.grounding.cases import Case, iou
from lavis.structures import Moment, Prediction, VideoSample

_LEVELS = (0.3, 0.5, 0.7)


def naive_ious(cases: Sequence[Case], training: Sequence[Case] = (), draws: int = 20) -> dict[str, list[float]]:
    """IoUs of naive answers to the same queries, by the name of the answer.

    Args:
        cases: queries.
        training: queries with the truth that a mean window is taken of; without them there is no such answer.
        draws: of random windows for each query, at least 1; their IoUs all are in the list.
    """
    samples = [_sample(case) for case in cases]
    answers = {
        "whole video": whole_video(samples),
        "random window": [answer for seed in range(draws) for answer in random_window(samples, seed)],
    }
    if training:
        answers["mean training window"] = mean_training_window([_sample(case) for case in training], samples)
    return {name: _ious(cases, found) for name, found in answers.items()}


def overlap_table(ious: Mapping[str, Sequence[float]]) -> list[list[str]]:
    """Mean IoU and recall at 0.3, 0.5 and 0.7 (IoU at least that), in percent; rows of text, the head first.

    Args:
        ious: name to IoUs.
    """
    rows = [["answers", "mean IoU", *(f"R1@{level}" for level in _LEVELS)]]
    for name, values in ious.items():
        found = np.asarray(values, dtype=np.float64)
        figures = [found.mean(), *((found >= level).mean() for level in _LEVELS)]
        rows.append([name, *(f"{100 * value:.2f}" for value in figures)])
    return rows


def _ious(cases: Sequence[Case], answers: Sequence[Prediction]) -> list[float]:
    windows = [(answer.moments[0].start, answer.moments[0].end) for answer in answers]
    repeated = [case for _ in range(len(answers) // max(len(cases), 1)) for case in cases]
    return [max(iou(window, true) for true in case.truth) for case, window in zip(repeated, windows, strict=True)]


def _sample(case: Case) -> VideoSample:
    """Reversed true windows, which some annotations hold, teach nothing."""
    moments = [Moment(start, end) for start, end in case.truth if end >= start]
    return VideoSample(case.id, case.video, case.query, case.length, moments)
