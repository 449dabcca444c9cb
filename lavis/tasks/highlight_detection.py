"""Find the moments that a sentence describes, and say how good a highlight each clip is.

Source: QVHighlights (Lei et al., 2021; jayleicn/moment_detr), whose submission rows are written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lavis.common.registry import registry
from lavis.metrics.base import Metric
from lavis.metrics.qvhighlights import QVHighlights
from lavis.structures import Prediction, VideoSample
from lavis.tasks.base import Task


@registry.tasks.register("highlight_detection")
class HighlightDetection(Task):
    """Moments and clip scores, scored as QVHighlights is unless other metrics are named."""

    def default_metrics(self) -> list[Metric]:
        return [QVHighlights()]

    def result_rows(self, samples: Sequence[VideoSample], predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
        """Rows of the official form; a moment without a score has 1."""
        return [
            {
                "qid": sample.id,
                "query": sample.query,
                "vid": sample.video,
                "pred_relevant_windows": [
                    [m.start, m.end, 1.0 if m.score is None else m.score] for m in prediction.moments
                ],
                **({"pred_saliency_scores": prediction.frame_scores} if prediction.frame_scores else {}),
            }
            for sample, prediction in zip(samples, predictions, strict=True)
        ]
