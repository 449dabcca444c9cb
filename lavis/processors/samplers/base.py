"""What a sampler is, and which frames a clip has.

Where a clip ends is counted by the average rate, in one of the ways of the originals (``frame_range``): weights were
trained with them, and one frame more or less moves all frames between.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from lavis.processors.readers.base import VideoInfo
from lavis.structures import Moment

Edges = Literal["ends", "length", "shares"]


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


def frame_range(info: VideoInfo, clip: Moment | None, edges: Edges = "ends") -> tuple[int, int]:
    """First frame of a clip and the one after its last, by the average rate as the originals count.

    Args:
        info: the video.
        clip: the part; ``None`` is all of it.
        edges: ``ends`` rounds start and end down (LAVIS, CALCE), ``length`` start and length (Grounded-VideoLLM), at
            least one frame each; ``shares`` rounds both to the nearest frame, as shares of the video's length
            (HawkEye), and may give an empty range.

    Raises:
        ValueError: if no frame of the video is in the clip.
    """
    if clip is None:
        return 0, info.num_frames
    if max(0, int(clip.start * info.fps)) >= info.num_frames or clip.end <= 0:
        raise outside(clip, info)
    if edges == "shares":
        length = info.num_frames / info.fps
        start, end = (round(min(max(bound / length, 0), 1) * info.num_frames) for bound in (clip.start, clip.end))
        return start, end
    start = max(0, int(clip.start * info.fps))
    stop = int(clip.end * info.fps) if edges == "ends" else start + int((clip.end - max(0, clip.start)) * info.fps)
    return start, max(min(info.num_frames, stop), start + 1)


def key_frames(num_frames: int, segments: int) -> list[int]:
    """Which of the frames that were taken stand for equal parts of them, as in Grounded-VideoLLM: each part's middle.

    Frames that fill no part are left over.

    Args:
        num_frames: frames that were taken.
        segments: parts, from 1 to ``num_frames``.

    Raises:
        ValueError: for a number of parts that cannot be.
    """
    if not 1 <= segments <= num_frames:
        raise ValueError(f"{num_frames} frames cannot be cut into {segments} segments; take 1 to {num_frames}")
    length = num_frames // segments
    return [i * length + length // 2 for i in range(segments)]


def outside(clip: Moment, info: VideoInfo) -> ValueError:
    """The error for a clip without frames."""
    return ValueError(
        f"the clip [{clip.start}, {clip.end}] s lies outside the video, which has 0 to {info.duration_s:.6g} s; "
        "correct the clip or the duration in the annotation"
    )


def needed(generator: random.Random | None) -> random.Random:
    """The generator.

    Raises:
        ValueError: if there is none.
    """
    if generator is None:
        raise ValueError("this sampler draws frames by chance: pass a random.Random as generator")
    return generator


def check_count(num_frames: int) -> None:
    """That frames are asked for.

    Raises:
        ValueError: if not.
    """
    if isinstance(num_frames, bool) or num_frames < 1:
        raise ValueError(f"sampler.num_frames must be at least 1, got {num_frames!r}")


def check_choice(name: str, value: Any, known: Sequence[str]) -> None:
    """That a setting is one of the known words.

    Raises:
        ValueError: if it is not.
    """
    if value not in known:
        raise ValueError(f"sampler.{name} must be {' or '.join(known)}, got {value!r}")
