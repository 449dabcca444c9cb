"""From the structural tokens of MeCo ("Measure Twice, Cut Once", arXiv 2503.09027) to boundaries and captions.

MeCo writes tokens for events (``<ent>``) and for transitions (``<tst>``) between its words. Its prediction file keeps,
for each of these tokens, the cosine similarity to every frame (one frame is one second); time is found offline, here:
where an event's similarity, stretched to 0..1, is above a threshold and not below that of any other token, there lies
a window of the event.

What looks like a fault and is kept, since published figures contain it, is an argument where it can be chosen:
suppressed boxes stay with the score 0, which outranks negative cosines, and ``confidences`` stay in the order in which
boxes were found while boxes are sorted. Arithmetic on similarities is in single precision, as the original's, since
ties of tokens decide. Sorting is stable, which the original leaves to its library.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lavis.scoring.base import Array, Row, RowError, number_array

Singles = NDArray[np.float32]
Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]
Confidence = Literal["cosine", "probability"]
Suppressed = Literal["zero", "drop"]

EVENT, TRANSITION = "<ent>", "<tst>"
_LARGEST = 1e30
_LARGEST_POSITION = 2**53


@dataclass(frozen=True, slots=True, eq=False)
class StructuralTokens:
    """Similarities of one answer.

    Args:
        rows: ``[R, T]`` cosines of the structural tokens, in the order of generation, to the frames.
        events: ``[E]`` which rows are events, in the order of ``ent_inds``.
        scale: what cosines are multiplied by before they are compared; ``None`` if the record does not tell.
    """

    rows: Singles
    events: Indices
    scale: float | None

    def probabilities(self) -> Singles:
        """Softmax over frames, ``[R, T]``.

        Raises:
            RowError: without a scale.
        """
        if self.scale is None:
            raise RowError("field 'scale' is missing: similarities cannot be compared without it")
        if not self.rows.size:
            return self.rows
        logits = self.rows * np.float32(self.scale)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        weights: Singles = powers / powers.sum(axis=1, keepdims=True)
        return weights


@dataclass(frozen=True, slots=True, eq=False)
class Boundaries:
    """Windows of the events of one answer.

    Args:
        boxes: ``[N, 2]`` first and last frame, which are seconds (a single frame lasts one second); best first.
        scores: ``[N]`` highest confidence inside the box, 0 if suppressed; in the order of ``boxes``.
        confidences: one array for each box over its frames, in the order in which boxes were found, unless asked
            otherwise: event by event, in time.
        events: ``[N]`` which event (from 0) a box belongs to; in the order of ``boxes``.
    """

    boxes: Array
    scores: Array
    confidences: list[Singles]
    events: Indices


def read_structural_tokens(row: Row, scale: float | None = None) -> StructuralTokens:
    """Structural tokens of a prediction record: ``ent_inds``, ``tst_inds``, ``vl_sims`` and perhaps ``scale``.

    Args:
        row: the record.
        scale: stands in for a scale that the record lacks.

    Raises:
        RowError: if similarities are no matrix of finite numbers, or do not belong to the positions of tokens.
    """
    events = _positions(row, "ent_inds")
    order = np.sort(np.concatenate([events, _positions(row, "tst_inds")]))
    similarities = number_array(row.get("vl_sims"), "vl_sims", ndim=2)
    known = row.number_of("scale") if row.fields.get("scale") is not None else scale
    if not similarities.size:
        if row.get("vl_sims"):
            raise RowError("field 'vl_sims' holds tokens without frames")
        return StructuralTokens(np.zeros((0, 0), np.float32), np.zeros(0, np.int64), known)
    if float(np.abs(similarities).max()) * max(1.0, abs(known or 0.0)) > _LARGEST:
        raise RowError("fields 'vl_sims' and 'scale' hold numbers beyond single precision")
    if len(similarities) != len(order):
        raise RowError(f"field 'vl_sims' holds {len(similarities)} rows for {len(order)} structural tokens")
    if (np.diff(order) == 0).any():
        raise RowError("fields 'ent_inds' and 'tst_inds' hold a position twice")
    return StructuralTokens(similarities.astype(np.float32), np.searchsorted(order, events), known)


def _positions(row: Row, name: str) -> Indices:
    positions = row.numbers(name)
    if (positions != np.floor(positions)).any() or (np.abs(positions) > _LARGEST_POSITION).any():
        raise RowError(f"field {name!r} must hold whole numbers, got {row.get(name)!r:.60}")
    return positions.astype(np.int64)


def boundaries(
    tokens: StructuralTokens,
    threshold: float = 0.7,
    nms: float = 0.7,
    *,
    compare: bool = True,
    dilate: bool = True,
    confidence: Confidence = "cosine",
    suppressed: Suppressed = "zero",
    confidence_order: Literal["found", "sorted"] = "found",
) -> Boundaries:
    """Windows of all events.

    Args:
        tokens: of one answer.
        threshold: a frame needs more than this share of its event's range of similarities; an event whose
            similarities are all equal has no window.
        nms: a box that overlaps a better one by this IoU or more is suppressed.
        compare: whether a frame also needs a probability not below that of any other token, if there are others.
        dilate: whether runs of frames grow by one frame on each side.
        confidence: what boxes are ranked by.
        suppressed: ``zero`` keeps suppressed boxes with the score 0, as the original does; ``drop`` leaves them out.
        confidence_order: ``found`` leaves ``confidences`` as they were found, as the original does; ``sorted`` brings
            them into the order of ``boxes``.

    Raises:
        RowError: if probabilities are needed and there is no scale.
    """
    if not len(tokens.events):
        return Boundaries(np.zeros((0, 2)), np.zeros(0), [], np.zeros(0, np.int64))
    rows = tokens.rows[tokens.events]
    others = compare and len(tokens.rows) > 1
    if others or confidence == "probability":
        probabilities = tokens.probabilities()
    keep = _above(rows, threshold)
    if others:
        keep &= _leading(probabilities)[tokens.events]
    events, first, last = _runs(_grown(keep) if dilate else keep)
    ranked = rows if confidence == "cosine" else probabilities[tokens.events]
    found = [ranked[event, a : b + 1] for event, a, b in zip(events, first, last, strict=True)]
    boxes = np.stack([first, np.maximum(last, first + 1)], axis=1).astype(np.float64)
    order, scores = suppress(boxes, np.array([values.max() for values in found], np.float64), nms, suppressed)
    confidences = found if confidence_order == "found" else [found[box] for box in order]
    return Boundaries(boxes[order], scores, confidences, events[order])


def _above(rows: Singles, threshold: float) -> Mask:
    """Where a row, stretched to 0..1, is above the threshold; nowhere in a row of equal values."""
    low = rows.min(axis=1, keepdims=True)
    span = rows.max(axis=1, keepdims=True) - low
    share = np.divide(rows - low, span, out=np.zeros_like(rows), where=span > 0)
    above: Mask = (share > np.float32(threshold)) & (span > 0)
    return above


def _leading(probabilities: Singles) -> Mask:
    """``[R, T]`` where no other row is higher: the highest of all is then no higher either."""
    leading: Mask = probabilities >= probabilities.max(axis=0)
    return leading


def _grown(keep: Mask) -> Mask:
    grown = keep.copy()
    grown[:, 1:] |= keep[:, :-1]
    grown[:, :-1] |= keep[:, 1:]
    return grown


def _runs(keep: Mask) -> tuple[Indices, Indices, Indices]:
    """Row, first and last column of every run, row by row, in time."""
    steps = np.diff(keep.astype(np.int8), axis=1, prepend=0, append=0)
    rows, first = np.nonzero(steps == 1)
    _, behind = np.nonzero(steps == -1)
    return rows, first, behind - 1


def suppress(boxes: Array, scores: Array, nms: float, suppressed: Suppressed = "zero") -> tuple[Indices, Array]:
    """Non-maximum suppression as the original does it: by swapping the best of the rest forward.

    A suppressed box has the score 0 from then on, by which it is still compared: it comes before boxes of negative
    scores, and suppresses them in its turn. ``drop`` leaves suppressed boxes out instead, without effect on others.

    Args:
        boxes: ``[N, 2]``.
        scores: ``[N]``.
        nms: IoU from which on a box is suppressed.
        suppressed: what becomes of suppressed boxes.

    Returns:
        boxes in the order of their final scores, best first, as ``[M]`` indices, and these scores ``[M]``.
    """
    scores = scores.copy()
    order = np.arange(len(boxes))
    gone = np.zeros(len(boxes), bool)
    overlap = _overlap(boxes)
    for place in range(len(order)):
        best = place + int(scores[order[place:]].argmax())
        order[[place, best]] = order[[best, place]]
        hit = order[place + 1 :][overlap[order[place], order[place + 1 :]] >= nms]
        if suppressed == "zero":
            scores[hit] = 0.0
        elif not gone[order[place]]:
            scores[hit], gone[hit] = -np.inf, True
    order = order[np.argsort(-scores[order], kind="stable")]
    order = order[~gone[order]]
    return order, scores[order]


def _overlap(boxes: Array) -> Array:
    """IoU ``[N, N]``; boxes here are at least one second long."""
    start, end = boxes[:, 0], boxes[:, 1]
    inter = np.clip(np.minimum(end[:, None], end) - np.maximum(start[:, None], start), 0, None)
    length = end - start
    overlap: Array = inter / (length[:, None] + length - inter)
    return overlap


def event_captions(answer: str, events: Indices, *, strip: Literal["characters", "marker"] = "characters") -> list[str]:
    """The caption of each box: the words of the answer that lead to its event's token.

    The answer is split at ``<ent>``, or without any at ``.``, or else at ``,``; what follows the last is no caption.

    Args:
        answer: the model's text.
        events: ``[N]`` event of each box, as in ``Boundaries.events``; captions repeat with them.
        strip: how ``<tst>`` is taken from both ends: ``characters``, as the original does, takes any of the five
            characters, also letters of words; ``marker`` takes the token as a whole.

    Raises:
        RowError: if a box belongs to an event without a caption.
    """
    mark = next((mark for mark in (EVENT, ".", ",") if mark in answer), None)
    parts = answer.split(mark)[:-1] if mark is not None else []
    captions = [_bare(part.strip(), strip) for part in parts]
    if len(events) and int(events.max()) >= len(captions):
        raise RowError(f"the answer holds {len(captions)} captions, but event {int(events.max()) + 1} has a box")
    return [captions[event] for event in events]


def _bare(text: str, strip: Literal["characters", "marker"]) -> str:
    if strip == "characters":
        return text.strip(TRANSITION)
    while text.startswith(TRANSITION):
        text = text.removeprefix(TRANSITION).strip()
    while text.endswith(TRANSITION):
        text = text.removesuffix(TRANSITION).strip()
    return text
