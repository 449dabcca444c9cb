"""The twelve tasks of E.T. Bench (Liu et al., 2024): choose, ground, summarise, describe.

A sample carries its record in ``extra["etbench"]``; result rows are these records with the answer, as the benchmark's
own scripts write and read them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lavis.common.registry import registry
from lavis.metrics.base import Metric
from lavis.metrics.etbench import ETBenchMetric, answered_record
from lavis.structures import Prediction, VideoSample
from lavis.tasks.base import Task


@registry.tasks.register("etbench")
class ETBenchTask(Task):
    """E.T. Bench, scored as its official script does unless other metrics are named.

    Args:
        metrics: what is computed; ``None`` takes ``etbench``.
        group_by_kind: see ``Task``; off, since the figures are by task already.
    """

    def __init__(self, metrics: list[Metric] | None = None, group_by_kind: bool = False) -> None:
        super().__init__(metrics, group_by_kind)

    def default_metrics(self) -> list[Metric]:
        return [ETBenchMetric()]

    def result_rows(self, samples: Sequence[VideoSample], predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
        """Official records ``{idx, task, source, video, duration, ..., a}``, with structural tokens also
        ``ent_inds, tst_inds, vl_sims, scale``; ``lavis score etbench`` reads them, ``lavis submit`` parts them by task.
        """
        return [
            answered_record(sample, prediction) for sample, prediction in zip(samples, predictions, strict=True)
        ]
