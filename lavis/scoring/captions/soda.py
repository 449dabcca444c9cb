"""SODA_c: how well a story as a whole tells another (Fujita et al., 2020).

Source: fujiso/SODA, in the two forms that MMDuet (through Vid2Seq's evaluator) and VTimeLLM use. Events are matched
one to one in order of time so that the sum of ``IoU x METEOR`` is greatest; precision is that sum per prediction,
recall per true event. The originals hand METEOR the *prediction as reference* and the truth as hypothesis; METEOR is
not symmetric. Unlike theirs this search does not recurse, so long stories score what they should (theirs stop at
Python's depth, about 1,000 events on both sides together: SODA's own script then counts the video as 0).
"""

from __future__ import annotations

import numpy as np

from lavis.scoring.base import Array
from lavis.scoring.captions.pairs import Pair


def soda_pairs(predicted: list[str], true: list[str], swapped: bool = True) -> list[Pair]:
    """The pairs METEOR is asked for, true events by predictions.

    Args:
        predicted: ``P`` tokenised captions.
        true: ``G`` tokenised captions.
        swapped: the originals' argument order; otherwise the prediction is the hypothesis.
    """
    if swapped:
        return [(event, (caption,)) for event in true for caption in predicted]
    return [(caption, (event,)) for event in true for caption in predicted]


def soda_c(iou: Array, meteor: Array) -> float:
    """SODA_c of one video, 0 to 1; 0 where a side is empty.

    Args:
        iou: ``[G, P]``, both sides in order of time.
        meteor: ``[G, P]``.
    """
    if not iou.size:
        return 0.0
    best = float(_table(iou * meteor)[-1, -1])
    precision, recall = best / iou.shape[1], best / iou.shape[0]
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def text_sorted(meteor: Array) -> Array:
    """Columns in the order of their numbers *as text* (0, 1, 10, 11, 2): how MMDuet's METEOR gives them back.

    With more than 10 predictions they then stand beside the IoU of others.
    """
    return meteor[:, sorted(range(meteor.shape[1]), key=str)]


def assignment(scores: Array) -> tuple[float, list[tuple[int, int]]]:
    """The greatest sum of an order-preserving matching, and the matches as the originals walk back to them.

    Of equal ways, skipping the true event comes first, then skipping the prediction, then the match. Their walk takes
    the last match of a row even where the best way skips that row, so the matches may add up to less than the sum;
    SODA_c uses the sum alone.

    Args:
        scores: ``[G, P]``, at least 0, not empty.
    """
    table = _table(scores)
    above = np.vstack([np.full(scores.shape[1], -1.0), table[:-1]])
    before = np.hstack([np.full((scores.shape[0], 1), -1.0), table[:, :-1]])
    matched = (above < table) & (before < table)
    pairs: list[tuple[int, int]] = []
    row, column = scores.shape[0] - 1, scores.shape[1] - 1
    while row >= 0 and column >= 0:
        found = np.flatnonzero(matched[row, : column + 1])
        if len(found):
            pairs.append((row, int(found[-1])))
            column = int(found[-1]) - 1
        row -= 1
    return float(table[-1, -1]), pairs[::-1]


def _table(scores: Array) -> Array:
    """Greatest sums of every beginning of both sides, ``[G, P]``."""
    table = np.zeros(scores.shape)
    above = np.zeros(scores.shape[1] + 1)
    for number, row in enumerate(scores):
        table[number] = np.maximum.accumulate(np.maximum(above[1:], above[:-1] + row))
        above = np.concatenate([[0.0], table[number]])
    return table
