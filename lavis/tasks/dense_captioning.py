"""Tell what happens in a video, sentence by sentence, each with its time.

Source: dense captioning of ActivityNet Captions (Krishna et al., 2017) and YouCook2 (Zhou et al., 2018), as VTimeLLM
and MMDuet evaluate it. A sample is a whole video: ``moments`` are its true events, ``extra["captions"]`` holds a
sentence for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lavis.common.registry import registry
from lavis.metrics.base import Metric
from lavis.metrics.dense_captioning import DenseCaptioning as DenseCaptioningMetric
from lavis.structures import Prediction, VideoSample
from lavis.tasks.base import Task


@registry.tasks.register("dense_captioning")
class DenseCaptioning(Task):
    """Dense captioning, scored as the ActivityNet line does unless other metrics are named."""

    def default_metrics(self) -> list[Metric]:
        return [DenseCaptioningMetric()]

    def result_rows(self, samples: Sequence[VideoSample], predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
        """Prediction lines with ``duration``; ``lavis score dense_captioning`` reads them."""
        return [
            {**prediction.to_json(), "duration": sample.duration}
            for sample, prediction in zip(samples, predictions, strict=True)
        ]
