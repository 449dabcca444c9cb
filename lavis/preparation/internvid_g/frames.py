"""Which moments of a scene are looked at, and their pictures.

The original steps in whole seconds: for similarities by ``floor(length / 4) + 1``, which leaves scenes under 3 s and
shows others' pictures; for scores by ``length // 4``, which shows scenes under 4 s three times at their start; for
captions it goes ``ceil(length / 2)`` s in, the very end of a scene of 1 s. Here moments lie at quarters and in the
middle; ``spots="whole_seconds"`` brings the original's back. It also takes the frame ``int(seconds * rate)``; here the
one shown at that time is taken, and ``rate="average"`` brings that back.
"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from lavis.processors.readers.base import VideoInfo, VideoReader

Spots = Literal["quarters", "whole_seconds"]
Rate = Literal["true_times", "average"]
SPOTS: tuple[Spots, ...] = ("quarters", "whole_seconds")
RATES: tuple[Rate, ...] = ("true_times", "average")


def similarity_times(start: float, end: float, spots: Spots = "quarters") -> list[float]:
    """The three moments, in seconds, of which a scene's vector is made."""
    step = (end - start) / 4 if spots == "quarters" else math.floor((end - start) / 4) + 1
    return [start + k * step for k in (1, 2, 3)]


def score_times(start: float, end: float, spots: Spots = "quarters") -> list[float]:
    """The three moments, in seconds, that a caption is compared with."""
    step = (end - start) / 4 if spots == "quarters" else (end - start) // 4
    return [start + k * step for k in (1, 2, 3)]


def caption_time(start: float, end: float, spots: Spots = "quarters") -> float:
    """The moment, in seconds, that is captioned."""
    return start + ((end - start) / 2 if spots == "quarters" else math.ceil((end - start) / 2))


def pictures(reader: VideoReader, path: str, info: VideoInfo, times: list[float], rate: Rate = "true_times") -> Tensor:
    """uint8 RGB pictures ``[T, 3, H, W]`` at these times; behind the end, the last one.

    Raises:
        VideoDecodeError: if the video cannot be read.
    """
    if rate == "average":
        numbers = [min(int(seconds * info.fps), info.num_frames - 1) for seconds in times]
    else:
        numbers = [info.index_at(min(seconds, info.duration_s)) for seconds in times]
    frames, _ = reader.read(path, numbers, info=info)
    return frames
