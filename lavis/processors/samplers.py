"""Which frames of a video are looked at.

A sampler turns what is known of a video into frame numbers. ``head``, ``uniform``, ``random`` and ``headtail`` are
those of LAVIS (Li et al., 2022; salesforce/LAVIS): CALCE uses ``head``, MR.BLIP ``random`` in training and ``uniform``
otherwise. ``middle`` is Grounded-VideoLLM's, ``fps`` that of MeCo and other systems that look at a fixed rate.
Unlike the originals, chance comes from a generator that is passed in, and a clip that lies outside the video is an
error instead of a list of frame numbers that do not exist.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np

from lavis.common.registry import registry
from lavis.processors.readers.base import VideoInfo, positive
from lavis.structures import Moment


class Sampler(ABC):
    """A choice of frames. Subclasses are frozen dataclasses: their ``repr`` names the choice."""

    repeatable: ClassVar[bool] = True
    """Whether the same video and clip always give the same frames."""

    @abstractmethod
    def indices(self, info: VideoInfo, clip: Moment | None = None, generator: random.Random | None = None) -> list[int]:
        """Frame numbers, never falling, each from 0 to ``info.num_frames`` - 1.

        Args:
            info: the video.
            clip: the part to look at, in seconds; ``None`` is all of it.
            generator: where chance comes from; only samplers that are not ``repeatable`` need one.

        Raises:
            ValueError: if the clip has no frame in it, or a generator is missing.
        """


class IntervalSampler(Sampler):
    """Cuts the video into ``num_frames`` intervals and takes one frame from each.

    A video with fewer frames gives all it has. A clip with fewer frames than intervals gives some of them repeatedly.
    """

    num_frames: int

    def __post_init__(self) -> None:
        if isinstance(self.num_frames, bool) or self.num_frames < 1:
            raise ValueError(f"sampler.num_frames must be at least 1, got {self.num_frames!r}")

    def indices(self, info: VideoInfo, clip: Moment | None = None, generator: random.Random | None = None) -> list[int]:
        start, end = frame_range(info, clip)
        count = min(self.num_frames, info.num_frames)
        edges = np.linspace(start, end, count + 1).astype(int).tolist()
        return [self._pick(low, high, generator) for low, high in pairwise(edges)]

    @abstractmethod
    def _pick(self, low: int, high: int, generator: random.Random | None) -> int:
        """A frame from ``low`` to ``high`` - 1; ``low`` if the interval is empty."""


@registry.samplers.register("head")
@dataclass(frozen=True)
class Head(IntervalSampler):
    """The first frame of each interval.

    Args:
        num_frames: frames to take, at least 1.
    """

    num_frames: int

    def _pick(self, low: int, high: int, generator: random.Random | None) -> int:
        return low


@registry.samplers.register("uniform")
@dataclass(frozen=True)
class Uniform(IntervalSampler):
    """The middle of each interval, both edges counted.

    Args:
        num_frames: frames to take, at least 1.
    """

    num_frames: int

    def _pick(self, low: int, high: int, generator: random.Random | None) -> int:
        return (low + high) // 2


@registry.samplers.register("middle")
@dataclass(frozen=True)
class Middle(IntervalSampler):
    """The middle of the frames of each interval: at times one frame before that of ``uniform``.

    Args:
        num_frames: frames to take, at least 1.
    """

    num_frames: int

    def _pick(self, low: int, high: int, generator: random.Random | None) -> int:
        return (low + max(low, high - 1)) // 2


@registry.samplers.register("random")
@dataclass(frozen=True)
class RandomInInterval(IntervalSampler):
    """A frame of each interval by chance.

    Args:
        num_frames: frames to take, at least 1.
    """

    num_frames: int
    repeatable: ClassVar[bool] = False

    def _pick(self, low: int, high: int, generator: random.Random | None) -> int:
        return low if low == high else _needed(generator).choice(range(low, high))


@registry.samplers.register("headtail")
@dataclass(frozen=True)
class HeadTail(Sampler):
    """Half of the frames by chance from the first half of the video, half from the second; the last fills up.

    Args:
        num_frames: frames to take, at least 1.
    """

    num_frames: int
    repeatable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if isinstance(self.num_frames, bool) or self.num_frames < 1:
            raise ValueError(f"sampler.num_frames must be at least 1, got {self.num_frames!r}")

    def indices(self, info: VideoInfo, clip: Moment | None = None, generator: random.Random | None = None) -> list[int]:
        start, end = frame_range(info, clip)
        count, middle = min(self.num_frames, end - start), (start + end) // 2
        if count == 1:
            return [start]
        chance = _needed(generator)
        halves = [range(start, middle), range(middle, end)]
        chosen = [i for half in halves for i in sorted(chance.sample(half, count // 2))]
        return chosen + chosen[-1:] * (count - len(chosen))


@registry.samplers.register("fps")
@dataclass(frozen=True)
class FixedRate(Sampler):
    """Frames at a fixed rate.

    Args:
        fps: frames a second, above 0.
        max_frames: at most so many, spread evenly over those at the rate; ``None`` is no limit.
        times: ``presentation`` takes the frame that is shown at each instant; ``average_rate`` counts frames by the
            average rate, as MeCo does, which drifts where the rate varies.
    """

    fps: float = 1.0
    max_frames: int | None = None
    times: Literal["presentation", "average_rate"] = "presentation"

    def __post_init__(self) -> None:
        positive("sampler.fps", self.fps)
        if self.max_frames is not None and self.max_frames < 1:
            raise ValueError(f"sampler.max_frames must be at least 1, got {self.max_frames!r}")
        if self.times not in ("presentation", "average_rate"):
            raise ValueError(f"sampler.times must be presentation or average_rate, got {self.times!r}")

    def indices(self, info: VideoInfo, clip: Moment | None = None, generator: random.Random | None = None) -> list[int]:
        start, end = frame_range(info, clip)
        if self.times == "average_rate":
            steps = np.arange(start, end, info.fps / self.fps)
            frames = [min(max(int(step), start), end - 1) for step in np.round(steps)]
        else:
            window = (clip or Moment(0, info.duration_s)).clamp(info.duration_s)
            count = max(1, int(np.ceil(round(window.length * self.fps, 6))))
            frames = [info.index_at(window.start + i / self.fps) for i in range(count)]
        if self.max_frames is not None and len(frames) > self.max_frames:
            frames = [frames[i] for i in np.linspace(0, len(frames) - 1, self.max_frames).round().astype(int)]
        return frames


def frame_range(info: VideoInfo, clip: Moment | None) -> tuple[int, int]:
    """First frame of a clip and the one after its last, by the average rate as the originals count.

    Raises:
        ValueError: if no frame of the video is in the clip.
    """
    if clip is None:
        return 0, info.num_frames
    start = max(0, int(clip.start * info.fps))
    end = min(info.num_frames, int(clip.end * info.fps))
    if start >= info.num_frames or clip.end <= 0:
        raise ValueError(
            f"the clip [{clip.start}, {clip.end}] s lies outside the video, which has 0 to {info.duration_s:.6g} s; "
            "correct the clip or the duration in the annotation"
        )
    return start, max(end, start + 1)


def _needed(generator: random.Random | None) -> random.Random:
    if generator is None:
        raise ValueError("this sampler draws frames by chance: pass a random.Random as generator")
    return generator
