"""OpenCV, decoding from the start: MMDuet reads its videos this way.

Seeking by frame number is never used: OpenCV then returns wrong frames without saying so. It passes over damaged parts
in silence, so the time it gives for each frame is compared with that of the packets. It cannot read AV1, and what it
gives of interlaced video (OpenCV 5.0) or takes of several streams cannot be known, so these are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lavis.common.registry import registry
from lavis.processors.readers._packets import probe_packets
from lavis.processors.readers.base import (
    Pixels,
    Size,
    VideoDecodeError,
    VideoInfo,
    VideoReader,
    check_times,
    whole_path,
)


@registry.readers.register("opencv")
@dataclass(frozen=True)
class OpenCVReader(VideoReader):
    """Reads through ``cv2.VideoCapture``; times come from the packets, as with ``pyav``."""

    def probe(self, path: str | Path) -> VideoInfo:
        info = probe_packets(str(path), None, "raise")
        if info.index.interlaced:
            raise VideoDecodeError(
                path, "some versions of OpenCV give random pixels of interlaced video", "use reader pyav"
            )
        if info.index.videos > 1:
            cause = f"it has {info.index.videos} streams of video, and OpenCV may take another than players show"
            raise VideoDecodeError(path, cause, "use reader pyav")
        return info

    def _decode(self, path: str, wanted: list[int], size: Size | None, info: VideoInfo) -> tuple[Pixels, Sequence[int]]:
        try:
            import cv2
        except ImportError as error:
            raise ImportError("reader opencv needs OpenCV (pip install opencv-python-headless)") from error
        height, width = size or (info.height, info.width)
        pixels = np.empty((len(wanted), height, width, 3), dtype=np.uint8)
        shown: list[float] = []
        capture: Any = cv2.VideoCapture(whole_path(path))
        try:
            row = 0
            for number in range(wanted[-1] + 1):
                if not capture.grab():
                    raise VideoDecodeError(path, f"OpenCV cannot read past frame {number - 1}", "try reader pyav")
                if number != wanted[row]:
                    continue
                ok, frame = capture.retrieve()
                if not ok:
                    raise VideoDecodeError(path, f"OpenCV cannot decode frame {number}", "try reader pyav")
                resized = frame if size is None else cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
                pixels[row] = resized[:, :, ::-1]
                shown.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
                row += 1
        finally:
            capture.release()
        if info.index.pts:
            check_times(path, "OpenCV", wanted, shown, info)
        return pixels, wanted
