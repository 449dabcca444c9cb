"""NExT-GQA in training and evaluation: the figures of the protocol ``nextgqa``."""

from __future__ import annotations

from typing import Any

from lavis.common.registry import registry
from lavis.metrics._protocol import ProtocolMetric
from lavis.metrics.question_answering import chosen_option, true_option
from lavis.scoring.protocols.nextgqa import NextGQA
from lavis.structures import Prediction, VideoSample


@registry.metrics.register("nextgqa")
class NextGQAMetric(ProtocolMetric):
    """``Acc@QA``, ``Acc@GQA``, ``mIoP``, ``IoP@0.3``, ``IoP@0.5``, ``mIoU``, ``IoU@0.3`` and ``IoU@0.5`` in percent.

    The first moment is the span; the answer is what the codec read, or else what the text names. Samples without
    options have no accuracies.
    """

    def __init__(self) -> None:
        super().__init__(NextGQA())

    def rows(self, sample: VideoSample, prediction: Prediction) -> tuple[dict[str, Any], dict[str, Any]]:
        answer: dict[str, Any] = {"id": sample.id, "moments": [m.to_list() for m in prediction.moments[:1]]}
        moments = [moment.to_list() for moment in sample.moments or ()]
        truth = {"id": sample.id, "video": sample.video, "duration": sample.duration, "relevant_windows": moments}
        if sample.options:
            answer["prediction"] = chosen_option(sample, prediction)
            truth |= {"options": list(sample.options), "answer": true_option(sample)}
        return answer, truth
