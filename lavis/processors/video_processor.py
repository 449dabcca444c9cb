"""From a sample to the frames a model sees: sampler, reader and transform of each view.

Source: the video processors of CALCE and LAVIS, which do all of this in one class per model. Here a view is made of
parts, frame times are those of the file unless asked otherwise, and whether frames are augmented is said by the caller
and not by the name of a split. Chance depends on the sample alone in evaluation; in training it comes from torch's
global generator, which the loader seeds anew for each sample from run, epoch and index.
"""

from __future__ import annotations

import hashlib
import random
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor

from lavis.common.construct import build_part
from lavis.common.registry import registry
from lavis.common.yaml_tree import ConfigError
from lavis.processors.readers.base import Size, VideoDecodeError, VideoInfo, VideoReader
from lavis.processors.samplers import Sampler
from lavis.processors.transforms import Transform
from lavis.structures import Frames, VideoSample, Views

Times = Literal["presentation", "average_rate"]

WHERE = "model.processor"


class Phases:
    """The transform of training and that of evaluation."""

    def __init__(self, train: Transform, eval: Transform) -> None:
        self.train = train
        self.eval = eval


class View:
    """One way to look at a video.

    Args:
        sampler: chooses frames.
        transform: what is done to them, in training and otherwise.
        reader: reads pixels; ``None`` is ``pyav``.
        train_sampler: chooses frames in training, where that is done differently; ``None`` is ``sampler``.
        size: what the reader resizes to: ``None`` is the transform's ``image_size`` squared, as CALCE's decoder does
            it without keeping the aspect ratio; ``source`` does not resize; otherwise height and width.
        times: ``presentation`` are the times the file gives; ``average_rate`` is frame number over average rate as a
            32-bit float, as CALCE and MR.BLIP compute it.
        round_times: decimals that times are rounded to; ``None`` does not round.
    """

    def __init__(
        self,
        sampler: Sampler,
        transform: Phases,
        reader: VideoReader | None = None,
        train_sampler: Sampler | None = None,
        size: int | tuple[int, int] | Literal["source"] | None = None,
        times: Times = "presentation",
        round_times: int | None = None,
    ) -> None:
        if times not in ("presentation", "average_rate"):
            raise ValueError(f"times must be presentation or average_rate, got {times!r}")
        if round_times is not None and (isinstance(round_times, bool) or round_times < 0):
            raise ValueError(f"round_times must be a number of decimals or null, got {round_times!r}")
        self.reader: VideoReader = registry.readers.get("pyav")() if reader is None else reader
        self.sampler = sampler
        self.train_sampler = sampler if train_sampler is None else train_sampler
        self.transform = transform
        self.size = _checked_size(size)
        self.times = times
        self.round_times = round_times

    def parts(self, train: bool) -> tuple[Sampler, Transform]:
        """Sampler and transform to use."""
        return (self.train_sampler, self.transform.train) if train else (self.sampler, self.transform.eval)

    def reading_size(self, transform: Transform) -> Size | None:
        """Height and width the reader resizes to; ``None`` for none."""
        if self.size == "source":
            return None
        return self.size or (transform.image_size, transform.image_size)

    def frame_times(self, shown: Sequence[float], info: VideoInfo) -> list[float]:
        """The times a model is told of frames that are shown at ``shown`` seconds."""
        if self.times == "average_rate":
            return average_rate_times([info.index_at(t) for t in shown], info.fps, self.round_times)
        return [t if self.round_times is None else round(t, self.round_times) for t in shown]


class VideoProcessor:
    """Adds frames to samples.

    Args:
        views: view name to view, at least one.
        seed: of what is drawn by chance in evaluation.
        cache_mb: memory for decoded frames, in MiB, in each process that decodes; least recently used go first. Small
            data sets are decoded once, not once an epoch; what comes out is the same. 0 keeps nothing.
    """

    def __init__(self, views: Mapping[str, View], seed: int = 0, cache_mb: int = 0) -> None:
        if not views:
            raise ValueError(f"{WHERE}.views is empty; most models need one view called frames")
        if cache_mb < 0:
            raise ValueError(f"{WHERE}.cache_mb must be at least 0 MiB, got {cache_mb}")
        self.views = dict(views)
        self.seed = seed
        self._decoded = _DecodedFrames(cache_mb * 2**20)

    def __call__(self, sample: VideoSample, train: bool) -> Views:
        """The frames of every view of a sample.

        Args:
            sample: whose ``video`` is read, within its ``clip``.
            train: whether to augment.

        Raises:
            VideoDecodeError: if the video cannot be read or has no frame in the clip; names path and sample.
        """
        probed: dict[VideoReader, VideoInfo] = {}
        try:
            return {name: self._frames(name, view, sample, train, probed) for name, view in self.views.items()}
        except VideoDecodeError as error:
            raise error.of_sample(sample.id) from error

    def duration(self, path: str | Path) -> float:
        """Seconds from the start of the first frame of a video to the end of the last.

        Raises:
            VideoDecodeError: if it cannot be read.
        """
        return next(iter(self.views.values())).reader.probe(path).duration_s

    def _frames(
        self, name: str, view: View, sample: VideoSample, train: bool, probed: dict[VideoReader, VideoInfo]
    ) -> Frames:
        sampler, transform = view.parts(train)
        if view.reader not in probed:
            probed[view.reader] = self._decoded.info(view.reader, sample.video)
        info = probed[view.reader]
        chance = self._chance(name, sample, train)
        try:
            indices = sampler.indices(info, sample.clip, random.Random(chance))
        except ValueError as error:
            raise VideoDecodeError(sample.video, str(error)) from error
        size = view.reading_size(transform)
        pixels, shown = self._decoded.frames(view.reader, sample.video, indices, size, info)
        pixels = transform(pixels, torch.Generator().manual_seed(chance))
        key = self._key(name, view, sample, train) if sampler.repeatable and transform.repeatable else None
        return Frames(pixels, view.frame_times(shown, info), key)

    def _chance(self, view: str, sample: VideoSample, train: bool) -> int:
        """A seed below 2**62."""
        if train:
            return int(torch.randint(2**62, ()))
        return int(hashlib.blake2b(f"{self.seed}:{sample.id}:{view}".encode(), digest_size=8).hexdigest(), 16) >> 2

    def _key(self, name: str, view: View, sample: VideoSample, train: bool) -> str:
        sampler, transform = view.parts(train)
        clip = sample.clip.to_list() if sample.clip is not None else None
        file = view.reader.fingerprint(sample.video)
        what = (file, name, clip, view.reader, sampler, transform, view.size, view.times, view.round_times)
        return hashlib.blake2b(repr(what).encode(), digest_size=16).hexdigest()


