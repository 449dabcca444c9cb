"""Recall of the first and the first five windows as a metric; the arithmetic is the protocol's of the same name."""

from __future__ import annotations

from typing import Any

from lavis.common.registry import registry
from lavis.metrics._protocol import ProtocolMetric
from lavis.scoring.protocols.moment_retrieval import MomentRetrieval as Protocol
from lavis.structures import Prediction, VideoSample


@registry.metrics.register("moment_retrieval")
class MomentRetrieval(ProtocolMetric):
    """``R1@0.3`` ... ``R1@0.9``, ``R5@0.3`` ... ``R5@0.9`` and ``mIoU``, all in percent, and the same of all windows
    joined (``union_``) and of the best one (``best_``).

    ``mIoU`` is a fraction in the metric ``temporal``; do not name both for one task.
    """

    def __init__(self) -> None:
        super().__init__(Protocol())

    def rows(self, sample: VideoSample, prediction: Prediction) -> tuple[dict[str, Any], dict[str, Any]]:
        truth = {
            "qid": sample.id,
            "video": sample.video,
            "duration": sample.duration,
            "relevant_windows": [moment.to_list() for moment in sample.moments or []],
        }
        return prediction.to_json(), truth
