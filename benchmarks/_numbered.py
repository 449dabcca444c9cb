"""Videos whose pictures show their own number, so that what a reader returns can be told from what it was asked for.

Used by the tests (``tests/video_factory.py``) and by ``benchmarks.timestamps``. Made with PyAV; no FFmpeg program.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

BITS = 10
TIME_BASE = Fraction(1, 12800)
QUIET = {
    "libx264": {"preset": "ultrafast", "crf": "18", "sc_threshold": "0"},
    "libx265": {"preset": "ultrafast", "crf": "18", "x265-params": "log-level=none:pools=none:frame-threads=1"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8"},
    "libsvtav1": {"preset": "12", "crf": "20", "svtav1-params": "lp=1"},
}
"""Options that make each encoder fast, one-threaded where it counts, and silent."""


def numbered_frame(number: int, width: int, height: int) -> npt.NDArray[np.uint8]:
    """A grey picture ``[height, width, 3]`` whose upper half is ``number`` in ten black and white stripes."""
    frame = np.full((height, width, 3), 96, dtype=np.uint8)
    frame[height // 2 :, :, 0] = np.linspace(0, 255, width, dtype=np.uint8)
    edges = np.linspace(0, width, BITS + 1).astype(int)
    for bit in range(BITS):
        frame[: height // 2, edges[bit] : edges[bit + 1]] = 255 if number >> bit & 1 else 0
    return frame


def number_of(frame: Tensor) -> int:
    """The number that a frame ``[3, H, W]`` carries; any size."""
    _, height, width = frame.shape
    row = frame.float().mean(0)[height // 8 : height // 3].mean(0)
    centres = ((np.arange(BITS) + 0.5) * width / BITS).astype(int)
    return sum(1 << bit for bit, x in enumerate(centres) if row[int(x)] > 128)


def write_video(
    path: Path,
    num_frames: int = 24,
    fps: float | Fraction = 8,
    size: tuple[int, int] = (64, 96),
    gop: int = 8,
    b_frames: int = 2,
    times: Sequence[float] | None = None,
    rotation: int = 0,
    audio: bool = False,
    codec: str = "libx264",
    container: str | None = None,
    options: dict[str, str] | None = None,
    pix_fmt: str = "yuv420p",
    time_base: Fraction = TIME_BASE,
    encoding: dict[str, str] | None = None,
) -> Path:
    """Encode numbered frames.

    Args:
        path: where to; its extension chooses the container.
        num_frames: how many.
        fps: frames a second.
        size: height and width as shown.
        gop: frames between keyframes.
        b_frames: frames that refer to later ones.
        times: seconds of each frame instead of a constant rate.
        rotation: degrees that a player has to turn the stored picture counter-clockwise, a multiple of 90.
        audio: add a tone as long as the video.
        codec: FFmpeg's name of the encoder.
        container: FFmpeg's name of the format, where the extension does not tell.
        options: for the container, such as ``{"movflags": "faststart"}``.
        pix_fmt: FFmpeg's name of the stored pixel format.
        time_base: seconds of a tick of the encoder's clock.
        encoding: further options for the encoder.
    """
    import av

    os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder prints its settings otherwise
    height, width = size if rotation % 180 == 0 else size[::-1]
    with av.open(str(path), "w", format=container, options=options or {}) as output:
        stream: Any = output.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.gop_size = gop
        stream.codec_context.max_b_frames = b_frames
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = time_base
        stream.options = {**QUIET.get(codec, {}), **(encoding or {})}
        if rotation:
            stream.set_display_rotation(rotation)
        sound = output.add_stream("aac", rate=16000, layout="mono") if audio else None
        for number in range(num_frames):
            picture = np.rot90(numbered_frame(number, size[1], size[0]), -rotation // 90)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            seconds = Fraction(times[number]) if times is not None else number / Fraction(fps)
            frame.pts, frame.time_base = round(seconds / time_base), time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
        if sound is not None:
            write_tone(output, sound, num_frames / float(fps))
    return path


def truncate(path: Path, target: Path, fraction: float = 0.6) -> Path:
    """The first part of a file, as an interrupted download leaves it."""
    data = path.read_bytes()
    target.write_bytes(data[: int(len(data) * fraction)])
    return target


def trim(path: Path, target: Path, seconds: float) -> Path:
    """A copy that is to be shown from ``seconds`` on, by an edit list: how editors trim without encoding again."""
    import av

    with av.open(str(path)) as source, av.open(str(target), "w") as output:
        stream = source.streams.video[0]
        copy = output.add_stream_from_template(stream)
        shift = int(seconds / stream.time_base)
        for packet in source.demux(stream):
            if packet.size:
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copy
                output.mux(packet)
    return target


def shorten(path: Path, target: Path, seconds: float) -> Path:
    """A copy of an MP4 file whose edit list ends after ``seconds``: how editors cut the end without encoding again."""
    data = bytearray(path.read_bytes())
    box = data.index(b"elst") + 4
    version, count = data[box], int.from_bytes(data[box + 4 : box + 8], "big")
    if version != 0 or count != 1:
        raise ValueError(f"{path}: the edit list has version {version} and {count} entries, not version 0 and one")
    data[box + 8 : box + 12] = round(seconds * 1000).to_bytes(4, "big")  # FFmpeg's movie clock has milliseconds
    target.write_bytes(data)
    return target


def write_images(folder: Path, num_frames: int = 6, size: tuple[int, int] = (64, 96), extension: str = "jpg") -> Path:
    """A folder of numbered frames, as frame extractors write them: ``1.jpg``, ``2.jpg``, ... ``10.jpg``."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for number in range(num_frames):
        Image.fromarray(numbered_frame(number, size[1], size[0])).save(folder / f"{number + 1}.{extension}")
    return folder


def write_tone(output: Any, stream: Any, seconds: float) -> None:
    """Sound for a stream of 16,000 mono samples a second."""
    import av

    samples = np.sin(np.arange(int(16000 * seconds)) * 0.2).astype(np.float32)[None]
    for start in range(0, samples.shape[1], 1024):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[:, start : start + 1024]), "fltp", "mono")
        frame.sample_rate, frame.pts = 16000, start
        output.mux(stream.encode(frame))
    output.mux(stream.encode())
