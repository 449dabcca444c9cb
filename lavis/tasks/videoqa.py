"""Answer a multiple-choice question about a video.

Source: the ``videoqa`` task of MR.BLIP (sudo-Boris/mr-Blip).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lavis.common.registry import registry
from lavis.metrics.base import Metric
from lavis.metrics.question_answering import QuestionAnswering, chosen_option, true_option
from lavis.structures import Prediction, VideoSample
from lavis.tasks.base import Task


@registry.tasks.register("videoqa")
class VideoQA(Task):
    """Accuracy overall and by type of question.

    Args:
        metrics: what is computed; ``None`` takes ``question_answering``.
        group_by_kind: see ``Task``; off, since the figures are by type of question already.
    """

    def __init__(self, metrics: list[Metric] | None = None, group_by_kind: bool = False) -> None:
        super().__init__(metrics, group_by_kind)

    def default_metrics(self) -> list[Metric]:
        return [QuestionAnswering()]

    def result_rows(self, samples: Sequence[VideoSample], predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
        """``qid``, and the indices ``prediction`` of the option chosen (``None``: no option) and ``target``."""
        return [
            {
                "qid": sample.id,
                "prediction": chosen_option(sample, prediction),
                "target": None if sample.answer is None else true_option(sample),
            }
            for sample, prediction in zip(samples, predictions, strict=True)
        ]
