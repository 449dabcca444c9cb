"""E.T. Bench in training and evaluation: the figures of the protocol ``etbench``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lavis.common.registry import registry
from lavis.metrics._protocol import ProtocolMetric, structural
from lavis.scoring.etbench.rules import Rules
from lavis.scoring.protocols.etbench import ETBench
from lavis.scoring.rounding import shortened
from lavis.structures import Prediction, VideoSample

FIELD = "etbench"
"""Where a sample carries its record ``{task, source, idx, video, duration, tgt?, p?, o?, g?, ...}``: in ``extra``."""


@registry.metrics.register("etbench")
@dataclass(eq=False)
class ETBenchMetric(Rules, ProtocolMetric):
    """Columns of the benchmark's table and merged figures, in percent, and ``total``; of the tasks that are there.

    Answers are read from the similarities of structural tokens where a prediction has them, as MeCo does it, else from
    ``prediction.text``, or where that is empty from ``prediction.moments``. Captions are scored only with Java and the
    extra ``metrics``, sentence similarity only with its model: names of figures are not known beforehand. For options
    see ``Rules``.
    """

    predictable = False

    def __post_init__(self) -> None:
        ProtocolMetric.__init__(self, ETBench(**asdict(self)))

    def rows(self, sample: VideoSample, prediction: Prediction) -> tuple[dict[str, Any], dict[str, Any]]:
        record = record_of(sample)
        if structural(prediction):
            return answered_record(sample, prediction), dict(record)
        name = f"{record['task']}/{record['source']}/{record['idx']}"
        moments = [moment.to_list() for moment in prediction.moments]
        return {"id": name, "text": prediction.text, "moments": moments}, dict(record)

    def known(self) -> list[tuple[VideoSample, Prediction]]:
        """The pairs whose truth is known: all, or none where a split has no truth.

        Raises:
            ValueError: if some have it and some do not, or a sample carries no record; names the ids.
        """
        unknown = [sample.id for sample, _ in self.pairs if not {"tgt", "p"} & record_of(sample).keys()]
        if len(unknown) == len(self.pairs):
            return []
        if unknown:
            raise ValueError(f"{len(unknown)} of {len(self.pairs)} samples have no truth: {shortened(unknown)}")
        return self.pairs


def answered_record(sample: VideoSample, prediction: Prediction) -> dict[str, Any]:
    """The record with the answer ``a``, and what is known of structural tokens, as the benchmark's scripts read it.

    Raises:
        ValueError: if the sample carries no record.
    """
    return {**record_of(sample), "a": prediction.text, **structural(prediction)}


def record_of(sample: VideoSample) -> Mapping[str, Any]:
    """The record of a sample.

    Raises:
        ValueError: if it carries none.
    """
    record = sample.extra.get(FIELD)
    if not isinstance(record, Mapping) or not {"task", "source", "idx"} <= record.keys():
        raise ValueError(
            f"sample {sample.id} carries no record of E.T. Bench (extra[{FIELD!r}]: task, source, idx, ...)"
        )
    return record
