"""Charades-STA as E.T. Chat scores it, as a metric; the arithmetic is the protocol's of the same name."""

from __future__ import annotations

from typing import Any

from lavis.common.registry import registry
from lavis.metrics._protocol import ProtocolMetric
from lavis.scoring.protocols.etchat_charades import EtchatCharades as Official
from lavis.structures import Prediction, VideoSample


@registry.metrics.register("etchat_charades")
class EtchatCharades(ProtocolMetric):
    """``R@0.3``, ``R@0.5``, ``R@0.7`` and ``mIoU``, as shares.

    An answer is the frames that its match tokens stand for, of which there must be two; where it has no such tokens, it
    is its first window.
    """

    def __init__(self) -> None:
        super().__init__(Official())

    def rows(self, sample: VideoSample, prediction: Prediction) -> tuple[dict[str, Any], dict[str, Any]]:
        asked = {"id": sample.id, "vid": sample.video, "query": sample.query}
        moments = sample.moments or []
        truth = {**asked, "span": moments[0].to_list() if moments else [0.0, 0.0]}
        return {**asked, "pred": matched(prediction)}, truth


def matched(prediction: Prediction) -> list[float] | None:
    """The frames that the match tokens of an answer stand for, or its first window if that is not known."""
    frames = prediction.details.get("frames")
    if frames is None:
        return [float(bound) for bound in prediction.moments[0].to_list()] if prediction.moments else None
    return None if any(frame is None for frame in frames) else [float(frame) for frame in frames]
