"""QVHighlights' official figures as a metric; the arithmetic is the protocol's of the same name."""

from __future__ import annotations

from typing import Any

from lavis.common.registry import registry
from lavis.metrics._protocol import ProtocolMetric, structural
from lavis.scoring.protocols.qvhighlights import RANGES
from lavis.scoring.protocols.qvhighlights import QVHighlights as Official
from lavis.scoring.scorer import score
from lavis.scoring.windows.highlights import CLIP_SECONDS
from lavis.structures import Prediction, VideoSample


@registry.metrics.register("qvhighlights")
class QVHighlights(ProtocolMetric):
    """The official figures, flat: ``MR-{range}-mAP``, ``MR-{range}-mAP@0.5`` ..., ``MR-{range}-R1@0.5`` ... and, where
    samples have ratings and predictions clip scores, ``HL-min-{rating}-mAP`` and ``-Hit1``; all in percent.

    A moment without a score counts as one of score 1.
    """

    def __init__(self) -> None:
        super().__init__(Official())

    def rows(self, sample: VideoSample, prediction: Prediction) -> tuple[dict[str, Any], dict[str, Any]]:
        return window_rows(sample, prediction)

    def compute(self) -> dict[str, float]:
        pairs = self.known()
        if not pairs:
            return {"total": len(self.pairs)}
        answers, truths = zip(*(self.rows(sample, prediction) for sample, prediction in pairs), strict=True)
        nested = score(self.protocol, list(answers), list(truths), missing="zero").figures
        figures: dict[str, float] = {}
        for name in RANGES:
            precision, recall = nested[name]["MR-mAP"], nested[name]["MR-R1"]
            if precision:
                figures[f"MR-{name}-mAP"] = precision["average"]
                figures |= {f"MR-{name}-mAP@{at}": value for at, value in precision.items() if at != "average"}
                figures |= {f"MR-{name}-R1@{at}": value for at, value in recall.items()}
        figures |= {name: value for name, value in nested["brief"].items() if name.startswith("HL-")}
        return figures | {"total": len(pairs)}


def window_rows(sample: VideoSample, prediction: Prediction) -> tuple[dict[str, Any], dict[str, Any]]:
    """A prediction with its windows and clip scores, and its truth as released: windows, and ratings if there are."""
    return prediction.to_json(), {"qid": sample.id, "video": sample.video, **truth_row(sample)}


def truth_row(sample: VideoSample) -> dict[str, Any]:
    """The truth as released: ``duration``, windows, and ratings if there are."""
    truth: dict[str, Any] = {"duration": sample.duration}
    truth["relevant_windows"] = [moment.to_list() for moment in sample.moments or []]
    if sample.saliency is not None:
        # Ratings are one for each clip here, and their number is that of the clips.
        truth |= {
            "duration": CLIP_SECONDS * len(sample.saliency),
            "relevant_clip_ids": list(range(len(sample.saliency))),
            "saliency_scores": sample.saliency,
        }
    return truth


def structural_row(sample: VideoSample, prediction: Prediction) -> dict[str, Any] | None:
    """An answer as MeCo's scripts read it: its structural tokens with their similarities; ``None`` without any."""
    known = structural(prediction)
    return {"id": sample.id, "duration": truth_row(sample)["duration"], **known} if known else None
