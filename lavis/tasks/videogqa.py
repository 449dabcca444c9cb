"""Answer a multiple-choice question about a video, and show where the answer is.

Source: the ``videogqa`` task of MR.BLIP (sudo-Boris/mr-Blip), on NExT-GQA (Xiao et al., 2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lavis.common.registry import registry
from lavis.metrics.base import Metric
from lavis.metrics.question_answering import QuestionAnswering
from lavis.structures import Prediction, VideoSample
from lavis.tasks.videoqa import VideoQA


@registry.tasks.register("videogqa")
class VideoGQA(VideoQA):
    """Accuracy, overlap of the first predicted moment with the truth, and accuracy of well-grounded answers."""

    def default_metrics(self) -> list[Metric]:
        return [QuestionAnswering(grounded=True)]

    def result_rows(self, samples: Sequence[VideoSample], predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
        """The rows of ``videoqa`` with ``relevant_moments``, ``relevant_moments_gt`` and ``duration``."""
        rows = super().result_rows(samples, predictions)
        for row, sample, prediction in zip(rows, samples, predictions, strict=True):
            row["relevant_moments"] = [moment.to_list() for moment in prediction.moments]
            row["relevant_moments_gt"] = None if sample.moments is None else [m.to_list() for m in sample.moments]
            row["duration"] = sample.duration
        return rows
