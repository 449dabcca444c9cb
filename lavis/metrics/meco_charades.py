"""Charades-STA's figures as MeCo reports them (UniVTG's), on similarities or decoded windows.

The arithmetic, and the decoding of recorded similarities, are the protocol's (lavis/scoring/protocols/meco_charades).
"""

from __future__ import annotations

from typing import Any

from lavis.common.registry import registry
from lavis.metrics._protocol import ProtocolMetric
from lavis.metrics.qvhighlights import structural_row, window_rows
from lavis.scoring.protocols.meco_charades import MecoCharades as Official
from lavis.structures import Prediction, VideoSample


@registry.metrics.register("meco_charades")
class MecoCharades(ProtocolMetric):
    """``MR-full-R1@0.3`` to ``@0.7``, ``R5``, ``mAP`` and ``mIoU``, by length of the truth; all in percent.

    Windows are decoded from the similarities of structural tokens, as the original does it, or are those of the
    prediction where it has none; a moment without a score counts as one of score 1.

    Args:
        compare_tokens: see the protocol.
        threshold: see the protocol.
        nms: see the protocol.
    """

    def __init__(self, compare_tokens: bool = True, threshold: float = 0.7, nms: float = 0.7) -> None:
        super().__init__(Official(compare_tokens, threshold, nms))

    def rows(self, sample: VideoSample, prediction: Prediction) -> tuple[dict[str, Any], dict[str, Any]]:
        answer, truth = window_rows(sample, prediction)
        return structural_row(sample, prediction) or answer, truth
