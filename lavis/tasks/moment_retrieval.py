"""Find the moments that a sentence describes.

Source: the ``moment_retrieval`` task of MR.BLIP (sudo-Boris/mr-Blip) and CALCE (tjhd1475/CALCE), whose result rows are
kept; they feed CALCE's second stage and QVHighlights submissions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lavis.common.registry import registry
from lavis.metrics.base import Metric
from lavis.metrics.temporal import Temporal
from lavis.structures import Prediction, VideoSample
from lavis.structures.moment import windows_text
from lavis.tasks.base import Task


@registry.tasks.register("moment_retrieval")
class MomentRetrieval(Task):
    """Moment retrieval, scored as CALCE reports it unless other metrics are named."""

    def default_metrics(self) -> list[Metric]:
        return [Temporal()]

    def result_rows(self, samples: Sequence[VideoSample], predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
        """CALCE's rows; ``gt_windows`` is text, ``None`` without truth; ``query`` is the plain sentence."""
        return [
            {
                "duration": sample.duration,
                "raw_pred_windows": prediction.text,
                "pred_windows": [moment.to_list() for moment in prediction.moments],
                "gt_windows": None if sample.moments is None else windows_text(sample.moments),
                "qid": sample.id,
                "query": sample.query,
            }
            for sample, prediction in zip(samples, predictions, strict=True)
        ]
