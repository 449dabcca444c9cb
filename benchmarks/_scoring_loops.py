"""The figures of QVHighlights as plain loops over queries, thresholds and predictions, and made-up inputs for them.

Inputs are drawn from a fixed seed, in the sizes of the validation split: ten windows and 75 clip scores a query.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np

Row = dict[str, Any]
THRESHOLDS = [round(0.5 + 0.05 * step, 2) for step in range(10)]
NUM_CLIPS = 75


def made_up(num_queries: int, seed: int = 0) -> tuple[list[Row], list[Row]]:
    """Predictions and truths of the form and the sizes of QVHighlights."""
    draw = random.Random(seed)
    predictions, truths = [], []
    for qid in range(num_queries):
        windows = sorted(_window(draw) for _ in range(draw.choice([1, 1, 1, 2, 3, 5])))
        clips = sorted({clip for a, b in windows for clip in range(a // 2, b // 2)})
        guesses = [draw.choice(windows) if draw.random() < 0.4 else _window(draw) for _ in range(10)]
        shifted = [[max(a - draw.randint(0, 3), 0), b, draw.random()] for a, b in guesses]
        predictions.append(
            {
                "qid": qid,
                "vid": f"video_{qid}",
                "pred_relevant_windows": shifted,
                "pred_saliency_scores": [draw.gauss(clip in clips, 1) for clip in range(NUM_CLIPS)],
            }
        )
        truths.append(
            {
                "qid": qid,
                "vid": f"video_{qid}",
                "duration": 2 * NUM_CLIPS,
                "relevant_windows": [list(w) for w in windows],
                "relevant_clip_ids": clips,
                "saliency_scores": [[draw.randint(0, 4) for _ in range(3)] for _ in clips],
            }
        )
    return predictions, truths


def _window(draw: random.Random) -> tuple[int, int]:
    start = 2 * draw.randint(0, NUM_CLIPS - 5)
    return start, min(start + 2 * draw.choice([1, 3, 5, 10, 20, 40]), 2 * NUM_CLIPS)


def loops(predictions: list[Row], truths: list[Row]) -> dict[str, float]:
    """The brief figures, one query, threshold and prediction at a time."""
    real = {row["qid"]: row for row in truths}
    figures: dict[str, float] = {}
    for name, low, high in (("short", 0, 10), ("middle", 10, 30), ("long", 30, 150), ("full", 0, 10**9)):
        kept = {qid: [w for w in row["relevant_windows"] if low < w[1] - w[0] <= high] for qid, row in real.items()}
        rows = [row for row in predictions if kept[row["qid"]]]
        for level in THRESHOLDS:
            values = [average_precision(row["pred_relevant_windows"], kept[row["qid"]], level) for row in rows]
            figures[f"MR-{name}-mAP@{level}"] = float(np.mean(values))
        figures[f"MR-{name}-mAP"] = float(np.mean([figures[f"MR-{name}-mAP@{level}"] for level in THRESHOLDS]))
        if name == "full":
            for level in (0.5, 0.7):
                hits = [top1(row["pred_relevant_windows"][0], kept[row["qid"]]) >= level for row in rows]
                figures[f"MR-full-R1@{level}"] = float(np.mean(hits))
    for name, least in (("Fair", 2), ("Good", 3), ("VeryGood", 4)):
        scores, hits = [], []
        for row in predictions:
            rated = np.zeros((NUM_CLIPS, 3))
            truth = real[row["qid"]]
            rated[truth["relevant_clip_ids"]] = truth["saliency_scores"]
            best = row["pred_saliency_scores"].index(max(row["pred_saliency_scores"]))
            hits.append(bool((rated[best] >= least).any()))
            scores += [ranking_precision(row["pred_saliency_scores"], rated[:, k] >= least) for k in range(3)]
        figures[f"HL-min-{name}-mAP"] = float(np.mean(scores))
        figures[f"HL-min-{name}-Hit1"] = float(np.mean(hits))
    shown = ("MR-full-mAP@0.5", "MR-full-mAP@0.75")
    return {k: float(f"{100 * v:.2f}") for k, v in figures.items() if "mAP@" not in k or k in shown}


def iou(a: Any, b: Any) -> float:
    shared = max(0, min(a[1], b[1]) - max(a[0], b[0]))
    return shared / ((a[1] - a[0]) + (b[1] - b[0]) - shared)


def top1(window: Any, truths: list[Any]) -> float:
    best = max(truths, key=lambda truth: iou(window, truth))
    shared = max(0, min(window[1], best[1]) - max(window[0], best[0]))
    return shared / (max(window[1], best[1]) - min(window[0], best[0]))


def average_precision(windows: list[Any], truths: list[Any], level: float) -> float:
    free = set(range(len(truths)))
    precision, recall, found = [], [], 0
    for rank, window in enumerate(sorted(windows[:10], key=lambda w: -w[2]), start=1):
        ious = [iou(window, truth) for truth in truths]
        candidates = [i for i in free if ious[i] >= level]
        if candidates:
            free.remove(max(candidates, key=lambda i: (ious[i], i)))
            found += 1
        precision.append(found / rank)
        recall.append(found / len(truths))
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    return sum((b - a) * p for a, b, p in zip([0.0, *recall], recall, precision, strict=False))


def ranking_precision(scores: list[float], real: Any) -> float:
    if real.all() or not real.any():
        return float(real.all())
    found, precision = 0, []
    for rank, clip in enumerate(sorted(range(len(scores)), key=lambda c: -scores[c]), start=1):
        found += real[clip]
        precision.append(found / rank)
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    order = sorted(range(len(scores)), key=lambda c: -scores[c])
    return float(np.mean([p for p, clip in zip(precision, order, strict=True) if real[clip]]))