class _DecodedFrames:
    """Reads through a memory of what was read before: a video's index, and frames by file, numbers and size."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.size = 0
        self._infos: dict[Any, VideoInfo] = {}
        self._frames: OrderedDict[Any, tuple[Tensor, list[float]]] = OrderedDict()

    def info(self, reader: VideoReader, path: str) -> VideoInfo:
        """What ``reader.probe`` says."""
        if not self.max_bytes:
            return reader.probe(path)
        key = (repr(reader), reader.fingerprint(path))
        if key not in self._infos:
            self._infos[key] = reader.probe(path)
        return self._infos[key]

    def frames(
        self, reader: VideoReader, path: str, indices: Sequence[int], size: Size | None, info: VideoInfo
    ) -> tuple[Tensor, list[float]]:
        """What ``reader.read`` gives."""
        if not self.max_bytes:
            return reader.read(path, indices, size=size, info=info)
        key = (repr(reader), reader.fingerprint(path), tuple(indices), size)
        if key in self._frames:
            self._frames.move_to_end(key)
            return self._frames[key]
        entry = reader.read(path, indices, size=size, info=info)
        if entry[0].nbytes <= self.max_bytes:
            self._frames[key] = entry
            self.size += entry[0].nbytes
            while self.size > self.max_bytes:
                _, (dropped, _) = self._frames.popitem(last=False)
                self.size -= dropped.nbytes
        return entry


def average_rate_times(indices: Sequence[int], fps: float, decimals: int | None = None) -> list[float]:
    """Frame number over average rate, rounded if asked, then through a 32-bit float: 2.3 becomes 2.299999952316284."""
    times = [index / fps for index in indices]
    if decimals is not None:
        times = [round(time, decimals) for time in times]
    return cast("list[float]", torch.tensor(times, dtype=torch.float32).tolist())


def build_processor(node: Mapping[str, Any], where: str = WHERE) -> VideoProcessor:
    """The processor that a ``model.processor`` node describes.

    Args:
        node: ``{views: {<view>: {reader, sampler, transform: {train, eval}, ...}}, seed, cache_mb}``. Readers,
            samplers and transforms are ``{name: ..., <its fields>}``, the rest are the arguments of ``View``.
        where: dotted key of the node, for messages.

    Raises:
        ConfigError: for an unknown key, name or field, or a missing one; names the key.
    """
    _check_keys(node, {"views", "seed", "cache_mb"}, {"views"}, where)
    views = node["views"]
    if not isinstance(views, Mapping) or not views:
        raise ConfigError(f"{where}.views must map view names to views, got {views!r}")
    built = {str(name): _build_view(view, f"{where}.views.{name}") for name, view in views.items()}
    return VideoProcessor(built, int(node.get("seed", 0)), int(node.get("cache_mb", 0)))


_SETTINGS = ("size", "times", "round_times")


def _build_view(node: Any, where: str) -> View:
    _check_keys(node, {"reader", "sampler", "train_sampler", "transform", *_SETTINGS}, {"sampler", "transform"}, where)
    phases = node["transform"]
    _check_keys(phases, {"train", "eval"}, {"train", "eval"}, f"{where}.transform")
    transforms = {
        phase: build_part(registry.transforms, phases[phase], f"{where}.transform.{phase}") for phase in phases
    }
    kinds = {"reader": registry.readers, "sampler": registry.samplers, "train_sampler": registry.samplers}
    parts = {
        key: build_part(kind, node[key], f"{where}.{key}") for key, kind in kinds.items() if node.get(key) is not None
    }
    settings = {key: node[key] for key in _SETTINGS if key in node}
    try:
        return View(transform=Phases(**transforms), **parts, **settings)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def _check_keys(node: Any, allowed: set[str], needed: set[str], where: str) -> None:
    if not isinstance(node, Mapping):
        raise ConfigError(f"{where} must be a mapping with the keys {', '.join(sorted(allowed))}, got {node!r}")
    unknown, missing = sorted(set(node) - allowed), sorted(needed - set(node))
    if unknown or missing:
        problem = f"has unknown keys: {', '.join(map(str, unknown))}" if unknown else f"needs {', '.join(missing)}"
        raise ConfigError(f"{where} {problem}. Known: {', '.join(sorted(allowed))}.")


def _checked_size(size: Any) -> Size | Literal["source"] | None:
    if size is None or size == "source":
        return cast("Literal['source'] | None", size)
    pair = (size, size) if isinstance(size, int) else tuple(size) if isinstance(size, Sequence) else ()
    if len(pair) != 2 or not all(isinstance(side, int) and side > 0 for side in pair):
        raise ValueError(f"size must be null, source, one number or [height, width], got {size!r}")
    return (int(pair[0]), int(pair[1]))
