"""decord, which CALCE, MR.BLIP, MeCo and HawkEye read videos with: their weights saw its frames.

As in CALCE the decoder resizes, to exactly the size asked for, without keeping the aspect ratio. It refuses AV1 and
most truncated files. Some files it reads wrongly without a word, so these are refused here unless told otherwise:
transport streams, Windows Media (wrong after a jump), files trimmed by an edit list (it counts the hidden frames, and
repeats the last one for as many at the end), H.264 in AVI (all times are 0), turned pictures in Matroska (it does not
turn them), open groups of pictures, usual in HEVC (it miscounts after a jump), and several streams of video. There are
wheels for x86-64 Linux and Windows only.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lavis.common.registry import registry
from lavis.processors.readers._packets import probe_packets
from lavis.processors.readers.base import (
    Damage,
    Pixels,
    Size,
    VideoDecodeError,
    VideoInfo,
    VideoReader,
    misplaced,
    whole_path,
)

_CURE = "use reader pyav, or set the reader's on_mismatch to warn to get what decord gives"

_WRONG = {"mpegts": "MPEG transport streams", "asf": "Windows Media files"}
"""By FFmpeg's name of the format."""

_BELIEVABLE = 16
"""Times the frames that are there; the head of a recording that was broken off may state a thousand million."""

_log = logging.getLogger(__name__)


@registry.readers.register("decord")
@dataclass(frozen=True)
class DecordReader(VideoReader):
    """Reads what decord 0.6 can; frame count, average rate and times are decord's own, once the packets confirm them.

    Args:
        on_mismatch: what to do with a file whose frames or times decord gets wrong: refuse it, or warn and take what
            decord gives, as published weights saw it.
    """

    on_mismatch: Damage = "raise"

    def probe(self, path: str | Path) -> VideoInfo:
        packets = probe_packets(str(path), None, self.on_mismatch)
        if packets.index.stated_frames > _BELIEVABLE * (packets.num_frames + 100):
            cause = f"its head speaks of {packets.index.stated_frames} frames, for which decord wants memory"
            raise VideoDecodeError(path, cause, "use reader pyav, or write the file anew")
        doubt = _known_fault(packets)
        if doubt and self.on_mismatch == "raise":
            raise VideoDecodeError(path, doubt, _CURE)
        info = self._own_info(path)
        doubt = doubt or _doubt(info, packets)
        if doubt and self.on_mismatch == "raise":
            raise VideoDecodeError(path, doubt, _CURE)
        if doubt:
            _log.warning("%s: %s; its frames are used as they come", path, doubt)
        return info

    def _own_info(self, path: str | Path) -> VideoInfo:
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
    return DecordVideo(whole_path(path), width=width, height=height, num_threads=1)


def _known_fault(packets: VideoInfo) -> str:
    """What decord is known to get wrong of such a file; empty for nothing."""
    index = packets.index
    if index.container in _WRONG:
        return f"decord returns wrong frames of {_WRONG[index.container]}"
    if index.videos > 1:
        return f"it has {index.videos} streams of video, and decord may take another than players show"
    if index.open_groups:
        return "decord miscounts the frames of open groups of pictures"
    if index.rotation and index.container.startswith("matroska"):
        return "decord does not turn the pictures of Matroska files"
    return ""


def _doubt(info: VideoInfo, packets: VideoInfo) -> str:
    """What decord says of a file that its packets do not; empty for nothing."""
    if info.num_frames != packets.num_frames:
        return f"decord finds {info.num_frames} frames where {packets.num_frames} are shown"
    wrong = misplaced(range(info.num_frames), info.times, packets)
    if wrong is not None:
        return f"decord says frame {wrong} is at {info.times[wrong]:.3f} s, not {packets.times[wrong]:.3f} s"
    return ""


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
