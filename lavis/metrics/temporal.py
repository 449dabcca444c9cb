"""Moment retrieval as CALCE and MR.BLIP report it: recall of the first window, average precision, mean IoU.

Source: the evaluator of MR.BLIP (sudo-Boris/mr-Blip) and CALCE (tjhd1475/CALCE), itself a variant of Moment-DETR's
without scores and ranges. The first window counts for recall; average precision takes windows in the order given; the
IoU behind recall and mIoU divides by the hull of both windows.

Differs: computed once, where the original computes the same figures four times under the names short, middle, long and
full; a query without predicted windows is a miss, where it raises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lavis.common.registry import registry
from lavis.metrics._matching import THRESHOLDS, Windows, average_precisions, top1_overlap
from lavis.metrics.base import Metric, shortened, two_decimals

RANGES = ("short", "middle", "long", "full")


@registry.metrics.register("temporal")
class Temporal(Metric):
    """CALCE's figures, flat.

    ``agg_metrics`` is the mean of ``r1@0.5`` ... ``r1@0.95`` (recall of the first window, percent), ``mAP`` that of
    ``mAP@0.5`` ... ``mAP@0.95`` (percent); ``mIoU`` is a fraction, ``invalid_predictions`` the fraction of queries
    whose first window could not be read, or that have none, ``malformed_predictions`` the fraction of texts that had to
    be replaced; ``R1@0.3``, ``R1@0.5`` and ``R1@0.7`` repeat recall under the names of papers.

    Args:
        recall_at: IoUs of the ``R1@`` figures, above 0.
    """

    predictable = True

    def __init__(self, recall_at: Sequence[float] = (0.3, 0.5, 0.7)) -> None:
        super().__init__()
        if not all(0 < t <= 1 for t in recall_at):
            raise ValueError(f"metric temporal: recall_at must be IoUs in (0, 1], got {list(recall_at)}")
        self.recall_at = list(recall_at)

    def compute(self) -> dict[str, float]:
        pairs = self.known()
        if not pairs:
            return {"total": len(self.pairs)}
        rows = [
            {
                "qid": sample.id,
                "pred_relevant_windows": [m.to_list() for m in prediction.moments],
                "relevant_windows": [m.to_list() for m in sample.moments or []],
            }
            for sample, prediction in pairs
        ]
        scores = score(rows, self.recall_at)
        # What the field reports comes first: logs show the head of the list.
        return {
            **{f"R1@{level}": value for level, value in scores["recall"].items()},
            "mIoU": scores["mIoU"],
            "mAP": scores["mAP"]["average"],
            "agg_metrics": scores["R1-avg"],
            "malformed_predictions": sum(p.malformed for _, p in pairs) / len(pairs),
            "invalid_predictions": scores["invalid_pred_num"] / len(pairs),
            **{f"r1@{level}": value for level, value in scores["R1"].items()},
            **{f"mAP@{level}": value for level, value in scores["mAP"].items() if level != "average"},
            "total": len(pairs),
        }


def score(rows: Sequence[Mapping[str, Any]], recall_at: Sequence[float] = ()) -> dict[str, Any]:
    """Figures of result rows.

    Args:
        rows: ``qid``, ``pred_relevant_windows`` (in order) and ``relevant_windows``. Where a ``qid`` comes twice,
            recall takes the last row and average precision the windows of both, as the original does.
        recall_at: further IoUs, for ``recall``.

    Returns:
        ``mAP`` and ``R1`` by threshold (percent, two decimals), ``R1-avg``, ``mIoU``, ``invalid_pred_num``, ``recall``.

    Raises:
        ValueError: if there are no rows, or a row has no true window; names the qids.
    """
    if not rows:
        raise ValueError("there are no predictions to score")
    untrue = [row["qid"] for row in rows if not row["relevant_windows"]]
    if untrue:
        raise ValueError(f"rows without a true window cannot be scored: {shortened(untrue)}")
    last = {row["qid"]: row for row in rows}
    firsts: list[Windows] = [row["pred_relevant_windows"] for row in last.values()]
    ious = top1_overlap(firsts, [row["relevant_windows"] for row in last.values()])
    levels = {level: two_decimals(np.mean(ious >= level) * 100) for level in {*THRESHOLDS, *recall_at}}
    recall = {str(level): levels[level] for level in THRESHOLDS}
    return {
        "mAP": _mean_average_precision(rows),
        "R1": recall,
        "R1-avg": float(np.mean(list(recall.values()))),
        "mIoU": float(np.mean(ious)),
        "invalid_pred_num": sum(not windows or -1 in windows[0][:2] for windows in firsts),
        "recall": {f"{level:g}": levels[level] for level in recall_at},
    }


def _mean_average_precision(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    predicted: dict[Any, list[Any]] = {}
    truths: dict[Any, list[Any]] = {}
    for row in rows:
        predicted.setdefault(row["qid"], []).extend(row["pred_relevant_windows"])
        truths.setdefault(row["qid"], []).extend(row["relevant_windows"])
    return mean_by_threshold(average_precisions(list(predicted.values()), list(truths.values())))


def mean_by_threshold(precisions: Any) -> dict[str, float]:
    """``[Q, T]`` average precisions as percent by threshold, and their ``average``; two decimals."""
    means = precisions.mean(0)
    return {
        **{str(level): two_decimals(100 * value) for level, value in zip(THRESHOLDS, means, strict=True)},
        "average": two_decimals(100 * np.mean(means)),
    }


def report(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures in the shape of the original's ``eval_submission``: ``brief``, and ``mr`` by range.

    All ranges hold the same figures, for they are not ranges: the original kept only their names.
    """
    scores = score(rows)
    scores.pop("recall")
    brief = {
        "MR-full-mAP": scores["mAP"]["average"],
        "MR-full-mAP@0.5": scores["mAP"]["0.5"],
        "MR-full-mAP@0.75": scores["mAP"]["0.75"],
        **{f"MR-{name}-mAP": scores["mAP"]["average"] for name in RANGES},
        "MR-full-R1@0.5": scores["R1"]["0.5"],
        "MR-full-R1@0.7": scores["R1"]["0.7"],
        "MR-full-R1-avg": scores["R1-avg"],
        "MR-full-mIoU": scores["mIoU"],
        "MR-full-invalid_pred_num": scores["invalid_pred_num"],
    }
    return {"brief": dict(sorted(brief.items())), "mr": {name: dict(scores) for name in RANGES}}


