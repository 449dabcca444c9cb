"""Evaluation of one split: predictions are appended as they come, unique by sample id, then scored.

An interrupted evaluation goes on where it stopped, if weights and configuration are the same; their fingerprint lies
beside the predictions, with that of each sample: only samples that are new or were changed are asked again. Every
process answers its share once, where the originals answer padded copies as well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.data import Dataset

from lavis.common import distributed
from lavis.common.io import FileFormatError, append_jsonl, read_json, read_jsonl, write_json, write_jsonl
from lavis.common.logging import Progress, get_logger
from lavis.runners.data import eval_loader
from lavis.runners.failures import StopRequest, memory_advice
from lavis.structures import Prediction, VideoSample

if TYPE_CHECKING:
    from lavis.runners.engine import Engine
    from lavis.tasks.base import Task

SELECTING = (
    "annotations", "prior", "videos", "video_suffix", "check_files", "on_decode_error", "on_missing_video",
    "on_missing_subtitles", "fix", "keyword", "no_keyword", "random", "subset", "weights", "length",
)  # fmt: skip
"""Settings of a data set that decide which samples there are, not how one is answered: samples speak for themselves."""
SCORING = ("metrics", "group_by_kind")

logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LoaderSettings:
    """How evaluation reads its data: samples a batch, loader processes, seed and their start method."""

    batch_size: int = 1
    num_workers: int = 0
    seed: int = 42
    start_method: str | None = None
    max_batches: int | None = None


class SplitEvaluator:
    """Predicts and scores one split of one data set.

    Args:
        name: ``<dataset>_<split>``.
        dataset: has ``samples``; gives ``(sample, views)``.
        folder: where ``<name>.jsonl`` is written, and ``<name>.json`` with the rows the task's users know.
        settings: loader settings.
        stop: asked between batches.
    """

    def __init__(
        self, name: str, dataset: Dataset[Any], folder: Path, settings: LoaderSettings, stop: StopRequest | None = None
    ) -> None:
        self.name = name
        self.dataset = dataset
        self.folder = folder
        self.settings = settings
        self.stop = stop
        self.path = folder / f"{name}.jsonl"
        samples: Sequence[VideoSample] = dataset.samples  # type: ignore[attr-defined]
        self.samples = {sample.id: sample for sample in reversed(samples)}
        first = {sample.id: index for index, sample in reversed(list(enumerate(samples)))}
        self.indices = dict(sorted(first.items(), key=lambda row: row[1]))
        if len(self.indices) < len(samples):
            logger.warning("%s: %d samples repeat an id and are answered once", name, len(samples) - len(self.indices))

    def run(self, engine: Engine, task: Task, fingerprint: str) -> dict[str, float]:
        """Answers what has no answer yet, writes the predictions in the order of the data, and scores them.

        Args:
            engine: holds the prepared model.
            task: predicts and scores.
            fingerprint: of weights, configuration and precision.

        Returns:
            the metrics, and ``skipped``, the samples without a prediction, those included whose row of the annotations
            or files were faulty and might be left out.
        """
        known = distributed.broadcast_object(self._earlier(fingerprint) if distributed.is_main() else None)
        todo = [index for identity, index in self.indices.items() if identity not in known]
        if self.settings.max_batches is not None:
            todo = todo[: self.settings.max_batches * self.settings.batch_size * distributed.world_size()]
        if known:
            logger.info("%s: %d of %d predictions are there already", self.name, len(known), len(self.indices))
        for rows in distributed.gather_objects(self._predict(engine, task, todo)):
            known.update({prediction.id: prediction for prediction in rows})
        ordered = [known[identity] for identity in self.indices if identity in known]
        metrics: dict[str, float] = {}
        if distributed.is_main():
            samples = [self.samples[prediction.id] for prediction in ordered]
            self._finish(ordered, task.result_rows(samples, ordered))
            metrics = dict(task.evaluate(samples, ordered))
            metrics["skipped"] = len(self.indices) - len(ordered) + getattr(self.dataset, "left_out", 0)
        result: dict[str, float] = distributed.broadcast_object(metrics)
        return result

    def _predict(self, engine: Engine, task: Task, todo: Sequence[int]) -> list[Prediction]:
        settings = self.settings
        loader = eval_loader(
            self.dataset,
            todo,
            batch_size=settings.batch_size,
            num_workers=settings.num_workers,
            seed=settings.seed,
            start_method=settings.start_method,
        )
        answers: list[Prediction] = []
        part = self._part()
        with engine.evaluating() as model:
            asked: Any = model  # a VideoLLM, which the engine need not know
            for batch in Progress(loader, self.name, every=30.0):
                if self.stop is not None:
                    self.stop.check()
                if batch is None:
                    continue
                with memory_advice(batch, training=False):
                    new = task.predict(asked, batch.to(engine.device))
                append_jsonl(part, [prediction.to_json() for prediction in new])
                answers += new
        return answers

    def _part(self) -> Path:
        """Where this process appends; a file of its own if there are several."""
        if distributed.world_size() == 1:
            return self.path
        return self.folder / f".{self.name}.process{distributed.rank()}.jsonl"

    def _earlier(self, fingerprint: str) -> dict[str, Prediction]:
        """Predictions of an interrupted evaluation of the same thing; those of another, or of samples that are another
        now, are removed.
        """
        mark = self.folder / f".{self.name}.fingerprint.json"
        files = [p for p in (self.path, *sorted(self.folder.glob(f".{self.name}.process*.jsonl"))) if p.is_file()]
        before = read_json(mark) if mark.is_file() else {}
        asked = before.get("samples", {}) if before.get("fingerprint") == fingerprint else {}
        samples = {identity: digest(repr(sample))[:16] for identity, sample in self.samples.items()}
        rows = [row for file in files if asked for row in _written(file)]
        known = {row.id: row for row in rows if row.id in samples and asked.get(row.id) == samples[row.id]}
        if files and asked != samples:
            logger.debug("%s: predictions of other weights, settings or samples are replaced", self.name)
            # Before the new fingerprint: an interruption in between must not make old answers pass for new ones.
            write_jsonl(self.path, [prediction.to_json() for prediction in known.values()])
            for file in files:
                if file != self.path:
                    file.unlink()
        write_json(mark, {"fingerprint": fingerprint, "samples": samples}, indent=None)
        return known

    def _finish(self, ordered: Sequence[Prediction], rows: Sequence[Mapping[str, Any]]) -> None:
        write_json(self.path.with_suffix(".json"), list(rows), indent=None)
        write_jsonl(self.path, [prediction.to_json() for prediction in ordered])
        for file in self.folder.glob(f".{self.name}.process*.jsonl"):
            file.unlink()


def _written(file: Path) -> list[Prediction]:
    """Predictions in a file that an earlier run wrote; a last line that it was writing when it ended is left out."""
    try:
        return [Prediction.from_json(row) for row in read_jsonl(file, drop_torn=True)]
    except (ValueError, AttributeError) as error:
        problem = str(error) if str(file) in str(error) else f"{file}: {error}"
        raise ValueError(f"{problem}. Mend the file, or remove it to have its samples answered again") from error


def answering(config: Mapping[str, Any], dataset: str) -> dict[str, Any]:
    """The configuration as far as the answer to a given sample of a data set depends on it."""
    model = {key: value for key, value in config.get("model", {}).items() if key not in ("weights", "trainable")}
    task = config.get("task")
    if isinstance(task, Mapping):
        task = {key: value for key, value in task.items() if key not in SCORING}
    node = (config.get("datasets") or {}).get(dataset, {})
    return {"model": model, "dataset": _dataset_answering(node), "task": task}


def _dataset_answering(node: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in node.items() if key not in SELECTING}
    if "parts" in kept:
        kept["parts"] = {name: _dataset_answering(part) for name, part in kept["parts"].items()}
    return kept


def digest(content: Any) -> str:
    """SHA-256 of JSON-ready content, keys in any order."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def weights_digest(model: nn.Module) -> str:
    """A fingerprint of all weights: sum and norm of each tensor, which is fast on any device.

    Every process must ask; sharded weights are summed where they are.
    """
    rows = []
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            part = distributed.local_part(tensor)
            values = part if part.is_floating_point() else part.float()
            norm = torch.linalg.vector_norm(values, dtype=torch.promote_types(values.dtype, torch.float32))
            rows.append(
                (name, tuple(tensor.shape), str(tensor.dtype), float(values.sum(dtype=norm.dtype)), float(norm))
            )
    return digest(distributed.gather_objects(rows)[: None if _sharded(model) else 1])


def _sharded(model: nn.Module) -> bool:
    return any(hasattr(parameter, "to_local") for parameter in model.parameters())


def write_metrics(path: Path, figures: Mapping[str, Mapping[str, float]]) -> None:
    """Adds figures of splits to a ``metrics.json``, keeping those of other splits."""
    if not distributed.is_main():
        return
    try:
        known = read_json(path) if path.is_file() else {}
    except FileFormatError as error:
        raise ValueError(f"{error}. Mend or remove the file and evaluate again: the predictions are kept") from error
    write_json(path, {**known, **{name: dict(values) for name, values in figures.items()}})
