"""decord, which CALCE, MR.BLIP, MeCo and HawkEye read videos with: their weights saw its frames.

As in CALCE the decoder resizes, to exactly the size asked for, without keeping the aspect ratio. It refuses truncated
files and AV1, and reads MPEG transport streams wrongly, so these are refused here. Of files trimmed by an edit list it
counts the hidden frames too, and repeats the last one for as many at the end. The package has wheels for x86-64 Linux
and Windows only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lavis.common.registry import registry
from lavis.processors.readers.base import Pixels, Size, VideoDecodeError, VideoInfo, VideoReader, check_file


@registry.readers.register("decord")
@dataclass(frozen=True)
class DecordReader(VideoReader):
    """Reads what decord 0.6 can; frame count, average rate and times are decord's own."""

    def probe(self, path: str | Path) -> VideoInfo:
        check_file(path)
        if _is_transport_stream(path):
            raise VideoDecodeError(path, "decord returns wrong frames of MPEG transport streams", "use reader pyav")
        with _errors(str(path)):
            video = _open(str(path), None)
            num_frames = len(video)
            if num_frames == 0:
                raise VideoDecodeError(path, "it has no frames", "fetch or re-encode it")
            spans = video.get_frame_timestamp(range(num_frames)).astype(np.float64)
            height, width = _array(video.get_batch([0])).shape[1:3]
            fps = float(video.get_avg_fps())
        times = (spans[:, 0] - spans[0, 0]).tolist()
        return VideoInfo(num_frames, fps, float(spans[-1, 1] - spans[0, 0]), width, height, times)

    def _decode(self, path: str, wanted: list[int], size: Size | None, info: VideoInfo) -> tuple[Pixels, Sequence[int]]:
        with _errors(path):
            pixels = _array(_open(path, size).get_batch(wanted))
        return pixels, wanted


def _open(path: str, size: Size | None) -> Any:
    try:
        from decord import VideoReader as DecordVideo
    except ImportError as error:
        raise ImportError("reader decord needs the package decord (pip install decord); pyav needs nothing") from error
    height, width = size or (-1, -1)
    return DecordVideo(path, width=width, height=height, num_threads=1)


def _is_transport_stream(path: str | Path) -> bool:
    """Whether packets of 188 bytes begin with the sync byte."""
    with open(path, "rb") as file:
        head = file.read(377)
    return len(head) == 377 and all(head[i] == 0x47 for i in (0, 188, 376))


def _array(batch: Any) -> Pixels:
    """decord hands out what its process-wide bridge says: its own arrays, or torch's."""
    array = batch.asnumpy() if hasattr(batch, "asnumpy") else np.asarray(batch)
    return np.ascontiguousarray(array, dtype=np.uint8)


@contextmanager
def _errors(path: str) -> Iterator[None]:
    """decord's errors as ``VideoDecodeError``; of its messages, which carry C++ traces, the first line says it all."""
    import decord

    try:
        yield
    except (RuntimeError, decord.DECORDError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = re.sub(r"\[[\d:]+\] \S+:\d+: ", "", lines[0])
        raise VideoDecodeError(path, f"decord cannot read it ({reason})", "try reader pyav") from error