def listed_recall(rows: Sequence[Mapping[str, Any]], thresholds: Sequence[float] = (0.3, 0.5, 0.7)) -> dict[str, Any]:
    """MR.BLIP's own, unused figures: the i-th predicted window is compared with the i-th true one.

    A truth without its counterpart counts as 0, further predictions are ignored, and rows that are just ``[[-1, -1]]``
    count as missed for recall but not at all for mIoU.

    Returns:
        ``r1`` by threshold and ``r1_avg`` (fractions, averaged within a row first), ``mIoU``, ``invalid``.
    """
    ious: list[float] = []
    found = dict.fromkeys(thresholds, 0.0)
    invalid = 0
    for row in rows:
        predicted, truths = row["pred_relevant_windows"], row["relevant_windows"]
        if predicted == [[-1, -1]]:
            invalid += 1
            continue
        listed = [_hull_iou(p, t) for p, t in zip(predicted, truths, strict=False)]
        listed += [0.0] * (len(truths) - len(listed))
        ious += listed
        for level in thresholds:
            found[level] += sum(iou >= level for iou in listed) / len(listed) if listed else 0
    recall = {str(level): value / len(rows) for level, value in found.items()}
    return {
        "r1": recall,
        "r1_avg": sum(recall.values()) / len(recall),
        "mIoU": sum(ious) / len(ious) if ious else 0.0,
        "invalid": invalid,
    }


def _hull_iou(window: Sequence[float], other: Sequence[float]) -> float:
    shared = min(window[1], other[1]) - max(window[0], other[0])
    hull = max(window[1], other[1]) - min(window[0], other[0])
    return shared / hull if shared >= 0 and hull else 0.0


def seconds_overlap(truths: Windows, predicted: Windows, num_seconds: int) -> float:
    """IoU of two sets of windows, counted in whole seconds from 0 to ``num_seconds``; 0 where both are empty."""
    marked = np.zeros((2, num_seconds + 1), dtype=bool)
    for row, windows in zip(marked, (truths, predicted), strict=True):
        for start, end in windows:
            row[max(int(start), 0) : max(int(end), 0)] = True
    union = np.logical_or(*marked).sum()
    return float(np.logical_and(*marked).sum() / union) if union else 0.0
