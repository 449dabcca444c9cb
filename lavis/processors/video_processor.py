"""From a sample to the frames a model sees: sampler, reader and transform of each view.

Source: the video processors of CALCE and LAVIS, which do all of this in one class per model. Here a view is made of
parts, frame times are those of the file unless asked otherwise, and whether frames are augmented is said by the caller
and not by the name of a split. Chance depends on the sample alone in evaluation; in training it comes from torch's
global generator, which the loader seeds anew for each sample from run, epoch and index.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from lavis.common.construct import build_part
from lavis.common.feature_index import FeatureIndex
from lavis.common.provenance import code_version, digest, modules_of
from lavis.common.registry import registry
from lavis.common.yaml_tree import ConfigError
from lavis.processors.readers.base import VideoDecodeError
from lavis.processors.readers.image import is_image
from lavis.processors.view import DecodedFrames, Phases, Recipe, View, media_of
from lavis.structures import Frames, VideoSample, Views

WHERE = "model.processor"

_TIMES_KNOWN = 2**14
"""Videos whose frame times are remembered, so that those of kept features need not be looked up again."""


class VideoProcessor:
    """Adds frames to samples.

    Where ``index`` says that what a model makes of frames is kept, their video is not decoded until somebody looks at
    the pixels after all. Frames that come again at once, in another query on the same video, are decoded once.

    A picture (``extra["media"]`` of the sample says ``image``, or the suffix of its path) is a video of one frame,
    whose time is 0; a sample of text alone (``video`` is empty) has no frames: ``Frames`` of length 0, pixels
    ``[0, 3, S, S]``, or with ``text_frames: 1`` of its view one of zeros, under no key.

    Args:
        views: view name to view, at least one.
        seed: of what is drawn by chance in evaluation.
        cache_mb: memory for decoded frames, in MiB, in each process that decodes; least recently used go first. Small
            data sets are decoded once, not once an epoch; what comes out is the same. 0 keeps nothing.
    """

    index: FeatureIndex | None = None
    """Which frames' features are kept; set by the model that uses them."""

    def __init__(self, views: Mapping[str, View], seed: int = 0, cache_mb: int = 0) -> None:
        if not views:
            raise ValueError(f"{WHERE}.views is empty; most models need one view called frames")
        if cache_mb < 0:
            raise ValueError(f"{WHERE}.cache_mb must be at least 0 MiB, got {cache_mb}")
        self.views = dict(views)
        self.seed = seed
        self._decoded = DecodedFrames(cache_mb * 2**20)
        self._last: dict[str, Frames] = {}
        self._times: OrderedDict[str, list[float]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": {}}

    def __call__(self, sample: VideoSample, train: bool) -> Views:
        """The frames of every view of a sample.

        Args:
            sample: whose ``video`` is read, within its ``clip``.
            train: whether to augment.

        Raises:
            VideoDecodeError: if the video cannot be read or has no frame in the clip; names path and sample.
        """
        try:
            return {name: self._frames(name, view, sample, train) for name, view in self.views.items()}
        except VideoDecodeError as error:
            raise error.of_sample(sample.id) from error

    def duration(self, path: str | Path) -> float:
        """Seconds from the start of the first frame of a video to the end of the last.

        Raises:
            VideoDecodeError: if it cannot be read.
        """
        view = next(iter(self.views.values()))
        return view.reader_of("image" if is_image(path) else "video").probe(path).duration_s

    def unrepeatable(self, view: str, train: bool) -> str | None:
        """Why frames of a view differ from one time to the next, and what to change; ``None`` if they do not."""
        sampler, transform = self.views[view].parts(train)
        where = f"{WHERE}.views.{view}"
        if not sampler.repeatable:
            key = "sampler" if sampler is self.views[view].sampler else "train_sampler"
            return f"{where}.{key} draws frames by chance ({sampler}); take head, uniform, middle or fps"
        if transform.outcomes is None:
            phase = "train" if train else "eval"
            return (
                f"{where}.transform.{phase} crops at random ({type(transform).__name__}); with crops: 4 it draws among "
                "four fixed crops of each video, clip_eval does not crop"
            )
        return None

    def variants(self, name: str, sample: VideoSample, train: bool) -> Iterator[Frames]:
        """Frames of a view in each of the ways that may be drawn: one, or with ``crops: V`` in training V of them.

        Args:
            name: of the view.
            sample: as in a call.
            train: as in a call.

        Raises:
            VideoDecodeError: as in a call.
            ValueError: if there are more ways than can be counted.
        """
        reason = self.unrepeatable(name, train)
        if reason is not None:
            raise ValueError(reason)
        view = self.views[name]
        if not sample.video:
            yield _no_frames(view, train)
            return
        for chance in range(view.parts(train)[1].outcomes or 1):
            try:
                yield self._drawn(name, view, sample, train, chance)
            except VideoDecodeError as error:
                raise error.of_sample(sample.id) from error

    def _frames(self, name: str, view: View, sample: VideoSample, train: bool) -> Frames:
        chance = self._chance(name, sample, train)
        return self._drawn(name, view, sample, train, chance) if sample.video else _no_frames(view, train)

    def _drawn(self, name: str, view: View, sample: VideoSample, train: bool, chance: int) -> Frames:
        recipe, key = self._recipe(view, sample, train, chance)
        if key is None:
            return Frames(*recipe.read(self._decoded))
        times = self._times_of_kept(key, recipe)
        if times is not None:
            return Frames(recipe, times, key)
        last = self._last.get(name)
        if last is not None and last.key == key:
            return last
        frames = self._last[name] = Frames(*recipe.read(self._decoded), key)
        self._note_times(key, frames.times)
        return frames

    def _times_of_kept(self, key: str, recipe: Recipe) -> list[float] | None:
        """Times of frames whose features are kept; ``None`` if they are not, or their times cannot be told."""
        entry = None if self.index is None else self.index.find(key, recipe.train)
        if self.index is None or entry is None:
            return None
        times = self._times.get(key) or self.index.times(entry) or recipe.times(self._decoded)
        if times is not None:
            self._note_times(key, times)
        return times

    def _note_times(self, key: str, times: list[float]) -> None:
        self._times[key] = times
        if len(self._times) > _TIMES_KNOWN:
            self._times.popitem(last=False)

    def _chance(self, view: str, sample: VideoSample, train: bool) -> int:
        """A seed below 2**62."""
        if train:
            return int(torch.randint(2**62, ()))
        return _seed(self.seed, sample.id, view)

    def _recipe(self, view: View, sample: VideoSample, train: bool, chance: int) -> tuple[Recipe, str | None]:
        """How the frames are made, and their name, if they are the same each time."""
        sampler, transform = view.parts(train)
        media = media_of(sample)
        recipe = Recipe(view, sample.video, sample.id, sample.clip, train, chance, chance, media=media)
        if transform.outcomes is None or not (sampler.repeatable or media == "image"):
            return recipe, None
        clip = sample.clip.to_list() if sample.clip is not None else None
        reader = recipe.reader
        file = reader.fingerprint(sample.video)
        maker = getattr(reader, "reader", reader)  # in whatever process: guarded's frames are its reader's
        code = code_version(modules_of((self, view, maker, sampler, transform)))
        what = (file, clip, reader, sampler, transform, view.size, view.times, view.times_from, view.round_times, code)
        if transform.outcomes > 1:
            variant = chance % transform.outcomes
            # The video and the number of the crop decide it alone, whoever asks and whenever.
            seed, key = _seed(file, clip, transform, variant), digest(*what, variant)
        else:
            seed, key = _seed(file, clip, transform, 0), digest(*what)
        return replace(recipe, pixel_seed=seed, content=file), key


def _no_frames(view: View, train: bool) -> Frames:
    """What a sample of text alone has."""
    side = view.parts(train)[1].image_size
    return Frames(torch.zeros(view.text_frames, 3, side, side), [0.0] * view.text_frames)


def _seed(*parts: object) -> int:
    """A seed below 2**62 for values whose text says all about them."""
    return int(hashlib.blake2b(":".join(map(str, parts)).encode(), digest_size=8).hexdigest(), 16) >> 2


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


_SETTINGS = ("size", "times", "times_from", "round_times", "image_pad_to_square", "image_max_megapixels", "text_frames")


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
