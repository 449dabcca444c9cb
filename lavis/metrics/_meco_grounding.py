"""What the metrics ``meco_charades`` and ``meco_qvhighlights`` share: options, and what is read of an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from lavis.metrics._protocol import ProtocolMetric
from lavis.metrics.qvhighlights import structural_row, window_rows
from lavis.scoring.meco.grounding import MecoGrounding
from lavis.structures import Prediction, VideoSample


@dataclass(eq=False)
class MecoGroundingMetric(ProtocolMetric):
    """Windows are decoded from the similarities of structural tokens, as the original does it, or are those of the
    prediction where it has none; a moment without a score counts as one of score 1.

    Args:
        compare_tokens: see the protocol.
        threshold: see the protocol.
        nms: see the protocol.
    """

    official: ClassVar[type[MecoGrounding]]

    compare_tokens: bool
    threshold: float = 0.7
    nms: float = 0.7

    def __post_init__(self) -> None:
        super().__init__(self.official(self.compare_tokens, self.threshold, self.nms))

    def rows(self, sample: VideoSample, prediction: Prediction) -> tuple[dict[str, Any], dict[str, Any]]:
        answer, truth = window_rows(sample, prediction)
        return structural_row(sample, prediction) or answer, truth
