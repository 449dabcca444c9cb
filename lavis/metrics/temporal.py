"""Moment retrieval as CALCE reports it, as a metric; the arithmetic is the protocol ``calce``'s."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lavis.common.registry import registry
from lavis.metrics._protocol import ProtocolMetric
from lavis.scoring.protocols.calce import Calce
from lavis.scoring.scorer import score
from lavis.structures import Prediction, VideoSample


@registry.metrics.register("temporal")
class Temporal(ProtocolMetric):
    """CALCE's figures, flat.

    ``agg_metrics`` is the mean of ``r1@0.5`` ... ``r1@0.95`` (recall of the first window, percent), ``mAP`` that of
    ``mAP@0.5`` ... ``mAP@0.95`` (percent); ``mIoU`` is a fraction, ``invalid_predictions`` the fraction of queries
    whose first window could not be read, or that have none, ``malformed_predictions`` the fraction of texts that had to
    be replaced; ``R1@0.3``, ``R1@0.5`` and ``R1@0.7`` repeat recall under the names of papers.

    Args:
        recall_at: IoUs of the ``R1@`` figures, above 0.
    """

    def __init__(self, recall_at: Sequence[float] = (0.3, 0.5, 0.7)) -> None:
        super().__init__(Calce(recall_at))
        self.recall_at = list(recall_at)

    def rows(self, sample: VideoSample, prediction: Prediction) -> tuple[dict[str, Any], dict[str, Any]]:
        truth = {
            "qid": sample.id,
            "video": sample.video,
            "relevant_windows": [moment.to_list() for moment in sample.moments or []],
        }
        return prediction.to_json(), truth

    def compute(self) -> dict[str, float]:
        pairs = self.known()
        if not pairs:
            return {"total": len(self.pairs)}
        # Truth and answer in one row, so that a sample seen twice is scored as the original does.
        rows = [{**answer, **truth} for answer, truth in (self.rows(s, p) for s, p in pairs)]
        report = score(self.protocol, rows, missing="zero")
        figures, headline = report.figures["mr"]["full"], report.headline
        # What the field reports comes first: logs show the head of the list.
        return {
            **{f"R1@{level}": headline[f"R1@{level:g}"] for level in self.recall_at},
            "mIoU": figures["mIoU"],
            "mAP": figures["mAP"]["average"],
            "agg_metrics": figures["R1-avg"],
            "malformed_predictions": sum(p.malformed for _, p in pairs) / len(pairs),
            "invalid_predictions": figures["invalid_pred_num"] / len(pairs),
            **{f"r1@{level}": value for level, value in figures["R1"].items()},
            **{f"mAP@{level}": value for level, value in figures["mAP"].items() if level != "average"},
            "total": len(pairs),
        }
