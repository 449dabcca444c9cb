"""How well a span grounds an answer: overlap with the truth (IoU), and share of the span that is truth (IoP).

Source: the grounding evaluator of NExT-GQA (doc-doc/NExT-GQA, Xiao et al., "Can I Trust Your Answer?", CVPR 2024);
MR.BLIP computes the same. Of several true spans the one that suits best counts, for either figure on its own. The
hull of both spans takes the place of their union. A span without length has IoU 0 and, inside the truth, IoP 1; one
that is reversed has neither. Differs: computed for all queries at once.
"""

from __future__ import annotations

import numpy as np

from lavis.scoring.windows.ragged import Array, Lists, Ragged

LEVELS = (0.3, 0.5)
GROUNDED = 0.5
"""IoP from which an answer counts as grounded."""


def best_overlaps(spans: Array, truths: Lists) -> tuple[Array, Array]:
    """IoU and IoP of each span with the true spans that suit it best.

    Args:
        spans: ``[Q, 2]`` seconds; "not a number" where nothing was predicted.
        truths: ``[G, 2]`` for each query.

    Returns:
        ``[Q]`` and ``[Q]``, in [0, 1]; 0 where nothing was predicted or there is no truth.
    """
    packed = Ragged.of(truths)
    query = packed.owners
    overlaps, shares = overlap_and_share(spans[query], packed.values)
    best = np.zeros((2, len(packed)))
    np.maximum.at(best[0], query, overlaps)
    np.maximum.at(best[1], query, shares)
    return best[0], best[1]


def overlap_and_share(spans: Array, truths: Array) -> tuple[Array, Array]:
    """IoU (by the hull) and IoP of spans with truths in pairs, ``[N, 2]`` each; below 0 where they are apart."""
    shared = np.minimum(truths[:, 1], spans[:, 1]) - np.maximum(truths[:, 0], spans[:, 0])
    hull = np.maximum(truths[:, 1], spans[:, 1]) - np.minimum(truths[:, 0], spans[:, 0])
    length = spans[:, 1] - spans[:, 0]
    point = length == 0
    inside = (truths[:, 0] <= spans[:, 0]) & (spans[:, 0] <= truths[:, 1])
    known = np.isfinite(length)
    overlaps = np.divide(shared, hull, out=np.zeros_like(shared), where=known & ~point & (hull > 0))
    shares = np.divide(shared, length, out=np.zeros_like(shared), where=known & (length > 0))
    return overlaps, np.where(point, inside.astype(np.float64), shares)


def grounding_marks(overlaps: Array, shares: Array) -> dict[str, Array]:
    """What the figures are means of, ``[Q]`` each: ``mIoP``, ``IoP@0.3``, ``IoP@0.5``, ``mIoU``, ``IoU@0.3``, ..."""
    marks = {}
    for name, values in (("IoP", shares), ("IoU", overlaps)):
        marks[f"m{name}"] = values
        marks |= {f"{name}@{level}": (values >= level).astype(np.float64) for level in LEVELS}
    return marks
