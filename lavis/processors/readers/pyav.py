"""PyAV, the default reader: exact frames, one pass over each group of pictures, resized inside the decoder.

Written for this project; it needs no FFmpeg program. Unlike ``decord``, which the original systems use, it copes with
AV1, truncated files and damaged packets. With ``bilinear``, which is what decord's resizing does, frames differ from
decord's by a third of a grey level on average.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lavis.common.registry import registry
from lavis.processors.readers._packets import PacketIndex, decoded_frames, open_video, probe_packets
from lavis.processors.readers.base import Damage, Pixels, Size, VideoInfo, VideoReader, fill_missing

_GUESSED_AFTER_SEEKING = frozenset({"mpeg"})
"""Containers where few packets have stamps (program streams): after a jump FFmpeg guesses them, at times wrongly."""

_FAR_S = 3600
"""Seconds before the first keyframe that surely are before the beginning of the file."""


@registry.readers.register("pyav")
@dataclass(frozen=True)
class PyAVReader(VideoReader):
    """Reads whatever FFmpeg can.

    Args:
        interpolation: how frames are resized.
        on_truncated: what to do with a file that ends too early or is damaged inside: refuse it, or warn and use what
            is there (the nearest readable frame, with its own time, in the place of a damaged one).
        stream: number of the stream in the file; ``None`` takes the one that players show.
    """

    interpolation: Literal["bilinear", "bicubic", "area", "lanczos"] = "bilinear"
    on_truncated: Damage = "raise"
    stream: int | None = None

    def probe(self, path: str | Path) -> VideoInfo:
        return probe_packets(str(path), self.stream, self.on_truncated)

    def _decode(self, path: str, wanted: list[int], size: Size | None, info: VideoInfo) -> tuple[Pixels, Sequence[int]]:
        from av.video.reformatter import VideoReformatter

        index: PacketIndex = info.index
        height, width = size or (info.height, info.width)
        turns = index.rotation // 90
        shape = (height, width) if turns % 2 == 0 else (width, height)  # before the rotation
        pixels = np.empty((len(wanted), height, width, 3), dtype=np.uint8)
        scaler = VideoReformatter()  # keeps its tables from frame to frame
        missing = []
        with open_video(path, index.stream) as (container, stream):
            walk = _at_stamps if index.pts else _by_counting
            for row, frame in enumerate(walk(container, stream, index, wanted)):
                if frame is None:
                    missing.append(row)
                    continue
                scaled = scaler.reformat(
                    frame, shape[1], shape[0], "rgb24", interpolation=self.interpolation.upper(), threads=1
                )
                pixels[row] = np.rot90(scaled.to_ndarray(), turns)
        return pixels, fill_missing(pixels, wanted, missing, path, self.on_truncated)


def _at_stamps(container: Any, stream: Any, index: PacketIndex, wanted: list[int]) -> Iterator[Any]:
    """The wanted frames, ``None`` for one that is damaged; seeks only where that skips something."""
    frames = decoded_frames(container, stream)
    seekable = container.format.name not in _GUESSED_AFTER_SEEKING
    pending: Any = None
    position = -1  # number of the last wanted frame
    for number in wanted:
        target = index.pts[number]
        key = index.keyframe_before(target)
        if seekable and index.keyframes[key] > index.pts[max(position, 0)] and position < number - 1:
            frames = _seek(container, stream, index, key, target)
            pending = None
        while pending is None or pending.pts < target:
            pending = next(frames, None)
            if pending is None:
                break
        position = number
        yield pending if pending is not None and pending.pts == target else None


def _seek(container: Any, stream: Any, index: PacketIndex, key: int, target: int) -> Iterator[Any]:
    """Frames from a keyframe on that is not after ``target``.

    Seeking is imprecise in some containers (MPEG-TS) and may land too late, and after a jump a decoder may hold frames
    back until all of the picture is renewed; then an earlier keyframe is tried, and last the beginning of the file.
    """
    starts = [index.keyframes[max(0, key - back)] for back in (0, 1, 2, 4, 8, key)]
    for start in (*starts, index.keyframes[0] - round(_FAR_S / stream.time_base)):
        container.seek(start, stream=stream)
        frames = decoded_frames(container, stream)
        first = next(frames, None)
        if first is not None and first.pts <= target:
            return _chain(first, frames)
    return iter(())


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _by_counting(container: Any, stream: Any, index: PacketIndex, wanted: list[int]) -> Iterator[Any]:
    """The wanted frames of a file without usable stamps: decodes everything up to the last of them."""
    frames = enumerate(decoded_frames(container, stream))
    for number in wanted:
        yield next((frame for i, frame in frames if i == number), None)
