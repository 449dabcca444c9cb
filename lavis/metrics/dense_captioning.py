"""Dense captioning as a metric: SODA_c, CIDEr, METEOR and F1 of timed sentences, by the protocol of this name."""

from __future__ import annotations

from typing import Any, Literal

from lavis.common.registry import registry
from lavis.metrics._protocol import ProtocolMetric
from lavis.scoring.protocols.dense_captioning import DenseCaptioning as Scoring
from lavis.structures import Prediction, VideoSample


@registry.metrics.register("dense_captioning")
class DenseCaptioning(ProtocolMetric):
    """The headline of the protocol, percent, and ``total``.

    True captions are ``sample.extra["captions"]``, one for each of ``sample.moments``; predicted ones are
    ``prediction.captions``, or else read from ``prediction.text`` (``From 3 to 10, a man cooks.``). Without Java only
    localisation is scored.

    Args:
        variant: whose script to follow.
        text_times: unit of times in text.
        corrected: also ``SODA_c_corrected``.
    """

    def __init__(
        self,
        variant: Literal["activitynet", "mmduet"] = "activitynet",
        text_times: Literal["seconds", "percent"] = "seconds",
        corrected: bool = False,
    ) -> None:
        super().__init__(Scoring(variant=variant, text_times=text_times, corrected=corrected))

    def rows(self, sample: VideoSample, prediction: Prediction) -> tuple[dict[str, Any], dict[str, Any]]:
        captions = sample.extra.get("captions")
        if captions is None:
            raise ValueError(f"sample {sample.id} has no captions (extra['captions'], one for each moment)")
        answer: dict[str, Any] = {"id": sample.id, "moments": [moment.to_list() for moment in prediction.moments]}
        if prediction.captions:
            answer["captions"] = prediction.captions
        else:
            answer["text"] = prediction.text
        truth = {
            "id": sample.id,
            "video": sample.video,
            "moments": [moment.to_list() for moment in sample.moments or ()],
            "captions": list(captions),
            "duration": sample.duration,
        }
        return answer, truth
