"""What every video reader offers: the times of all frames of a file, and the pixels of some of them.

Frame ``i`` is the i-th frame in presentation order, and its time is the one the file gives it, counted from the first
frame. The original systems divide ``i`` by an average frame rate instead, which is wrong by seconds in files whose rate
varies; where weights were trained that way, ``View.times`` in ``video_processor.py`` brings it back.
"""

from __future__ import annotations

import logging
import math
import os
import stat
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lavis.common.content import content_digest

Size = tuple[int, int]
"""Height and width in pixels."""

Pixels = npt.NDArray[np.uint8]
"""``[T, H, W, 3]``, RGB."""

Damage = Literal["raise", "warn"]

_TOLERANCE_S = 1e-6
"""Slack of a look-up by time, far below any frame's length: a time that was itself computed must find its own frame."""

_log = logging.getLogger(__name__)


class VideoDecodeError(ValueError):
    """A video that cannot be read as asked.

    Args:
        path: the file or folder; with nothing else given, the whole message (worker processes rebuild errors that way).
        cause: what is wrong with it.
        cure: what to do.
        sample_id: sample that needed it, once known.
    """

    def __init__(self, path: str | Path, cause: str = "", cure: str = "", sample_id: str | None = None) -> None:
        self.path, self.cause, self.cure, self.sample_id = str(path), cause, cure, sample_id
        subject = f"sample {sample_id}: {path}" if sample_id else str(path)
        super().__init__("; ".join(part for part in (f"{subject}: {cause}" if cause else subject, cure) if part))

    def __reduce__(self) -> tuple[type[VideoDecodeError], tuple[str, str, str, str | None]]:
        return type(self), (self.path, self.cause, self.cure, self.sample_id)

    def of_sample(self, sample_id: str) -> VideoDecodeError:
        """The same error, saying which sample needed the video."""
        return VideoDecodeError(self.path, self.cause, self.cure, sample_id)


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video before any frame is asked for.

    Args:
        num_frames: frames that can be read, at least 1.
        fps: average frames a second, above 0, as the file states it.
        duration_s: seconds from the start of the first frame to the end of the last.
        width: pixels as shown, rotation applied.
        height: the same.
        times: ``num_frames`` seconds from the first frame, rising, the first is 0.
        index: what the reader that made this wants to know again when it reads.
    """

    num_frames: int
    fps: float
    duration_s: float
    width: int
    height: int
    times: Sequence[float] = field(repr=False)
    index: Any = field(default=None, repr=False, compare=False)

    @classmethod
    def regular(cls, num_frames: int, fps: float, width: int = 0, height: int = 0) -> VideoInfo:
        """A video whose frames are all equally long."""
        return cls(num_frames, fps, num_frames / fps, width, height, [i / fps for i in range(num_frames)])

    def index_at(self, seconds: float) -> int:
        """The frame that is shown at ``seconds`` from the first frame.

        Raises:
            ValueError: if that is outside the video.
        """
        if not -_TOLERANCE_S <= seconds <= self.duration_s + _TOLERANCE_S:
            raise ValueError(f"{seconds} s is outside the video, which has 0 to {self.duration_s:.6g} s")
        return max(0, bisect_right(self.times, seconds + _TOLERANCE_S) - 1)


class VideoReader(ABC):
    """One way to read videos. Subclasses are frozen dataclasses: their ``repr`` names what they do to pixels."""

    @abstractmethod
    def probe(self, path: str | Path) -> VideoInfo:
        """Times of all frames, size and average rate.

        Raises:
            VideoDecodeError: if there is no readable video at ``path``.
        """

    @abstractmethod
    def _decode(self, path: str, wanted: list[int], size: Size | None, info: VideoInfo) -> tuple[Pixels, Sequence[int]]:
        """Pixels of frames ``wanted`` (rising, valid), and which frames they really are (differs only if damaged)."""

    def read(
        self,
        path: str | Path,
        indices: Sequence[int] | None = None,
        *,
        times: Sequence[float] | None = None,
        size: Size | None = None,
        info: VideoInfo | None = None,
    ) -> tuple[Tensor, list[float]]:
        """Frames by number or by time, in the order asked for; a frame may be asked for more than once.

        Args:
            path: video file, or folder for readers of folders.
            indices: frame numbers, 0 to ``num_frames`` - 1. Either these or ``times``.
            times: seconds from the first frame; the frame shown then is taken.
            size: resize to this height and width while decoding; ``None`` keeps the size.
            info: what ``probe(path)`` gave, to spare probing again.

        Returns:
            uint8 RGB ``[T, 3, H, W]`` and the true time of each frame in seconds from the first frame.

        Raises:
            VideoDecodeError: if the video cannot be read or a frame is damaged.
            ValueError: for a frame or time that the video does not have.
        """
        if (indices is None) == (times is None):
            raise ValueError("give either frame indices or times")
        info = self.probe(path) if info is None else info
        wanted = [info.index_at(t) for t in times] if times is not None else list(indices or [])
        outside = next((i for i in wanted if not 0 <= i < info.num_frames), None)
        if outside is not None:
            raise ValueError(f"{path}: there is no frame {outside}, the video has frames 0 to {info.num_frames - 1}")
        if not wanted:
            height, width = size or (info.height, info.width)
            return torch.empty(0, 3, height, width, dtype=torch.uint8), []
        unique = sorted(set(wanted))
        pixels, decoded = self._decode(str(path), unique, size, info)
        rows = [bisect_right(unique, i) - 1 for i in wanted]
        frames = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        if wanted != unique:
            frames = frames[rows]
        return frames, [info.times[decoded[row]] for row in rows]

    def fingerprint(self, path: str | Path) -> str:
        """Stands for the content of ``path``: the same for a copy, another after a change; see ``content_digest``.

        Raises:
            VideoDecodeError: if there is nothing at ``path`` that can be read.
        """
        check_file(path)
        try:
            return content_digest(path)
        except OSError as error:
            raise missing_file(path, error) from error


def missing_file(path: str | Path, error: OSError) -> VideoDecodeError:
    """The error for a path that cannot be opened."""
    return VideoDecodeError(path, error.strerror or str(error), "check the folder of videos in the dataset's config")


def whole_path(path: str | Path) -> str:
    """The path from the root on: FFmpeg takes what is before a colon for a protocol (``10:30.mp4``, ``http:a.mp4``).

    Unlike ``abspath`` it leaves ``link/..`` alone, which for the system is the folder above what the link leads to.
    """
    return os.path.join(os.getcwd(), path)


def check_file(path: str | Path) -> None:
    """That ``path`` is a file with something in it.

    Raises:
        VideoDecodeError: if it is missing, a folder, a pipe or device, a playlist, or empty.
    """
    try:
        if os.path.isdir(path):
            raise VideoDecodeError(path, "is a folder, not a video", "for folders of frames use reader frame_folder")
        facts = os.stat(path)
        if not stat.S_ISREG(facts.st_mode):
            raise VideoDecodeError(path, "is no file but a pipe, socket or device", "put the video itself there")
        if facts.st_size == 0:
            raise VideoDecodeError(path, "the file is empty", "fetch it again")
        with open(path, "rb") as file:
            playlist = file.read(8).startswith((b"#EXTM3U", b"ffconcat"))
        if playlist:  # FFmpeg would open what it names, and wait for ever for more of a live one
            raise VideoDecodeError(path, "is a playlist, which only names videos", "fetch the video itself")
    except OSError as error:
        raise missing_file(path, error) from error


def fill_missing(
    pixels: Pixels, wanted: Sequence[int], missing: Sequence[int], path: str, on_truncated: Damage
) -> list[int]:
    """Put the nearest readable frame in the place of damaged ones, if that is allowed.

    Args:
        pixels: ``[T, H, W, 3]``, changed in place.
        wanted: frame number of each row, rising.
        missing: rows that could not be decoded.
        path: for messages.
        on_truncated: ``raise``, or ``warn`` and go on.

    Returns:
        The frame number that each row now shows.

    Raises:
        VideoDecodeError: if ``raise``, or if no row could be decoded.
    """
    if not missing:
        return list(wanted)
    lost = set(missing)
    good = [row for row in range(len(wanted)) if row not in lost]
    cause = f"{len(missing)} of {len(wanted)} frames cannot be decoded, the first is frame {wanted[missing[0]]}"
    if on_truncated == "raise" or not good:
        cure = "fetch the file again" + ("" if not good else ", or set the reader's on_truncated to warn")
        raise VideoDecodeError(path, cause, cure)
    _log.warning("%s: %s; their neighbours stand in for them", path, cause)
    shown = list(wanted)
    for row in missing:
        stand_in = min(good, key=lambda other: (abs(wanted[other] - wanted[row]), other))
        pixels[row] = pixels[stand_in]
        shown[row] = wanted[stand_in]
    return shown


def misplaced(numbers: Sequence[int], shown: Sequence[float], info: VideoInfo) -> int | None:
    """The first frame whose time, as a library gives it, is more than half a frame off; ``None`` if there is none.

    Args:
        numbers: frame numbers.
        shown: seconds from the first frame of each of them, by the library.
        info: the video.
    """
    times = info.times
    for number, seconds in zip(numbers, shown, strict=True):
        neighbours = [times[i] for i in (number - 1, number + 1) if 0 <= i < len(times)]
        length = min((abs(other - times[number]) for other in neighbours), default=info.duration_s)
        if abs(seconds - times[number]) > length / 2:
            return number
    return None


def check_times(path: str, library: str, numbers: Sequence[int], shown: Sequence[float], info: VideoInfo) -> None:
    """That a library decoded the frames that were asked for; for the arguments see ``misplaced``.

    Raises:
        VideoDecodeError: if one is not the frame of its number.
    """
    wrong = misplaced(numbers, shown, info)
    if wrong is not None:
        cause = f"{library} gives another frame than frame {wrong}, which is at {info.times[wrong]:.3f} s"
        raise VideoDecodeError(path, cause, "use reader pyav")


def positive(name: str, value: float) -> None:
    """Raises ValueError unless ``value`` is a finite number above 0."""
    if isinstance(value, bool) or not math.isfinite(value) or value <= 0:
        raise ValueError(f"{name} must be above 0, got {value!r}")
