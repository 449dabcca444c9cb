"""Figures of ``moment_retrieval``, put under their names: nested, flat, and what each is a mean of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lavis.scoring.base import Array, Estimate, Scored
from lavis.scoring.rounding import percent_mean, recall_by_threshold
from lavis.scoring.windows.figures import didemo, ego4d_hits, listed_recall
from lavis.scoring.windows.overlap import hull_overlap, top1_overlap, topk_overlap, union_overlap
from lavis.scoring.windows.ragged import Ragged
from lavis.scoring.windows.truth_rows import MomentAnswer, MomentTruth

THRESHOLDS = (0.3, 0.5, 0.7, 0.9)
EGO4D_THRESHOLDS = (0.3, 0.5, 0.01)


def add_common(scored: Scored, given: Ragged, truths: Ragged) -> None:
    """Figures of all data sets, and the variants."""
    _add(scored, "", 1, top1_overlap(given, truths))
    _add(scored, "", 5, topk_overlap(given, truths, 5, measure=hull_overlap), mean=False)
    scored.headline["mIoU"] = scored.headline.pop("mIoU")
    _add(scored, "union", 1, union_overlap(given, truths))
    _add(scored, "best", 1, topk_overlap(given, truths, measure=hull_overlap))


def _add(scored: Scored, variant: str, limit: int, ious: Array, mean: bool = True) -> None:
    recall = recall_by_threshold(ious, THRESHOLDS)
    figures = scored.figures if not variant else scored.figures.setdefault(variant, {})
    figures[f"R{limit}"] = recall
    begin = f"{variant}_" if variant else ""
    for level in THRESHOLDS:
        _put(scored, f"{begin}R{limit}@{level}", recall[str(level)], Estimate((ious >= level).astype(np.float64)))
    if mean:
        figures["mIoU"] = percent_mean(ious)
        _put(scored, f"{begin}mIoU", figures["mIoU"], Estimate(ious))


def _put(scored: Scored, name: str, value: float, estimate: Estimate) -> None:
    scored.headline[name] = value
    scored.estimates[name] = estimate


def add_listed(scored: Scored, given: Ragged, truths: Ragged, answers: Sequence[MomentAnswer | None]) -> None:
    """MR.BLIP's unused figures, fractions; only in the nested figures."""
    marked = np.bincount(given.owners, (given.values == -1).all(axis=1), minlength=len(given)) == 1
    readable = [answer is None or answer.readable for answer in answers] & ~(marked & (given.counts == 1))
    scored.figures["listed"] = listed_recall(given, truths, readable.tolist())


def rename(scored: Scored, begin: str) -> None:
    """Puts everything so far under names that begin otherwise."""
    scored.figures = {begin.rstrip("_"): scored.figures}
    scored.headline = {begin + name: value for name, value in scored.headline.items()}
    scored.estimates = {begin + name: estimate for name, estimate in scored.estimates.items()}


def add_didemo(scored: Scored, segments: Ragged, truths: Sequence[MomentTruth]) -> None:
    """The figures of DiDeMo's own script, fractions there and percent in the headline."""
    found = didemo(segments, [truth.segments for truth in truths if truth.segments is not None])
    scored.notes.append("windows are pairs of DiDeMo's segments; the other figures see them as seconds")
    values = {f"didemo_R{limit}": (found.rank <= limit).astype(np.float64) for limit in (1, 5)}
    values["didemo_mIoU"] = found.iou
    scored.figures["didemo"] = {name.removeprefix("didemo_"): float(value.mean()) for name, value in values.items()}
    for name, value in values.items():
        _put(scored, name, percent_mean(value), Estimate(value))


def add_ego4d(scored: Scored, given: Ragged, truths: Ragged) -> None:
    """The figures of Ego4D's own script, in percent: recall asks for more than the threshold, not for as much."""
    limits = (1, 3, 5)
    hits = ego4d_hits(given, truths, EGO4D_THRESHOLDS, limits)
    figures: dict[str, float] = {}
    for level, by_limit in zip(EGO4D_THRESHOLDS, hits, strict=True):
        for limit, values in zip(limits, by_limit, strict=True):
            figures[f"R{limit}@{level}"] = percent_mean(values)
            _put(scored, f"ego4d_R{limit}@{level}", figures[f"R{limit}@{level}"], Estimate(values))
    mean = hits[:2, 0].mean(axis=0)
    first = topk_overlap(given, truths, 1, measure=hull_overlap)
    for name, values in (("mean_R1", mean), ("mIoU", first)):
        figures[name] = percent_mean(values)
        _put(scored, f"ego4d_{name}", figures[name], Estimate(values))
    scored.figures["ego4d"] = figures
