"""Figures of the tasks that ask for windows or moments: ``tvg``, ``epm``, ``tem``, ``gvq``, ``tal``, ``evs``, ``vhd``,
and ``eca`` where windows choose the option.

IoU is computed in single precision, as the official script does on tensors; it then compares the IoU of ``tvg`` and
the like with a threshold in double precision and that of ``tal`` in single precision, so that an IoU of just 0.7
counts for one and not for the other. Two windows without length have no IoU: a miss, and no mean IoU (NaN).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lavis.scoring.base import Array
from lavis.scoring.etbench.records import Answer, Question

THRESHOLDS = (0.1, 0.3, 0.5, 0.7)
_CANVAS = 1000
"""Seconds that ``evs`` looks at."""

Sample = tuple[Question, Answer | None]
Singles = NDArray[np.float32]


@dataclass(slots=True)
class Result:
    """Figures of one task on one source.

    Args:
        figures: as the official script writes them: its keys, order and rounding.
        parts: what they are made of: one value for each sample, "not a number" where it takes no part.
        notes: what could not be computed, and why.
    """

    figures: dict[str, float]
    parts: dict[str, Array]
    notes: list[str] = field(default_factory=list)


def mean(values: Array) -> float:
    """Mean in the order given, as Python's ``sum`` computes it."""
    return float(sum(values.tolist())) / len(values)


def numpy_rounded(value: float, digits: int) -> float:
    """``value`` as numpy rounds it, which is not always as ``round`` does: so are the script's caption figures."""
    return float(np.round(np.float64(value), digits))


