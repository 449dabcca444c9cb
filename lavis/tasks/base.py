"""The contract of tasks: what is asked of a model, and how its answers are scored and listed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lavis.common.construct import build_part
from lavis.common.io import FileFormatError, read_json, read_jsonl, write_json
from lavis.common.registry import registry
from lavis.metrics.base import Metric, grouped
from lavis.scoring.rounding import shortened
from lavis.structures import Batch, Prediction, VideoSample

if TYPE_CHECKING:
    from lavis.models.video_llm import VideoLLM


class Task:
    """Asks a model and scores its answers.

    Args:
        metrics: what is computed; ``None`` takes the task's own.
        group_by_kind: whether samples with a ``kind`` are also scored by it, under ``<kind>/<figure>``.
    """

    def __init__(self, metrics: list[Metric] | None = None, group_by_kind: bool = True) -> None:
        self.metrics = list(metrics) if metrics is not None else self.default_metrics()
        self.group_by_kind = group_by_kind

    def default_metrics(self) -> list[Metric]:
        """The metrics of a task that names none."""
        return []

    def predict(self, model: VideoLLM, batch: Batch) -> list[Prediction]:
        """A prediction for each sample, in order."""
        return model.generate(batch)

    def evaluate(self, samples: Sequence[VideoSample], predictions: Sequence[Prediction]) -> dict[str, float]:
        """All figures.

        Args:
            samples: with truth, if there is any; without it only ``total`` is reported.
            predictions: of exactly these samples, in any order; of several with one id the last counts.

        Raises:
            ValueError: if a sample has no prediction or a prediction no sample; names the ids.
        """
        by_id = {prediction.id: prediction for prediction in predictions}
        missing = [sample.id for sample in samples if sample.id not in by_id]
        if missing:
            raise ValueError(f"no prediction for {shortened(missing)}; predict them, or leave the samples out")
        unknown = sorted(set(by_id) - {sample.id for sample in samples})
        if unknown:
            raise ValueError(f"predictions of unknown samples: {shortened(unknown)}; are they of another split?")
        ordered = [by_id[sample.id] for sample in samples]
        figures: dict[str, float] = {}
        for metric in self.metrics:
            metric.reset()
            metric.update(samples, ordered)
            _add(figures, metric.compute())
            metric.reset()
            if self.group_by_kind:
                for kind, values in grouped(metric, samples, ordered).items():
                    _add(figures, {f"{kind}/{name}": value for name, value in values.items()})
        return figures

    def names(self, samples: Sequence[VideoSample]) -> set[str] | None:
        """Names of the figures that ``evaluate`` will give for these samples.

        Returns:
            ``None`` if a metric does not know its own before the predictions are there.
        """
        groups = {"": list(samples)}
        for sample in samples:
            if self.group_by_kind and sample.kind is not None:
                groups.setdefault(f"{sample.kind}/", []).append(sample)
        names: set[str] = set()
        for metric in self.metrics:
            for prefix, group in groups.items():
                own = metric.names(group)
                if own is None:
                    return None
                names |= {f"{prefix}{name}" for name in own}
        return names

    def result_rows(self, samples: Sequence[VideoSample], predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
        """Predictions with what was asked, in the form the task's users know; JSON-ready, in the order given."""
        return [prediction.to_json() for _, prediction in zip(samples, predictions, strict=True)]


def build_task(node: Mapping[str, Any] | str) -> Task:
    """The task that a configuration's ``task`` node describes, its ``metrics`` built."""
    fields: dict[str, Any] = {"name": node} if isinstance(node, str) else dict(node)
    if fields.get("metrics") is not None:
        fields["metrics"] = [
            build_part(registry.metrics, metric, f"task.metrics[{i}]") for i, metric in enumerate(fields["metrics"])
        ]
    task: Task = build_part(registry.tasks, fields, "task")
    return task


def write_results(path: str | PathLike[str], rows: Sequence[Mapping[str, Any]]) -> Path:
    """Writes result rows as one JSON list, as the originals do; whole or not at all."""
    return write_json(path, list(rows), indent=None)


def read_results(path: str | PathLike[str]) -> list[Prediction]:
    """Predictions in a result file: a JSON list of CALCE's rows, or JSON lines of this project.

    Of several rows with one id the last is kept, at the place of the first: distributed evaluation of the originals
    lists some samples twice.

    Raises:
        FileFormatError: if the file is neither, or a row is no prediction; names file and row.
    """
    rows = read_jsonl(path) if Path(path).suffix == ".jsonl" else read_json(path)
    if not isinstance(rows, list):
        raise FileFormatError(f"{path}: a result file is a list of rows, got {type(rows).__name__}")
    predictions: dict[str, Prediction] = {}
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise FileFormatError(f"{path}, row {number}: a result row is a mapping, got {type(row).__name__}")
        try:
            prediction = Prediction.from_json(row)
        except ValueError as error:
            raise FileFormatError(f"{path}, row {number}: {error}") from error
        predictions[prediction.id] = prediction
    return list(predictions.values())


def _add(figures: dict[str, float], new: Mapping[str, float]) -> None:
    for name, value in new.items():
        if figures.setdefault(name, value) != value:
            raise ValueError(f"two metrics of one task report {name!r} differently: {figures[name]} and {value}")
