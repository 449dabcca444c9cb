"""``extract_features``: what frozen networks say about videos, put where a run will look for it.

Entries are made by the model's own parts through its own cache, so that names and numbers are those of a run; one that
follows computes nothing that is frozen. Videos are decoded by a thread while the network looks at the one before.

Source: the feature extraction scripts of the field, that write arrays by video name; here weights, views, code and
content of the video are part of the name (``docs/caching.md``), so that features never go with another model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lavis.common.provenance import code_version, digest, modules_of
from lavis.models.compressors.base import QFormerCompressor
from lavis.models.video_llm import VideoLLM
from lavis.preparation.collection.items import Item, Shard
from lavis.preparation.collection.run import DEFAULT_BUDGET, run_collection
from lavis.preparation.collection.summary import PROJECTED_HOURS, Summary
from lavis.structures import Frames, VideoSample

AHEAD = 2
"""Videos that are decoded before they are asked for."""

Computing = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True, slots=True)
class Extracted:
    """What came of it.

    Args:
        summary: of the job: outcomes, speed.
        entries: name of each entry in the store with what it is of: ``video``, ``frames`` (their key), ``bytes``.
    """

    summary: Summary
    entries: dict[str, dict[str, Any]]

    @property
    def size(self) -> int:
        """Bytes of the entries on disk."""
        return sum(row["bytes"] for row in self.entries.values())

    def to_text(self) -> str:
        """The same for reading, with what a large collection would take."""
        hours = sum(float((each.result or {}).get("duration_s", 0)) for each in self.summary.done) / 3600
        text = f"{self.summary.to_text()}\n  {len(self.entries)} entries, {self.size / 1e9:.3g} GB"
        if hours:
            text += f", {self.size / 1e6 / hours:,.3g} MB an hour of video: {PROJECTED_HOURS:,} h would take "
            text += f"{self.size / hours * PROJECTED_HOURS / 1e12:,.3g} TB"
        return text


def extract_features(
    model: VideoLLM,
    samples: Sequence[VideoSample],
    *,
    train: bool = False,
    name: str = "features",
    computing: Computing = nullcontext,
    shard: str | None = None,
    resume: bool = True,
    retry: bool = False,
    budget: float = DEFAULT_BUDGET,
) -> Extracted:
    """Computes and keeps the features of all videos of samples in the folder of the model's cache.

    Args:
        model: on its device, with a processor and a ``cache.folder``.
        samples: whose ``video`` is a path; each video, and each clip of one, is encoded once.
        train: as training asks for them (its transform, all its crops, autocast of training), or evaluation.
        name: of the job's journal, in the folder of the features.
        computing: the context in which a run computes, such as its autocast.
        shard: ``I/N``: only this part of the videos, for several processes or machines.
        resume, retry, budget: see ``run_collection``.

    Raises:
        ValueError: if frames or networks are such that nothing can be kept (names the setting to change), or the folder
            has not room for all of it.
        TooManyFailures: if more videos than the budget cannot be read.
    """
    clips = _clips(samples)
    items = [Item(video, Path(video)) for video in clips]
    if model.processor is None or model.cache.store.disk is None:
        raise ValueError("features are extracted with a model that has a processor and model.cache.folder; set both")
    before = model.training
    model.train(train)
    try:
        with torch.set_grad_enabled(train), computing(), ThreadPoolExecutor(1) as pool:
            model.announce()
            work = _Extraction(model, clips, train, pool, Shard.of(shard).share(items))
            work.check_room()
            summary = run_collection(
                items, work, model.cache.store.disk.folder, name=f"{name}-{'train' if train else 'eval'}",
                options={"made_with": work.made_with}, is_done=work.is_done, executor="serial",
                shard=shard, resume=resume, retry=retry, budget=budget,
            )  # fmt: skip
    finally:
        model.train(before)
    return Extracted(summary, work.entries(summary))


def _clips(samples: Sequence[VideoSample]) -> dict[str, list[VideoSample]]:
    """A sample for each clip of each video."""
    found: dict[str, dict[Any, VideoSample]] = {}
    for sample in samples:
        if sample.video:
            found.setdefault(sample.video, {}).setdefault(None if sample.clip is None else _ends(sample), sample)
    if not found:
        raise ValueError("there are no videos to extract features of")
    return {video: list(clips.values()) for video, clips in found.items()}


def _ends(sample: VideoSample) -> tuple[float, float]:
    return sample.window.start, sample.window.end


class _Extraction:
    """The work for one video."""

    def __init__(
        self,
        model: VideoLLM,
        clips: Mapping[str, Sequence[VideoSample]],
        train: bool,
        pool: ThreadPoolExecutor,
        items: Sequence[Item],
    ) -> None:
        assert model.processor is not None and model.cache.store.disk is not None
        self.model, self.clips, self.train, self.pool = model, clips, train, pool
        self.processor, self.disk, self.index = model.processor, model.cache.store.disk, model.cache.store.index
        self.view = model.encoder.view
        reason = self.processor.unrepeatable(self.view, train)
        if reason is not None:
            raise ValueError(f"features cannot be kept: {reason}")
        self._order = [item.name for item in items]
        self._place = {name: place for place, name in enumerate(self._order)}
        self._ahead: dict[str, Future[list[Frames]]] = {}

    @property
    def made_with(self) -> str:
        """Stands for how frames are made; the weights are asked for with each entry."""
        view = self.processor.views[self.view]
        sampler, transform = view.parts(self.train)
        parts = (view.reader, sampler, transform)
        settings = (view.size, view.times, view.round_times)
        return digest(parts, settings, code_version(modules_of((self.processor, view, *parts))))

    def __call__(self, item: Item, scratch: Path) -> dict[str, Any]:
        keys = []
        num_frames = 0
        for frames in self._frames(item.name):
            assert frames.key is not None
            if frames.deferred or self._find(frames.key) is None:
                self._keep(frames)
            if self._find(frames.key) is None:
                raise ValueError(f"nothing was kept of it: {self._why()}")
            keys.append(frames.key)
            num_frames += len(frames)
        duration = max(sample.duration for sample in self.clips[item.name])
        return {"keys": keys, "frames": num_frames, "duration_s": float(duration), "clips": self._asked(item.name)}

    def is_done(self, item: Item, result: Mapping[str, Any]) -> bool:
        """Whether the features that a journal tells of are there, made by the weights of today, and all of them."""
        if result.get("clips") != self._asked(item.name):
            return False
        return all(self._find(key) is not None for key in result["keys"])

    def check_room(self) -> None:
        """That the folder can hold features of all videos, as far as the first one tells.

        Raises:
            ValueError: otherwise; names the setting, or why nothing is kept.
        """
        for name in self._order[:1]:
            try:
                result = self(Item(name, Path(name)), Path())
            except (ValueError, OSError) as error:
                reasons = self._why()
                if reasons in str(error):
                    raise
                return  # a video that cannot be read is counted with the others
            size = sum(self._size(key) for key in result["keys"])
            share = size / max(1, len(result["clips"])) * sum(map(len, self.clips.values()))
            if share > self.disk.max_bytes:
                raise ValueError(
                    f"features of {len(self.clips)} videos will take about {share / 1e9:.1f} GB and "
                    f"model.cache.disk_gb is {self.disk.max_bytes / 1e9:.1f}: the first would be gone before the last "
                    "is made. Raise it, here and in the runs"
                )

    def entries(self, summary: Summary) -> dict[str, dict[str, Any]]:
        """Entries of all videos that are done."""
        found: dict[str, dict[str, Any]] = {}
        for outcome in summary.done:
            for key in (outcome.result or {})["keys"]:
                name = self._find(key)
                if name is not None:
                    found[name] = {"video": outcome.item, "frames": key, "bytes": self._size(key)}
        return found

    def _frames(self, name: str) -> Iterator[Frames]:
        """Frames of all clips and crops of a video, while the next ones are read."""
        place = self._place[name]
        for other in [other for other in self._ahead if self._place[other] < place]:
            del self._ahead[other]  # what earlier runs did is not asked for
        for other in self._order[place : place + 1 + AHEAD]:
            if other not in self._ahead:
                self._ahead[other] = self.pool.submit(self._read, other)
        yield from self._ahead.pop(name).result()

    def _read(self, name: str) -> list[Frames]:
        return [
            frames for sample in self.clips[name] for frames in self.processor.variants(self.view, sample, self.train)
        ]

    def _keep(self, frames: Frames) -> None:
        (features,) = self.model.encoder.encode({self.view: [frames.to(self.model.language_model.device)]})
        if isinstance(self.model.compressor, QFormerCompressor):
            self.model.compressor.read_frames([features])
        else:
            features.compute(keep=True)

    def _find(self, key: str) -> str | None:
        return self.index.find(key, self.train)

    def _size(self, key: str) -> int:
        name = self._find(key)
        return 0 if name is None else self.disk.path(name).stat().st_size

    def _asked(self, name: str) -> list[Any]:
        return [None if sample.clip is None else list(_ends(sample)) for sample in self.clips[name]]

    def _why(self) -> str:
        return (
            "; ".join(self.model.cache.refusals) or "the encoder keeps none of it, or model.cache.disk_gb is too small"
        )
