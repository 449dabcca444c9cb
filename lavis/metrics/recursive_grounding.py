"""HawkEye's recursive grounding in training and evaluation: the figures of the protocol ``recursive_grounding``."""

from __future__ import annotations

from typing import Any

from lavis.common.registry import registry
from lavis.metrics._protocol import ProtocolMetric
from lavis.scoring.protocols.recursive_grounding import RecursiveGrounding
from lavis.structures import Prediction, VideoSample


@registry.metrics.register("recursive_grounding")
class RecursiveGroundingMetric(ProtocolMetric):
    """``turn1/mean_iou``, ``turn1/r03`` ... as fractions, of texts that name the answer of each round in order.

    A text that names something else than ``beginning``, ``middle``, ``end`` and ``throughout`` counts as missed.

    Args:
        max_turns: rounds to report.
    """

    def __init__(self, max_turns: int = 4) -> None:
        super().__init__(RecursiveGrounding(max_turns))

    def rows(self, sample: VideoSample, prediction: Prediction) -> tuple[dict[str, Any], dict[str, Any]]:
        moments = [moment.to_list() for moment in sample.moments or ()]
        truth = {"id": sample.id, "video": sample.video, "duration": sample.duration, "relevant_windows": moments}
        return {"id": sample.id, "text": prediction.text}, truth