def iou(first: Array, second: Array) -> Singles:
    """IoU of windows ``[N, 2]`` and ``[M, 2]``, ``[N, M]``, in single precision; NaN if neither has a length."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        a, b = first.astype(np.float32), second.astype(np.float32)
        shared = np.minimum(a[:, None, 1], b[None, :, 1]) - np.maximum(a[:, None, 0], b[None, :, 0])
        shared = np.clip(shared, 0, None)
        lengths = (a[:, 1] - a[:, 0])[:, None] + (b[:, 1] - b[:, 0])[None, :]
        overlap: Singles = shared / (lengths - shared)
    return overlap


def single_window(samples: Sequence[Sample]) -> Result:
    """``tvg``, ``epm``: the first window against the one true window; ``F1`` is the mean recall."""
    return _recalled(samples, [True] * len(samples), "F1", "F1")


def any_window(samples: Sequence[Sample]) -> Result:
    """``tem``: the first window against the true window that fits best."""
    return _recalled(samples, [True] * len(samples), "R", "mRec")


def answered_window(samples: Sequence[Sample], chosen: Sequence[bool], failed: int) -> Result:
    """``gvq``: windows count only where the right option was chosen.

    Args:
        samples: questions and answers.
        chosen: for each whether its option is right.
        failed: number of answers without an option.
    """
    result = _recalled(samples, chosen, "R", "mRec")
    result.figures["Failed"] += failed
    result.parts["Acc"] = np.array(chosen, dtype=np.float64)
    result.figures["Acc"] = round(mean(result.parts["Acc"]), 5)
    return result


def _recalled(samples: Sequence[Sample], counts: Sequence[bool], prefix: str, total: str) -> Result:
    best, failed = np.zeros(len(samples)), 0
    for i, (question, answer) in enumerate(samples):
        if not counts[i]:
            continue
        if answer is None or answer.windows is None:
            failed += 1
            continue
        best[i] = iou(question.windows, answer.windows[:1]).max()
    hits = best[:, None] >= np.array(THRESHOLDS)
    recall = [mean(hit) for hit in hits.T.astype(np.float64)]
    figures: dict[str, float] = {"Total": len(samples), "Failed": failed, "mIoU": round(mean(best), 5)}
    figures |= {f"{prefix}@{t}": round(value, 5) for t, value in zip(THRESHOLDS, recall, strict=True)}
    figures[total] = round(sum(recall) / len(recall), 5)
    return Result(figures, {total: hits.mean(axis=1)})


def all_windows(samples: Sequence[Sample]) -> Result:
    """``tal``: F1 of the shares of true windows found and of predicted windows that meet one, for each sample.

    All predicted windows count, suppressed ones too. Where no IoU is a number the score is 0; the script crashes.
    """
    scores = np.zeros((len(samples), len(THRESHOLDS)))
    failed = 0
    for i, (question, answer) in enumerate(samples):
        if answer is None or answer.windows is None:
            failed += 1
            continue
        overlap = iou(question.windows, answer.windows)
        scores[i] = [_set_f1(overlap, np.float32(threshold)) for threshold in THRESHOLDS]
    each = [mean(column) for column in scores.T]
    figures: dict[str, float] = {"Total": len(samples), "Failed": failed}
    figures |= {f"F1@{t}": round(value, 5) for t, value in zip(THRESHOLDS, each, strict=True)}
    figures["F1"] = round(sum(each) / len(each), 5)
    return Result(figures, {"F1": scores.mean(axis=1)})


def _set_f1(overlap: Singles, threshold: np.float32) -> float:
    recall = float((overlap.max(axis=1) >= threshold).mean(dtype=np.float32))
    precision = float((overlap.max(axis=0) >= threshold).mean(dtype=np.float32))
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def summary(samples: Sequence[Sample], failures: Literal["excluded", "zero"]) -> Result:
    """``evs``: F1 of whole seconds.

    Args:
        samples: questions and answers.
        failures: ``excluded`` takes the mean over samples with a prediction, as the script does, so that a model which
            fails on all but one may score 1 (where all fail, the mean is 0); ``zero`` counts them.
    """
    scores = np.full(len(samples), 0.0 if failures == "zero" else np.nan)
    failed = 0
    for i, (question, answer) in enumerate(samples):
        if answer is None or answer.windows is None:
            failed += 1
            continue
        true, found = _seconds(question.windows), _seconds(answer.windows)
        shared = int((true & found).sum())
        recall, precision = (shared / max(int(seconds.sum()), 1) for seconds in (true, found))
        scores[i] = 2 * precision * recall / (precision + recall) if shared else 0.0
    if failed == len(samples):
        scores = np.zeros(len(samples))
    figures: dict[str, float] = {"Total": len(samples), "Failed": failed}
    figures["F1"] = round(mean(scores[~np.isnan(scores)]), 5)
    return Result(figures, {"F1": scores})


def _seconds(windows: Array) -> NDArray[np.bool_]:
    """Which whole seconds windows cover; bounds are rounded, halves to the even one."""
    seconds = np.zeros(_CANVAS, dtype=bool)
    for start, end in np.clip(np.rint(windows), 0, _CANVAS).astype(np.int64):
        seconds[start:end] = True
    return seconds


def moments(samples: Sequence[Sample]) -> Result:
    """``vhd``: whether the moment lies in a true window of any annotator."""
    hits, failed = np.zeros(len(samples)), 0
    for i, (question, answer) in enumerate(samples):
        if answer is None or answer.point is None:
            failed += 1
            continue
        start, end = question.windows.T
        hits[i] = ((start <= answer.point) & (answer.point <= end)).any()
    figures: dict[str, float] = {"Total": len(samples), "Failed": failed, "F1": round(mean(hits), 5)}
    return Result(figures, {"F1": hits})


def option_of_window(question: Question, answer: Answer, window_of: Callable[[str], Array | None]) -> int | None:
    """``eca`` with structural tokens: the option whose window fits the first box best.

    Returns:
        ``None`` without a box, or if an option is no window.
    """
    candidates = [window_of(option) for option in question.options]
    if answer.windows is None or any(found is None or len(found) != 1 for found in candidates):
        return None
    return int(np.argmax(iou(answer.windows[:1], np.concatenate([found for found in candidates if found is not None]))))
