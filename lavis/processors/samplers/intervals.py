"""One frame of each of so many equal intervals.

``head``, ``uniform``, ``random`` and ``headtail`` are those of LAVIS (Li et al., 2022; salesforce/LAVIS): CALCE uses
``head``, MR.BLIP ``random`` in training and ``uniform`` otherwise. ``middle`` is Grounded-VideoLLM's and HawkEye's,
``inner_random`` what both call ``rand`` and HawkEye trains with. Unlike the originals, chance comes from a generator
that is passed in, and a clip that lies outside the video is an error instead of frame numbers that do not exist.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal, get_args

import numpy as np

from lavis.common.registry import registry
from lavis.processors.readers.base import VideoInfo
from lavis.processors.samplers.base import Edges, Sampler, check_choice, check_count, frame_range, needed
from lavis.structures import Moment

Short = Literal["fewer", "repeat_last"]


class IntervalSampler(Sampler):
    """Cuts the video into ``num_frames`` intervals and takes one frame from each.

    A video with fewer frames gives all it has. A clip with fewer frames than intervals gives some of them repeatedly.
    """

    num_frames: int
    edges: Edges = "ends"
    short: Short = "fewer"

    def __post_init__(self) -> None:
        check_count(self.num_frames)
        check_choice("edges", self.edges, get_args(Edges))
        check_choice("short", self.short, get_args(Short))

    def indices(self, info: VideoInfo, clip: Moment | None = None, generator: random.Random | None = None) -> list[int]:
        start, end = frame_range(info, clip, self.edges)
        available = end - start if self.edges == "length" else info.num_frames
        count = min(self.num_frames, available)
        edges = np.linspace(start, end, count + 1).astype(int).tolist()
        frames = [min(max(frame, 0), info.num_frames - 1) for frame in self._chosen(edges, info, generator)]
        return frames + frames[-1:] * (self.num_frames - count if self.short == "repeat_last" else 0)

    def _chosen(self, edges: list[int], info: VideoInfo, generator: random.Random | None) -> list[int]:
        """A frame from each interval; frames before the first or behind the last are moved to them."""
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
        edges: how the ends of a clip become frame numbers: ``ends`` as CALCE, ``length`` as Grounded-VideoLLM,
            ``shares`` as HawkEye; see ``frame_range``.
        short: what a video with fewer frames gives: ``fewer`` is all it has, ``repeat_last`` fills up with the last,
            as Grounded-VideoLLM and HawkEye do.
        empty: what an interval without a frame gives, in a clip with fewer frames than intervals: ``edge`` is the
            frame it begins at, ``before`` the one before that, as HawkEye computes it, even outside the clip.
    """

    num_frames: int
    edges: Edges = "ends"
    short: Short = "fewer"
    empty: Literal["edge", "before"] = "edge"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("empty", self.empty, ("edge", "before"))

    def _pick(self, low: int, high: int, generator: random.Random | None) -> int:
        return (low + (high - 1 if self.empty == "before" else max(low, high - 1))) // 2


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
        return low if low == high else needed(generator).choice(range(low, high))


@registry.samplers.register("inner_random")
@dataclass(frozen=True)
class InnerRandom(IntervalSampler):
    """A frame of each interval by chance, but never its last one: ``rand`` of Grounded-VideoLLM and HawkEye.

    Args:
        num_frames: frames to take, at least 1.
        edges: how the ends of a clip become frame numbers, as in ``middle``.
        short: what a video with fewer frames gives, as in ``middle``.
        narrow: what happens where an interval has one frame or none: ``interval`` takes that one; ``whole_video``
            draws all frames from the whole video instead, even if a clip is asked for, as the originals do.
    """

    num_frames: int
    edges: Edges = "ends"
    short: Short = "fewer"
    narrow: Literal["interval", "whole_video"] = "interval"
    repeatable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("narrow", self.narrow, ("interval", "whole_video"))

    def _chosen(self, edges: list[int], info: VideoInfo, generator: random.Random | None) -> list[int]:
        if self.narrow == "whole_video" and any(high - low < 2 for low, high in pairwise(edges)):
            return sorted(self.shuffled(info.num_frames, generator)[: len(edges) - 1])
        return super()._chosen(edges, info, generator)

    def _pick(self, low: int, high: int, generator: random.Random | None) -> int:
        return low if high - low < 2 else needed(generator).choice(range(low, high - 1))

    def shuffled(self, num_frames: int, generator: random.Random | None) -> list[int]:
        """All frames of a video in an order by chance; the originals ask numpy for it, another stream of numbers."""
        return needed(generator).sample(range(num_frames), num_frames)


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
        check_count(self.num_frames)

    def indices(self, info: VideoInfo, clip: Moment | None = None, generator: random.Random | None = None) -> list[int]:
        start, end = frame_range(info, clip)
        count, middle = min(self.num_frames, end - start), (start + end) // 2
        if count == 1:
            return [start]
        chance = needed(generator)
        halves = [range(start, middle), range(middle, end)]
        chosen = [i for half in halves for i in sorted(chance.sample(half, count // 2))]
        return chosen + chosen[-1:] * (count - len(chosen))
