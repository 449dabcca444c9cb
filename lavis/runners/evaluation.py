"""Evaluation of one split: predictions are appended as they come, unique by sample id, then scored.

An interrupted evaluation goes on where it stopped, if weights and configuration are the same (``answers.py``): only
samples that are new or were changed, they or their subtitles, are asked again. Every process answers its share once,
where the originals answer padded copies as well. A batch that does not fit into memory is halved until it does.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.data import Dataset

from lavis.common import distributed, liveness
from lavis.common.io import FileFormatError, read_json, write_json
from lavis.common.logging import Progress, format_seconds, get_logger
from lavis.runners.answers import AnswerFiles
from lavis.runners.answers import digest as digest
from lavis.runners.eval_data import LoaderSettings as LoaderSettings
from lavis.runners.eval_data import batches_of, out_of_memory, plan_units, share_of
from lavis.runners.failures import StopRequest, memory_advice
from lavis.structures import Batch, Prediction, VideoSample

if TYPE_CHECKING:
    from lavis.runners.engine import Engine
    from lavis.tasks.base import Task

SELECTING = (
    "annotations", "prior", "videos", "video_suffix", "check_files", "on_decode_error", "on_missing_video",
    "on_missing_subtitles", "fix", "keyword", "no_keyword", "random", "subset", "weights", "sizes", "length", "fold",
)  # fmt: skip
"""Settings of a data set that decide which samples there are, not how one is answered: samples speak for themselves."""
INCIDENTAL = ("weights", "trainable", "cache")
"""Settings of a model that its weights tell of, or that change no result."""
SCORING = ("metrics", "group_by_kind")

logger = get_logger(__name__)


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
        self.files = AnswerFiles(folder, name)
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
            the metrics; ``skipped``, the samples without a prediction, those included whose row of the annotations
            or files were faulty and might be left out; and of these, where the data set keeps a list of them,
            ``unreadable_samples``, whose videos cannot be decoded, with the number of these ``unreadable_videos``.
        """
        known: dict[str, Prediction] = distributed.broadcast_object(
            self.files.known(fingerprint, self._fingerprints()) if distributed.is_main() else None
        )
        if known:
            logger.info("%s: %d of %d predictions are there already", self.name, len(known), len(self.indices))
        for rows in distributed.gather_objects(self._predict(engine, task, known)):
            known.update({prediction.id: prediction for prediction in rows})
        if self.stop is not None:
            self.stop.agree()
        ordered = [known[identity] for identity in self.indices if identity in known]
        metrics: dict[str, float] = {}
        if distributed.is_main():
            samples = [self.samples[prediction.id] for prediction in ordered]
            self.files.finish(ordered, task.result_rows(samples, ordered))
            metrics = dict(task.evaluate(samples, ordered))
            metrics["skipped"] = len(self.indices) - len(ordered) + getattr(self.dataset, "left_out", 0)
            found = getattr(self.dataset, "quarantined", None)
            if found is not None:
                metrics["unreadable_videos"] = found.videos
                metrics["unreadable_samples"] = found.samples
        result: dict[str, float] = distributed.broadcast_object(metrics)
        return result

    def _predict(self, engine: Engine, task: Task, known: Mapping[str, Prediction]) -> list[Prediction]:
        """Answers to this process's share of what is not ``known``."""
        units = self._units(known)
        total = sum(map(len, units))
        answers: list[Prediction] = []
        start = time.monotonic()
        with engine.evaluating() as model:
            asked: Any = model  # a VideoLLM, which the engine need not know
            batches = batches_of(self.dataset, units, self.settings, getattr(asked, "count_tokens", None))
            noted = liveness.each(batches, lambda n: f"{self.name}, batch {n + 1}", f"what follows {self.name}")
            for batch in Progress(noted, self.name, total=total, every=30.0, weight=len, unit="queries"):
                if self.stop is not None and self.stop.number is not None:
                    break  # all leave together, below: one that has answered its share waits for the others' answers
                for part, new in _answered(task, asked, batch.to(engine.device)):
                    assert [p.id for p in new] == [s.id for s in part.samples], "a task answers in order"
                    self.files.add(new)
                    answers += new
        seconds = time.monotonic() - start
        if answers:
            rate = len(answers) / max(seconds, 1e-9)
            logger.info("%s: %d queries in %s, %.3g a second", self.name, total, format_seconds(seconds), rate)
        return answers

    def _units(self, known: Mapping[str, Prediction]) -> list[list[int]]:
        """What this process has still to ask, as it would come if nothing were ``known``."""
        samples: Sequence[VideoSample] = self.dataset.samples  # type: ignore[attr-defined]
        units = share_of(plan_units(samples, self.indices.values()), distributed.rank(), distributed.world_size())
        todo = [index for identity, index in self.indices.items() if identity not in known]
        settings = self.settings
        if settings.max_batches is not None:
            todo = todo[: settings.max_batches * (settings.batch_size or 1) * distributed.world_size()]
        wanted = set(todo)
        left = [[index for index in unit if index in wanted] for unit in units]
        return [unit for unit in left if unit]

    def _fingerprints(self) -> dict[str, str]:
        """Of each sample with the files it is made from, other than the video."""
        contents: dict[Path, str] = {}
        side_files = getattr(self.dataset, "side_files", None)
        found = {}
        for identity, index in self.indices.items():
            files: list[Path] = side_files(index) if side_files is not None else []
            for file in files:
                if file not in contents:
                    contents[file] = hashlib.sha256(file.read_bytes()).hexdigest()
            found[identity] = digest([repr(self.samples[identity]), [contents[file] for file in files]])[:16]
        return found


def _answered(task: Task, model: Any, batch: Batch) -> Iterator[tuple[Batch, list[Prediction]]]:
    """A batch with its predictions; in two or more parts where memory runs out.

    Raises:
        RunError: if it does not suffice for one sample.
    """
    try:
        with memory_advice(batch, training=False) if len(batch) == 1 else nullcontext():
            new = task.predict(model, batch)
    except (torch.cuda.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if len(batch) == 1 or not out_of_memory(error):
            raise
        new = None
    if new is not None:
        yield batch, new
        return
    # Outside of the handler, which keeps alive what the failed attempt holds.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    half = len(batch) // 2
    logger.warning(
        "out of memory with %d samples at once (%s...): asking them as %d and %d; lower run.eval_batch_size or "
        "run.eval_batch_tokens to save the attempt", len(batch), batch.samples[0].id, half, len(batch) - half,
    )  # fmt: skip
    for part in (slice(None, half), slice(half, None)):
        views = {name: frames[part] for name, frames in batch.views.items()}
        yield from _answered(task, model, Batch(batch.samples[part], views))


def answering(config: Mapping[str, Any], dataset: str) -> dict[str, Any]:
    """The configuration as far as the answer to a given sample of a data set depends on it."""
    model = {key: value for key, value in config.get("model", {}).items() if key not in INCIDENTAL}
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
