"""``extract_features``: what frozen networks say about videos, put where a run will look for it.

Entries are made by the model's own parts through its own cache, so that names and numbers are those of a run; one that
follows computes nothing that is frozen. Videos are decoded by threads while the network looks at the one before. Media
may be files, pictures, or members of shards. ``features_workers.py`` does the same in processes of their own.

Source: the feature extraction scripts of the field, that write arrays by video name; here weights, views, code and
content of the video are part of the name (``docs/caching.md``), so that features never go with another model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lavis.common.feature_folder import FeatureFolder
from lavis.common.provenance import code_version, digest, modules_of
from lavis.datasets._unpacked import MediaFiles, shard_of
from lavis.models.compressors.base import QFormerCompressor
from lavis.models.video_llm import VideoLLM
from lavis.preparation.collection.items import Item, Shard
from lavis.preparation.collection.outcome import UnwritableError
from lavis.preparation.collection.run import DEFAULT_BUDGET, run_collection
from lavis.preparation.collection.summary import PROJECTED_HOURS, Summary
from lavis.structures import Frames, VideoSample

AHEAD = 2
"""Videos that are decoded before they are asked for, or one for each thread that decodes if these are more."""

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
    decoders: int = 1,
    shard: str | None = None,
    resume: bool = True,
    retry: bool = False,
    budget: float = DEFAULT_BUDGET,
) -> Extracted:
    """Computes and keeps the features of all videos of samples in the folder of the model's cache.

    Args:
        model: on its device, with a processor and a ``cache.folder``.
        samples: whose ``video`` is a path, or names a member of a shard as the data set ``shards`` does; each video,
            and each clip of one, is encoded once. Text alone has nothing to encode.
        train: as training asks for them (its transform, all its crops, autocast of training), or evaluation.
        name: of the job's journal, in the folder of the features.
        computing: the context in which a run computes, such as its autocast.
        decoders: threads that decode, at least 1.
        shard: ``I/N``: only this part of the videos, for several processes or machines.
        resume, retry, budget: see ``run_collection``.

    Raises:
        ValueError: if frames or networks are such that nothing can be kept (names the setting to change), or the folder
            has not room for all of it.
        TooManyFailures: if more videos than the budget cannot be read.
    """
    if decoders < 1:
        raise ValueError(f"at least 1 thread decodes, got {decoders}")
    clips = clips_of(samples)
    items = items_of(clips)
    if model.processor is None or model.cache.store.disk is None:
        raise ValueError("features are extracted with a model that has a processor and model.cache.folder; set both")
    before = model.training
    model.train(train)
    try:
        with torch.set_grad_enabled(train), computing(), ThreadPoolExecutor(decoders) as pool:
            model.announce()
            work = Extraction(model, clips, train, pool, max(AHEAD, decoders), Shard.of(shard).share(items))
            work.check_room()
            summary = run_collection(
                items, work, model.cache.store.disk.folder, name=f"{name}-{'train' if train else 'eval'}",
                options={"made_with": work.made_with}, is_done=work.is_done, executor="serial",
                shard=shard, resume=resume, retry=retry, budget=budget,
            )  # fmt: skip
    finally:
        model.train(before)
    return Extracted(summary, entries_of(summary, model.cache.store.disk))


def entries_of(summary: Summary, store: FeatureFolder) -> dict[str, dict[str, Any]]:
    """Entries of all videos that are done, see ``Extracted``."""
    found: dict[str, dict[str, Any]] = {}
    for outcome in summary.done:
        result = outcome.result or {}
        for key, name in zip(result["keys"], result["entries"], strict=True):
            if store.holds(name):
                found[name] = {"video": outcome.item, "frames": key, "bytes": store.path(name).stat().st_size}
    return found


def items_of(clips: Mapping[str, Sequence[VideoSample]]) -> list[Item]:
    """An item for each video; one in a shard is done again when the shard changes."""
    return [Item(video, shard_of(video) or Path(video)) for video in clips]


def clips_of(samples: Sequence[VideoSample]) -> dict[str, list[VideoSample]]:
    """A sample for each clip of each video.

    Raises:
        ValueError: if there are no videos.
    """
    found: dict[str, dict[Any, VideoSample]] = {}
    for sample in samples:
        if sample.video:
            found.setdefault(sample.video, {}).setdefault(None if sample.clip is None else _ends(sample), sample)
    if not found:
        raise ValueError("there are no videos to extract features of")
    return {video: list(clips.values()) for video, clips in found.items()}


def asked_of(samples: Sequence[VideoSample]) -> list[Any]:
    """Start and end of each clip, ``None`` for whole videos, as a journal holds them."""
    return [None if sample.clip is None else list(_ends(sample)) for sample in samples]


def _ends(sample: VideoSample) -> tuple[float, float]:
    return sample.window.start, sample.window.end


class Extraction:
    """The work for one video, with a model.

    Args:
        model: in the mode and the context it computes in.
        clips: a sample for each clip of each video.
        train: see ``extract_features``.
        pool: threads that decode ahead; ``None`` decodes when it is asked.
        ahead: videos that are decoded ahead.
        items: in the order in which they are asked for.

    Raises:
        ValueError: if frames are such that nothing can be kept.
    """

    def __init__(
        self,
        model: VideoLLM,
        clips: Mapping[str, Sequence[VideoSample]],
        train: bool,
        pool: ThreadPoolExecutor | None = None,
        ahead: int = 0,
        items: Sequence[Item] = (),
    ) -> None:
        assert model.processor is not None and model.cache.store.disk is not None
        self.model, self.clips, self.train, self.pool, self.ahead = model, clips, train, pool, ahead
        self.processor, self.disk, self.index = model.processor, model.cache.store.disk, model.cache.store.index
        self.view = model.encoder.view
        reason = self.processor.unrepeatable(self.view, train)
        if reason is not None:
            raise ValueError(f"features cannot be kept: {reason}")
        self._order = [item.name for item in items]
        self._place = {name: place for place, name in enumerate(self._order)}
        self._decoding: dict[str, Future[list[Frames]]] = {}
        self._files = MediaFiles()

    @property
    def made_with(self) -> str:
        """Stands for how frames are made; the weights are asked for with each entry."""
        view = self.processor.views[self.view]
        sampler, transform = view.parts(self.train)
        parts = (view.reader, view.image_reader, sampler, transform)
        settings = (view.size, view.times, view.times_from, view.round_times)
        return digest(parts, settings, code_version(modules_of((self.processor, view, *parts))))

    def __call__(self, item: Item, scratch: Path) -> dict[str, Any]:
        keys, entries = [], []
        num_frames = 0
        for frames in self._frames(item.name):
            assert frames.key is not None
            if frames.deferred or self._find(frames.key) is None:
                self._keep(frames)
            entry = self._find(frames.key)
            if entry is None:
                self._check_open()
                raise ValueError(f"nothing was kept of it: {self._why()}")
            keys.append(frames.key)
            entries.append(entry)
            num_frames += len(frames)
        duration = max(sample.duration for sample in self.clips[item.name])
        asked = asked_of(self.clips[item.name])
        return {
            "keys": keys, "entries": entries, "frames": num_frames, "duration_s": float(duration), "clips": asked
        }  # fmt: skip

    def _check_open(self) -> None:
        """That the folder still takes entries: what a full disk loses is no fault of the video."""
        if self.disk.closed:
            folder = self.disk.folder
            raise UnwritableError(f"{folder} cannot be written to (see the warning above); make room, or mend it")

    def is_done(self, item: Item, result: Mapping[str, Any]) -> bool:
        """Whether the features that a journal tells of are there, made by the weights of today, and all of them."""
        if result.get("clips") != asked_of(self.clips[item.name]) or "entries" not in result:
            return False
        return [self._find(key) for key in result["keys"]] == list(result["entries"])

    def check_room(self, first: Sequence[str] | None = None) -> None:
        """That the folder can hold features of all videos, as far as the first one tells.

        Args:
            first: name of the first one, if there is one; ``None`` knows it.

        Raises:
            ValueError: otherwise; names the setting, or why nothing is kept.
        """
        for name in self._order[:1] if first is None else first:
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

    def _frames(self, name: str) -> Iterator[Frames]:
        """Frames of all clips and crops of a video, while the next ones are read."""
        if self.pool is None:
            yield from self._read(name)
            return
        place = self._place[name]
        for other in [other for other in self._decoding if self._place[other] < place]:
            del self._decoding[other]  # what earlier runs did is not asked for
        for other in self._order[place : place + 1 + self.ahead]:
            if other not in self._decoding:
                self._decoding[other] = self.pool.submit(self._read, other)
        yield from self._decoding.pop(name).result()

    def _read(self, name: str) -> list[Frames]:
        path = self._files.path(name)
        samples = [replace(sample, video=path) for sample in self.clips[name]]
        return [frames for sample in samples for frames in self.processor.variants(self.view, sample, self.train)]

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

    def _why(self) -> str:
        return (
            "; ".join(self.model.cache.refusals) or "the encoder keeps none of it, or model.cache.disk_gb is too small"
        )
