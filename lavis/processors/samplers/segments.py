"""The middles of segments whose length is a fraction of a frame, as HawkEye's evaluation (and VideoChat2's) has it.

The segments lie between frame numbers, not between counts of frames, and their middles are rounded one by one, so that
steps between frames differ by one here and there. Unlike the original, a clip outside the video is an error; there it
gives frame numbers that fall, or that do not exist.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lavis.common.registry import registry
from lavis.processors.readers.base import VideoInfo
from lavis.processors.samplers.base import Sampler, check_choice, check_count, outside
from lavis.structures import Moment


@registry.samplers.register("segments")
@dataclass(frozen=True)
class Segments(Sampler):
    """The middle of each of ``num_frames`` segments between the first and the last frame of the clip.

    Always gives ``num_frames``: a clip with fewer frames gives some of them repeatedly.

    Args:
        num_frames: frames to take, at least 1.
        last: the number that the end of the video has: ``frame`` is that of its last frame, as HawkEye takes for
            files; ``count`` is one more, as it takes for folders of frames, where it may ask for a frame that is not
            there; the last one is then given.
    """

    num_frames: int
    last: Literal["frame", "count"] = "frame"

    def __post_init__(self) -> None:
        check_count(self.num_frames)
        check_choice("last", self.last, ("frame", "count"))

    def indices(self, info: VideoInfo, clip: Moment | None = None, generator: random.Random | None = None) -> list[int]:
        most = info.num_frames - (self.last == "frame")
        start, end = 0, most
        if clip is not None:
            start, end = max(0, round(clip.start * info.fps)), min(round(clip.end * info.fps), most)
            # A clip within the last half frame rounds to the number after the last one, which is that frame's end.
            if clip.end <= 0 or clip.start >= info.num_frames / info.fps:
                raise outside(clip, info)
            start, end = min(start, most), max(end, min(start, most))
        size = (end - start) / self.num_frames
        steps = np.round(size * np.arange(self.num_frames))
        return [min(int(start + size / 2 + step), info.num_frames - 1) for step in steps.tolist()]
