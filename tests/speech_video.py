"""Videos in which somebody speaks, or a tone sounds: a picture track and given samples, made with PyAV."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from tests.video_factory import numbered_frame

RATE = 16_000


def write_speech_video(
    path: Path,
    samples: Any,
    *,
    picture_start: float = 0.0,
    sound_start: float = 0.0,
    seconds: float | None = None,
    sound: str = "aac",
    fps: int = 5,
) -> Path:
    """A video of numbered pictures with sound.

    Args:
        path: where to; its extension chooses the container.
        samples: ``[N]`` float, mono, 16,000 a second.
        picture_start, sound_start: second of the file's clock of the first picture and the first sample.
        seconds: of pictures; by default as long as the sound.
        sound: FFmpeg's name of the encoder.
    """
    import av

    with av.open(str(path), "w") as output:
        video: Any = output.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "tune": "zerolatency"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        audio: Any = output.add_stream(sound, rate=RATE, layout="mono")
        for number in range(round((seconds or len(samples) / RATE) * fps)):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number, 64, 48), format="rgb24")
            frame.pts, frame.time_base = round((picture_start + number / fps) * 1000), Fraction(1, 1000)
            output.mux(video.encode(frame))
        output.mux(video.encode())
        data = np.asarray(samples, np.float32)[None]
        form = audio.codec_context.format.name
        converter = av.AudioResampler(format=form, layout="mono", rate=RATE)
        for start in range(0, data.shape[1], 1024):
            piece = av.AudioFrame.from_ndarray(np.ascontiguousarray(data[:, start : start + 1024]), "fltp", "mono")
            piece.sample_rate, piece.time_base = RATE, Fraction(1, RATE)
            piece.pts = start + round(sound_start * RATE)
            for made in converter.resample(piece):
                output.mux(audio.encode(made))
        output.mux(audio.encode())
    return path


def bursts(seconds: float, at: tuple[float, ...], length: float = 0.2) -> Any:
    """Silence with short tones that begin at the given seconds."""
    samples = np.zeros(round(seconds * RATE), np.float32)
    tone = 0.5 * np.sin(np.arange(round(length * RATE)) * 0.5).astype(np.float32)
    for second in at:
        start = round(second * RATE)
        samples[start : start + len(tone)] += tone
    return samples


def onsets(samples: Any, quiet_s: float = 0.3) -> list[float]:
    """Seconds at which it becomes loud."""
    loud = np.flatnonzero(np.abs(samples) > 0.1)
    first = loud[np.diff(loud, prepend=-RATE * 10) > quiet_s * RATE]
    return [float(i) / RATE for i in first]
