"""QVHighlights' figures as MeCo reports them (UniVTG's), on similarities or decoded windows.

The arithmetic, and the decoding of recorded similarities, are the protocol's
(lavis/scoring/protocols/meco_qvhighlights).
"""

from __future__ import annotations

from typing import Any

from lavis.common.registry import registry
from lavis.metrics._protocol import ProtocolMetric
from lavis.metrics.qvhighlights import structural_row, window_rows
from lavis.scoring.protocols.meco_qvhighlights import MecoQVHighlights as Official
from lavis.structures import Prediction, VideoSample


@registry.metrics.register("meco_qvhighlights")
class MecoQVHighlights(ProtocolMetric):
    """``MR-full-R1@0.3`` to ``@0.7``, ``R5``, ``mAP`` and ``mIoU``, by length of the truth, and, where samples have
    ratings and predictions clip scores, ``HL-min-{rating}-mAP`` and ``-Hit1``; all in percent.

    Windows are decoded from the similarities of structural tokens, as the original does it, or are those of the
    prediction where it has none; a moment without a score counts as one of score 1.

    Args:
        compare_tokens: see the protocol.
        threshold: see the protocol.
        nms: see the protocol.
    """

    def __init__(self, compare_tokens: bool = False, threshold: float = 0.7, nms: float = 0.7) -> None:
        super().__init__(Official(compare_tokens, threshold, nms))

    def rows(self, sample: VideoSample, prediction: Prediction) -> tuple[dict[str, Any], dict[str, Any]]:
        answer, truth = window_rows(sample, prediction)
        return structural_row(sample, prediction) or answer, truth
