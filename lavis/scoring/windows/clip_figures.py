"""Highlights as figures of a protocol, and what protocols with ranges of windows share."""

from __future__ import annotations

import numpy as np

from lavis.scoring.base import Array, Pairs
from lavis.scoring.rounding import two_decimals
from lavis.scoring.windows.forms import WindowAnswer, WindowTruth
from lavis.scoring.windows.highlights import Highlights, highlights
from lavis.scoring.windows.ragged import Index


def clip_figures(pairs: Pairs[WindowAnswer, WindowTruth]) -> tuple[dict[str, Highlights], list[str]]:
    """Highlights by least rating, none where ratings or scores are lacking; and why."""
    scored = np.array([answer is not None and answer.clips is not None for answer in pairs.answers])
    if not scored.any():
        return {}, ["no clip scores in the predictions: highlights are left out"]
    unrated = sum(truth.ratings is None for truth in pairs.truths)
    if unrated:
        return {}, [f"{unrated} of {len(pairs.truths)} queries have no ratings in the truth: highlights are left out"]
    notes = []
    if not scored.all():
        lacking = int((~scored).sum())
        notes = [f"{lacking} of {len(scored)} answers have no clip scores: they count as missed highlights"]
    empty = np.zeros(1)
    clips = [empty if answer is None or answer.clips is None else answer.clips for answer in pairs.answers]
    found = highlights(clips, [truth.ratings for truth in pairs.truths if truth.ratings is not None])
    masked = {
        f"HL-min-{name}": Highlights(values.precision * scored[:, None], values.hit * scored)
        for name, values in found.items()
    }
    return masked, notes


def rounded_clips(found: Highlights, order: Index) -> dict[str, float]:
    """Means of ``HL-mAP`` and ``HL-Hit1``, in percent, two decimals, summed in an order of queries (``id_order``)."""
    means = {"HL-mAP": np.mean(found.precision[order]), "HL-Hit1": np.mean(found.hit)}
    return {name: two_decimals(100 * mean) for name, mean in means.items()}


def spread(values: Array, queries: Index, count: int) -> Array:
    """Values of some queries among all; "not a number" for the others."""
    everywhere = np.full(count, np.nan)
    everywhere[queries] = values
    return everywhere
