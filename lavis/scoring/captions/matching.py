"""Which event of one list meets which of another.

Source: the ActivityNet dense-captioning evaluator (Krishna et al., 2017), whose way of matching MMDuet, VTimeLLM and
E.T. Bench share: a caption counts against *every* true event that it overlaps enough, and against nothing at all if
there is none.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from lavis.scoring.base import Array

THRESHOLDS = (0.3, 0.5, 0.7, 0.9)
UNMATCHED = "q" * 12
"""Stands for the reference of a caption that meets no event.

The originals draw 10 to 20 random letters each time. That word only has to equal none of the caption's: every such word
gives the same METEOR, CIDEr, BLEU and ROUGE-L (but not the same sentence similarity).
"""
_EPSILON = 1e-8


def event_iou(predicted: Array, true: Array, ordered: bool = False) -> Array:
    """Overlap of windows ``[P, 2]`` and ``[G, 2]``, ``[P, G]``; a hair below the IoU, so 0 for empty windows.

    Args:
        predicted: windows.
        true: windows.
        ordered: put reversed windows right first.
    """
    if ordered:
        predicted, true = np.sort(predicted, axis=1), np.sort(true, axis=1)
    start, end = predicted[:, 0, None], predicted[:, 1, None]
    true_start, true_end = true[None, :, 0], true[None, :, 1]
    intersection = np.maximum(0.0, np.minimum(end, true_end) - np.maximum(start, true_start))
    hull = np.maximum(end, true_end) - np.minimum(start, true_start)
    iou: Array = intersection / (np.minimum(hull, (end - start) + (true_end - true_start)) + _EPSILON)
    return iou


def caption_pairs(iou: Array, threshold: float) -> list[tuple[int, int | None]]:
    """Each prediction with every true event it overlaps by *at least* ``threshold``, or with ``None``, in order."""
    pairs: list[tuple[int, int | None]] = []
    for prediction, row in enumerate(iou >= threshold):
        met = np.flatnonzero(row)
        pairs.extend([(prediction, int(event)) for event in met] or [(prediction, None)])
    return pairs


def detected(iou: Array, threshold: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which predictions ``[P]`` and which true events ``[G]`` are met: overlap *above* ``threshold``."""
    met = iou > threshold
    return np.any(met, axis=1, keepdims=False), np.any(met, axis=0, keepdims=False)


def ascii_only(text: str) -> str:
    """Every other character becomes a space."""
    return "".join(character if ord(character) < 128 else " " for character in text)


def harmonic(values: Iterable[float]) -> float:
    """F1 of precision and recall; 0 where both are."""
    precision, recall = values
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
