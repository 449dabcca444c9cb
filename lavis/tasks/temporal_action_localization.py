"""Find all actions in a video and name them.

Source: the ``temporal_action_localization`` task of MR.BLIP (sudo-Boris/mr-Blip), which asks with an empty query and
expects ``[[0, 10, "Long jump"], ...]``. Use a codec with ``parser: mr_blip_labelled``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lavis.common.registry import registry
from lavis.metrics.action_detection import ActionDetection
from lavis.metrics.base import Metric
from lavis.structures import Prediction, VideoSample
from lavis.tasks.base import Task


@registry.tasks.register("temporal_action_localization")
class TemporalActionLocalization(Task):
    """Detection mAP over classes of actions; name the classes by the metric's ``class_file``."""

    def default_metrics(self) -> list[Metric]:
        return [ActionDetection()]

    def result_rows(self, samples: Sequence[VideoSample], predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
        """``qid``, ``raw_prediction``, ``prediction`` (windows), ``target`` (labelled windows) and ``duration``."""
        return [
            {
                "qid": sample.id,
                "raw_prediction": prediction.text,
                "prediction": [moment.to_list() for moment in prediction.moments],
                "target": _labelled(sample),
                "duration": sample.duration,
            }
            for sample, prediction in zip(samples, predictions, strict=True)
        ]


def _labelled(sample: VideoSample) -> list[list[Any]] | None:
    if sample.moments is None:
        return None
    labels = sample.extra.get("labels", [None] * len(sample.moments))
    return [[*moment.to_list(), label] for moment, label in zip(sample.moments, labels, strict=True)]
