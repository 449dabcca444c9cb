"""What a smaller copy of a video is to be: its size, its rate, the filters that make it so, and whether it came out."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from lavis.processors.readers.base import VideoInfo

Shape = Literal["short_side", "square", "meco"]
SHAPES: tuple[Shape, ...] = ("short_side", "square", "meco")
PRESETS = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo",
)  # fmt: skip
"""Efforts of x264."""


@dataclass(frozen=True, slots=True)
class Target:
    """What copies are to be.

    Args:
        fps: frames a second; frame ``i`` is the one the original shows at ``i / fps`` seconds from its first.
        size: pixels, even.
        shape: ``short_side``: the shorter side gets ``size``, unless it has fewer; ``square``: then the middle
            ``size`` x ``size`` is cut out; ``meco``: as MeCo's tool does it, ``size`` high if wider than high, and
            otherwise ``size`` wide and as many times lower as it should be higher, which squashes portrait videos.
        audio: keep the sound (AAC, one or two channels), shifted with the picture.
        crf: quality of x264, 0 to 51; less is better and larger.
        preset: its effort.
        gop: frames from keyframe to keyframe at most: what a reader decodes at most to get at one frame.
    """

    fps: float = 3.0
    size: int = 224
    shape: Shape = "short_side"
    audio: bool = False
    crf: int = 23
    preset: str = "veryfast"
    gop: int = 30

    def __post_init__(self) -> None:
        if not math.isfinite(self.fps) or self.fps <= 0:
            raise ValueError(f"fps must be above 0, got {self.fps}")
        if self.size < 2 or self.size % 2:
            raise ValueError(f"the size must be an even number of pixels, got {self.size}")
        if self.shape not in SHAPES:
            raise ValueError(f"there is no shape {self.shape!r}; there are {', '.join(SHAPES)}")
        if not 0 <= self.crf <= 51 or self.gop < 1:
            raise ValueError(f"crf must be from 0 to 51 and gop at least 1, got {self.crf} and {self.gop}")
        if self.preset not in PRESETS:
            raise ValueError(f"there is no preset {self.preset!r}; there are {', '.join(PRESETS)}")

    @property
    def rate(self) -> Fraction:
        """``fps`` as a fraction."""
        return Fraction(self.fps).limit_denominator(1001)

    def to_options(self) -> dict[str, Any]:
        """Everything that changes the copies."""
        return asdict(self)

    def scaled(self, width: int, height: int) -> tuple[int, int]:
        """Width and height that a picture is resized to, both even; a square is cut out of it afterwards."""
        if self.shape == "meco":
            other = max(2, math.floor(self.size * width / height / 2) * 2)
            return (other, self.size) if width > height else (self.size, other)
        short = min(width, height)
        wanted = self.size if self.shape == "square" else min(self.size, short)
        sides = [max(2, 2 * round(side * wanted / short / 2)) for side in (width, height)]
        return sides[0], sides[1]

    def final(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the copy."""
        return (self.size, self.size) if self.shape == "square" else self.scaled(width, height)

    def video_filters(self, width: int, height: int) -> list[tuple[str, str]]:
        """FFmpeg's filters for a picture of that size: name and arguments."""
        wide, high = self.scaled(width, height)
        cut = [("crop", f"{self.size}:{self.size}")] if self.shape == "square" else []
        return [
            ("setpts", "PTS-STARTPTS"),
            # Rounded up, a frame takes the place of the one before from the first time on that it is shown at.
            ("fps", f"fps={self.rate}:round=up"),
            ("scale", f"{wide}:{high}:flags=bicubic:out_range=tv"),
            *cut,
            ("setsar", "1"),
            ("format", "yuv420p"),
        ]

    def frames_of(self, duration_s: float) -> int:
        """How many frames the copy of so many seconds has."""
        return max(1, math.ceil(duration_s * self.rate - Fraction(1, 1000)))


def audio_filters(shift_s: float, channels: int, rate: int) -> list[tuple[str, str]]:
    """FFmpeg's filters for sound: ``shift_s`` is where the picture begins on the sound's clock."""
    cut = [("atrim", f"start={shift_s:.6f}"), ("asetpts", f"PTS-{shift_s:.6f}/TB")] if shift_s > 0 else []
    moved = [("asetpts", f"PTS+{-shift_s:.6f}/TB")] if shift_s < 0 else []
    layout = "mono" if channels == 1 else "stereo"
    return [
        *cut,
        *moved,
        ("aresample", "async=1:first_pts=0"),
        ("aformat", f"sample_fmts=fltp:sample_rates={rate}:channel_layouts={layout}"),
    ]


def check_copy(copy: Path, source: Path, info: VideoInfo, target: Target) -> VideoInfo:
    """That a copy can be read, its first and last frame decoded, and that it is as long and large as it should be.

    Args:
        copy: the file.
        source: for messages.
        info: the original.
        target: what was wanted.

    Raises:
        ValueError: if it is anything else.
    """
    from lavis.processors.readers.pyav import PyAVReader

    reader = PyAVReader()
    made = reader.probe(copy)
    reader.read(copy, [0, made.num_frames - 1], info=made)
    frames, size = target.frames_of(info.duration_s), target.final(info.width, info.height)
    length = 1 / float(target.rate)
    if abs(made.num_frames - frames) > 1 or abs(made.duration_s - frames * length) > 1.5 * length:
        raise ValueError(
            f"{source}: its copy has {made.num_frames} frames in {made.duration_s:.3f} s instead of {frames} in "
            f"{frames * length:.3f} s; the file is damaged, or its times are not those of its frames"
        )
    if (made.width, made.height) != size:
        raise ValueError(f"{source}: its copy has {made.width}x{made.height} pixels instead of {size[0]}x{size[1]}")
    return made
