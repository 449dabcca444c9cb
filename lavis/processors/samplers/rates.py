"""Frames at a fixed rate.

``fps`` is that of MeCo and other systems that look at so many frames a second, by true times unless asked to count as
they do; ``accumulated`` is the running clock of MMDuet (Wang et al., 2024; yellow-binary-tree/MMDuet), whose sums of
rounded steps decide which frame is taken.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from itertools import accumulate, repeat
from typing import Literal

import numpy as np

from lavis.common.registry import registry
from lavis.processors.readers.base import VideoInfo, positive
from lavis.processors.samplers.base import Sampler, check_choice, frame_range
from lavis.structures import Moment


@registry.samplers.register("fps")
@dataclass(frozen=True)
class FixedRate(Sampler):
    """Frames at a fixed rate.

    Args:
        fps: frames a second, above 0.
        max_frames: at most so many; ``None`` is no limit.
        times: ``presentation`` takes the frame that is shown at each instant; ``average_rate`` counts frames by the
            average rate, as MeCo does, which drifts where the rate varies.
        place: where in each period the instant lies: ``start``, or ``middle`` as in Grounded-VideoLLM's ``fps``.
        beyond: what is kept of more than ``max_frames``: ``spread`` is an even choice, as MeCo's; ``first`` the first
            ones, as Grounded-VideoLLM's, so that the rest of the video is not seen.
        min_seconds: a video that is shorter is an error, as in MeCo.
    """

    fps: float = 1.0
    max_frames: int | None = None
    times: Literal["presentation", "average_rate"] = "presentation"
    place: Literal["start", "middle"] = "start"
    beyond: Literal["spread", "first"] = "spread"
    min_seconds: float = 0.0

    def __post_init__(self) -> None:
        positive("sampler.fps", self.fps)
        _check_most(self.max_frames)
        check_choice("times", self.times, ("presentation", "average_rate"))
        check_choice("place", self.place, ("start", "middle"))
        check_choice("beyond", self.beyond, ("spread", "first"))
        if not self.min_seconds >= 0:
            raise ValueError(f"sampler.min_seconds must be at least 0, got {self.min_seconds!r}")

    def indices(self, info: VideoInfo, clip: Moment | None = None, generator: random.Random | None = None) -> list[int]:
        if info.duration_s < self.min_seconds:
            raise ValueError(
                f"the video lasts {info.duration_s:.6g} s, less than sampler.min_seconds = {self.min_seconds:g}; "
                "leave it out, or lower the limit"
            )
        frames = self._counted(info, clip) if self.times == "average_rate" else self._shown(info, clip)
        if self.max_frames is not None and len(frames) > self.max_frames:
            if self.beyond == "first":
                return frames[: self.max_frames]
            frames = [frames[i] for i in np.linspace(0, len(frames) - 1, self.max_frames).round().astype(int)]
        return frames

    def _shown(self, info: VideoInfo, clip: Moment | None) -> list[int]:
        """The frame shown at each instant; one that is too short for an instant gives its middle."""
        frame_range(info, clip)
        window = (clip or Moment(0, info.duration_s)).clamp(info.duration_s)
        periods = round(window.length * self.fps, 6)
        if self.place == "start":
            instants = [i / self.fps for i in range(max(1, math.ceil(periods)))]
        else:
            count = math.ceil(round(periods - 0.5, 6))
            instants = [(i + 0.5) / self.fps for i in range(count)] or [window.length / 2]
        return [info.index_at(window.start + instant) for instant in instants]

    def _counted(self, info: VideoInfo, clip: Moment | None) -> list[int]:
        """Multiples of average rate over wanted rate, rounded half to even."""
        start, end = frame_range(info, clip)
        if self.place == "start":
            steps = np.arange(start, end, info.fps / self.fps)
            return [min(max(int(step), start), end - 1) for step in np.round(steps)]
        period, length = 1 / self.fps, (end - start) / info.fps
        steps = np.round(np.arange(period / 2, length + period / 2, period) * info.fps)
        return [start + int(step) for step in steps if step < end - start] or [(start + end - 1) // 2]


@registry.samplers.register("accumulated")
@dataclass(frozen=True)
class AccumulatedTime(Sampler):
    """Frames at a fixed rate by a clock that adds one rounded frame length after each frame, as MMDuet's does.

    Its error grows: of 10 frames a second, two a second are 0, 5, 11, 15, 20. A video with a lower rate gives each
    of its frames once. Of a clip, frames ``int(start * fps)`` to before ``int(end * fps)`` of those taken from the
    whole video are given, as in MMDuet's training: the first may lie up to a period before the clip.

    Args:
        fps: frames a second, above 0; ``None`` is the rate at which the video has ``max_frames``.
        max_frames: at most so many, the first ones; ``None`` is no limit.
        count: how many frames a video of ``d`` seconds has: ``floor`` of ``d`` times the rate, as in training and the
            demonstration, or ``ceil``, as in the benchmarks.
    """

    fps: float | None = 2.0
    max_frames: int | None = None
    count: Literal["floor", "ceil"] = "floor"

    def __post_init__(self) -> None:
        _check_most(self.max_frames)
        check_choice("count", self.count, ("floor", "ceil"))
        if self.fps is not None:
            positive("sampler.fps", self.fps)
        elif self.max_frames is None:
            raise ValueError("sampler.fps can only be null where sampler.max_frames is given")

    def rate(self, info: VideoInfo) -> float:
        """Frames a second that are taken from this video."""
        if self.fps is not None:
            return self.fps
        assert self.max_frames is not None  # for the type checker: checked on making it
        return self.max_frames / (info.num_frames / info.fps)

    def indices(self, info: VideoInfo, clip: Moment | None = None, generator: random.Random | None = None) -> list[int]:
        frame_range(info, clip)
        rate = self.rate(info)
        periods = info.num_frames / info.fps * rate
        targets = [i / rate for i in range(max(1, math.ceil(periods) if self.count == "ceil" else math.floor(periods)))]
        frames: list[int] = []
        for frame, clock in enumerate(accumulate(repeat(1 / info.fps, info.num_frames - 1), initial=0.0)):
            if len(frames) < len(targets) and clock >= targets[len(frames)]:
                frames.append(frame)
        if clip is not None:
            first = min(int(max(0.0, clip.start) * rate), len(frames) - 1)
            frames = frames[first : max(int(clip.end * rate), first + 1)]
        return frames[: self.max_frames]


def to_frame_time(
    seconds: float, fps: float, rounding: Literal["ceil", "floor", "round"], low: float, high: float
) -> float:
    """The time of the frame at or after, at or before, or nearest to an instant, kept from ``low`` to ``high``.

    So MMDuet moves the times of its annotations to frames that are taken ``fps`` a second. Halves go to the even frame.

    Raises:
        ValueError: for another rounding, or a rate that is not above 0.
    """
    positive("fps", fps)
    check_choice("rounding", rounding, ("ceil", "floor", "round"))
    frames = seconds * fps
    rounded = {"ceil": math.ceil(frames), "floor": math.floor(frames), "round": round(frames)}[rounding]
    return min(max(rounded / fps, low), high)


def _check_most(max_frames: int | None) -> None:
    if max_frames is not None and max_frames < 1:
        raise ValueError(f"sampler.max_frames must be at least 1, got {max_frames!r}")
