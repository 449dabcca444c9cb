"""torchcodec: PyTorch's own video decoder, always in its exact mode.

Its approximate mode returns wrong frames where the frame rate varies. Needs FFmpeg's shared libraries on the machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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


@registry.readers.register("torchcodec")
@dataclass(frozen=True)
class TorchCodecReader(VideoReader):
    """Reads through torchcodec 0.12 or newer; times come from the packets, as with ``pyav``.

    Args:
        stream: number of the stream in the file; ``None`` takes the one that players show.
    """

    stream: int | None = None

    def probe(self, path: str | Path) -> VideoInfo:
        return probe_packets(str(path), self.stream, "raise")

    def _decode(self, path: str, wanted: list[int], size: Size | None, info: VideoInfo) -> tuple[Pixels, Sequence[int]]:
        try:
            from torchcodec.decoders import VideoDecoder
            from torchcodec.transforms import Resize
        except (ImportError, RuntimeError) as error:  # the latter where FFmpeg's libraries are missing
            reason = str(error).strip().split("\n")[0]
            raise ImportError(
                f"reader torchcodec needs the package torchcodec and the libraries of FFmpeg 4 to 8 ({reason}); "
                "install both, or choose reader.name: pyav"
            ) from error
        if not info.index.pts:
            cause = "it has no frame times that hold, so that what torchcodec gives cannot be checked"
            raise VideoDecodeError(path, cause, "use reader pyav")
        resize = [] if size is None else [Resize(size=list(size))]
        try:
            decoder = VideoDecoder(
                whole_path(path),
                stream_index=info.index.stream,
                dimension_order="NHWC",
                num_ffmpeg_threads=1,
                seek_mode="exact",
                transforms=resize,
            )
            if len(decoder) != info.num_frames:
                cause = f"torchcodec finds {len(decoder)} frames where its packets hold {info.num_frames}"
                raise VideoDecodeError(path, cause, "use reader pyav")
            batch = decoder.get_frames_at(indices=wanted)
        except (RuntimeError, IndexError) as error:
            raise VideoDecodeError(path, f"torchcodec cannot read it ({error})", "try reader pyav") from error
        start = decoder.metadata.begin_stream_seconds
        if start is not None:
            check_times(path, "torchcodec", wanted, [float(seconds) - start for seconds in batch.pts_seconds], info)
        return np.ascontiguousarray(batch.data.numpy()), wanted
