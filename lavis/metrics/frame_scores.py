"""Grounding from scores of frames as a metric: how well the frames above a threshold agree with the true moments.

The arithmetic is the protocol's (lavis/scoring/protocols/frame_scores), with one setting and no sweep.
"""

from __future__ import annotations

from typing import Any, Literal

from lavis.common.registry import registry
from lavis.metrics._protocol import ProtocolMetric
from lavis.scoring.protocols.frame_scores import FrameScores as Scoring
from lavis.structures import Prediction, VideoSample


@registry.metrics.register("frame_scores")
class FrameScores(ProtocolMetric):
    """``mIoU``, ``R1@0.3``, ``R1@0.5`` and ``R1@0.7`` in percent, and ``total``.

    A prediction without scores counts as missed; where no prediction has any, the model has no head for them, which is
    an error.

    Args:
        smooth: frames to either side of which the mean is taken.
        threshold: on scores stretched to 0..1 in each video.
        seconds_per_score: how far apart frames are.
        constant_scores: a video whose scores are all equal (see the protocol).
    """

    predictable = False

    def __init__(
        self,
        smooth: int = 6,
        threshold: float = 0.5,
        seconds_per_score: float = 2.0,
        constant_scores: Literal["original", "zero"] = "original",
    ) -> None:
        scoring = Scoring(
            task="grounding",
            smooth=smooth,
            threshold=threshold,
            seconds_per_score=seconds_per_score,
            constant_scores=constant_scores,
        )
        super().__init__(scoring)

    def rows(self, sample: VideoSample, prediction: Prediction) -> tuple[dict[str, Any], dict[str, Any]]:
        spans = [moment.to_list() for moment in sample.moments or ()]
        answer = {"id": sample.id, "frame_scores": prediction.frame_scores}
        return answer, {"question_id": sample.id, "video": sample.video, "timestamps": spans}

    def compute(self) -> dict[str, float]:
        if self.pairs and not any(prediction.frame_scores for _, prediction in self.pairs):
            raise ValueError("no prediction has frame scores; this metric is for models with a head that scores frames")
        return {name: value for name, value in super().compute().items() if not name.startswith("best_on_test")}
