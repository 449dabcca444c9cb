"""Evenly spaced frames with each library, written as its users would: what the readers are measured against.

None of this asks whether the frames are the right ones; see ``benchmarks.timestamps`` for that.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


def spread(total: int, num_frames: int) -> list[int]:
    """The first frame of each of ``num_frames`` equal parts."""
    return np.linspace(0, total, num_frames + 1).astype(int)[:-1].tolist()


def plain_pyav(path: str, num_frames: int, size: tuple[int, int]) -> Tensor:
    """All frames are decoded, the wanted ones resized by FFmpeg."""
    import av

    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        wanted = set(spread(stream.frames, num_frames))
        frames = [
            frame.to_ndarray(width=size[1], height=size[0], format="rgb24")
            for number, frame in enumerate(container.decode(stream))
            if number in wanted
        ]
    return torch.from_numpy(np.stack(frames))


def plain_torchcodec(path: str, num_frames: int, size: tuple[int, int]) -> Tensor:
    """By number, resized in the decoder."""
    from torchcodec.decoders import VideoDecoder
    from torchcodec.transforms import Resize

    decoder = VideoDecoder(path, num_ffmpeg_threads=1, transforms=[Resize(size=list(size))])
    frames: Tensor = decoder.get_frames_at(indices=spread(len(decoder), num_frames)).data
    return frames


def plain_decord(path: str, num_frames: int, size: tuple[int, int]) -> Tensor:
    """By number, resized in the decoder."""
    from decord import VideoReader

    video = VideoReader(path, width=size[1], height=size[0], num_threads=1)
    return torch.from_numpy(video.get_batch(spread(len(video), num_frames)).asnumpy())


def plain_opencv(path: str, num_frames: int, size: tuple[int, int]) -> Tensor:
    """Jumps to each frame by number."""
    import cv2

    capture = cv2.VideoCapture(path)
    frames = []
    for number in spread(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), num_frames):
        capture.set(cv2.CAP_PROP_POS_FRAMES, number)
        _, frame = capture.read()
        frames.append(cv2.cvtColor(cv2.resize(frame, size[::-1]), cv2.COLOR_BGR2RGB))
    capture.release()
    return torch.from_numpy(np.stack(frames))


PLAIN: dict[str, Callable[[str, int, tuple[int, int]], Tensor]] = {
    "pyav": plain_pyav,
    "torchcodec": plain_torchcodec,
    "decord": plain_decord,
    "opencv": plain_opencv,
}
"""Reader to the plain use of its library: ``(path, frames, (height, width))``."""
