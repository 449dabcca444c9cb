"""Temporal action localisation: detection mAP and recall at once as many predictions as truths.

Source: ActivityNet's detection evaluation in ActionFormer's form, as MR.BLIP uses it (sudo-Boris/mr-Blip). Predictions
carry no scores there, so all rank alike; of predictions of a class the later ones are looked at first, which is how its
reversed sort leaves them. Its list of classes is not part of the repository and is an argument here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lavis.common.io import read_text
from lavis.common.registry import registry
from lavis.metrics.base import Metric
from lavis.models.codecs._windows import clean_labelled, is_window, window_list
from lavis.scoring.windows.overlap import overlap
from lavis.scoring.windows.precision import interpolated_precision, match
from lavis.scoring.windows.ragged import Ragged
from lavis.structures import Prediction, VideoSample

_THRESHOLDS = np.linspace(0.5, 0.95, 10)
Labelled = dict[str, dict[str, list[list[float]]]]
"""Windows by class, then by sample."""


@registry.metrics.register("action_detection")
class ActionDetection(Metric):
    """``agg_metrics`` (mean AP over classes and IoUs), ``mAP@0.5`` ... ``mAP@0.95``, ``r1@0.5`` ... ``r1@0.95`` (recall
    at 1x), ``invalid_predictions``, all fractions, and ``class_label_mismatch``, a count.

    Labels of the truth are ``sample.extra["labels"]``, one for each moment; those of predictions are read from text.

    Args:
        classes: names that count as a class; ``None`` takes those of the truth.
        class_file: text file with one name a line, instead of ``classes``.
    """

    predictable = True

    def __init__(self, classes: Sequence[str] | None = None, class_file: str | None = None) -> None:
        super().__init__()
        if classes is not None and class_file is not None:
            raise ValueError("metric action_detection: give classes or class_file, not both")
        if class_file is not None:
            classes = [line.strip() for line in read_text(Path(class_file)).splitlines() if line.strip()]
        self.classes = None if classes is None else frozenset(classes)

    def compute(self) -> dict[str, float]:
        pairs = self.known()
        if not pairs:
            return {"total": len(self.pairs)}
        truths: Labelled = {}
        for sample, _ in pairs:
            for window, label in _labelled_truth(sample):
                truths.setdefault(label, {}).setdefault(sample.id, []).append(window)
        allowed = self.classes if self.classes is not None else frozenset(truths)
        ranked: dict[str, list[tuple[str, list[float]]]] = {}
        invalid, mismatched = 0, 0
        for sample, prediction in pairs:
            windows = predicted_actions(prediction)
            invalid += not windows
            for start, end, label in windows:
                mismatched += label not in allowed
                ranked.setdefault(label if label in allowed else "", []).append((sample.id, [start, end]))
        precision, recall = np.array(
            [_class_figures(by_sample, ranked.get(label, [])) for label, by_sample in sorted(truths.items())]
        ).transpose(1, 2, 0)
        levels = [str(round(level, 2)) for level in _THRESHOLDS]
        return {
            "agg_metrics": float(precision.mean(axis=1).mean()),
            **{f"mAP@{level}": float(value) for level, value in zip(levels, precision.mean(axis=1), strict=True)},
            **{f"r1@{level}": float(value) for level, value in zip(levels, recall.mean(axis=1), strict=True)},
            "invalid_predictions": invalid / len(pairs),
            "class_label_mismatch": mismatched,
            "total": len(pairs),
        }


def predicted_actions(prediction: Prediction) -> list[tuple[float, float, str]]:
    """Windows with labels in a prediction's text; none where it cannot be read."""
    windows = [w for w in window_list(clean_labelled(prediction.text), size=3) if is_window(w[:2]) and w[0] != -1]
    return [(min(w[:2]), max(w[:2]), str(w[2])) for w in windows]


def _labelled_truth(sample: VideoSample) -> list[tuple[list[float], str]]:
    labels = sample.extra.get("labels", [])
    moments = sample.moments or []
    if len(labels) != len(moments):
        raise ValueError(f"sample {sample.id}: {len(moments)} moments but {len(labels)} labels in extra['labels']")
    return [(moment.to_list(), str(label)) for moment, label in zip(moments, labels, strict=True)]


def _class_figures(truths: dict[str, list[list[float]]], ranked: list[tuple[str, list[float]]]) -> NDArray[Any]:
    """Average precision and recall at 1x of one class, ``[2, T]``."""
    if not ranked:
        return np.zeros((2, len(_THRESHOLDS)))
    ranked = ranked[::-1]
    windows: dict[str, list[list[float]]] = {name: [] for name in truths}
    for owner, window in ranked:
        if owner in windows:
            windows[owner].append(window)
    padded, real = Ragged.of(list(truths.values())).padded()
    candidates, _ = Ragged.of(list(windows.values())).padded()
    found = match(candidates, padded, real, list(_THRESHOLDS))
    # Back from the predictions of each sample to those of the class, in rank order.
    waiting = {name: iter(marks) for name, marks in zip(truths, found, strict=True)}
    hits = np.zeros((1, len(ranked), len(_THRESHOLDS)), dtype=bool)
    for rank, (owner, _) in enumerate(ranked):
        if owner in waiting:
            hits[0, rank] = next(waiting[owner])
    num_truths = int(real.sum())
    precision = interpolated_precision(hits, np.array([len(ranked)]), np.array([num_truths]))[0]
    recalled = np.zeros(len(_THRESHOLDS))
    for name, true_windows in truths.items():
        first = np.array(windows[name][: len(true_windows)], dtype=np.float64).reshape(-1, 1, 2)
        ious = overlap(first, np.array(true_windows, dtype=np.float64)[None])
        recalled += (ious[..., None] >= _THRESHOLDS).any(axis=0).sum(axis=0)
    return np.stack([precision, recalled / num_truths])
