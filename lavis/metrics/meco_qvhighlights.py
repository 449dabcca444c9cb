"""QVHighlights' figures as MeCo reports them (UniVTG's), on decoded windows.

The arithmetic, and the decoding of recorded similarities, are the protocol's
(lavis/scoring/protocols/meco_qvhighlights).
"""

from __future__ import annotations

from typing import Any

from lavis.common.registry import registry
from lavis.metrics._protocol import ProtocolMetric
from lavis.metrics.qvhighlights import window_rows
from lavis.scoring.protocols.meco_qvhighlights import MecoQVHighlights as Official
from lavis.structures import Prediction, VideoSample


@registry.metrics.register("meco_qvhighlights")
class MecoQVHighlights(ProtocolMetric):
    """``MR-full-R1@0.3`` to ``@0.7``, ``R5``, ``mAP`` and ``mIoU``, by length of the truth, and, where samples have
    ratings and predictions clip scores, ``HL-min-{rating}-mAP`` and ``-Hit1``; all in percent.

    A moment without a score counts as one of score 1.
    """

    def __init__(self) -> None:
        super().__init__(Official())

    def rows(self, sample: VideoSample, prediction: Prediction) -> tuple[dict[str, Any], dict[str, Any]]:
        return window_rows(sample, prediction)
