"""What is said in a video, as samples that speech models take, in step with its pictures.

Ours, with PyAV; no FFmpeg program is needed. Sample ``i`` belongs to second ``i / 16000`` from the first picture that
is shown, which is where the video readers count from: transcribers that take a file count from the first sound instead,
and are off by the difference in clips that were cut out of a longer stream.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lavis.processors.readers._packets import FILES_ALONE, packets_of
from lavis.processors.readers._unstamped import has_chunks
from lavis.processors.readers.base import VideoDecodeError, check_file, whole_path

RATE = 16_000
"""Samples a second of what Whisper takes."""

_GAP_S = 0.05
"""Jumps of the clock below this are jitter of the file's time stamps, not a piece of sound that is missing."""
_MAX_GAP_S = 3600.0
_STATED_TOLERANCE_S = 2.0

_log = logging.getLogger(__name__)

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Sound:
    """The sound of one file.

    Args:
        samples: ``[N]``, mono, 16,000 a second, -1 to 1; the first belongs to the first picture. ``None`` if there is
            no sound in the file.
        duration_s: seconds from the first picture to the end of the last, or of the sound where there is no picture.
        damaged: packets of sound that could not be decoded; silence stands in their place.
    """

    samples: Samples | None
    duration_s: float
    damaged: int = 0


def read_sound(path: str | Path, *, on_truncated: Literal["raise", "warn"] = "raise") -> Sound:
    """The sound of a video, or of a file that has nothing else.

    Args:
        path: the file.
        on_truncated: what to do with a file whose sound ends earlier than the file says.

    Raises:
        VideoDecodeError: if the file cannot be read, none of its sound can be decoded, or it is truncated.
    """
    import av

    check_file(path)
    try:
        with av.open(whole_path(path), options=FILES_ALONE) as container:
            return _read(container, str(path), on_truncated)
    except av.FFmpegError as error:
        raise VideoDecodeError(path, f"not a readable video ({error.strerror})", "fetch or re-encode it") from error


def _read(container: Any, path: str, on_truncated: str) -> Sound:
    import av

    audio, video = container.streams.best("audio"), container.streams.best("video")
    if video is not None and video.disposition & av.stream.Disposition.attached_pic:
        video = None  # the cover of an album
    if audio is None and video is None:
        raise VideoDecodeError(path, "there is neither picture nor sound in it", "fetch the file again")
    pictures = _Pictures(has_chunks(container))
    track = _Track(path)
    for packet in packets_of(container, [stream for stream in (video, audio) if stream is not None]):
        if audio is not None and packet.stream.index == audio.index:
            track.take(packet)
        else:
            pictures.take(packet)
    start_s, end_s = pictures.span(video.time_base) if video is not None else (None, 0.0)
    if audio is None:
        return Sound(None, end_s - (start_s or 0.0))
    samples = track.from_second(start_s)
    _check_end(audio, track, path, on_truncated)
    duration_s = end_s - start_s if start_s is not None else len(samples) / RATE
    return Sound(samples, duration_s, track.damaged)


@dataclass(slots=True)
class _Pictures:
    """Where the pictures begin and end, by the rules of the readers (``_packets.py``), from packets alone.

    ``chunked``: the format has no times of presentation.
    """

    chunked: bool
    keyframes: list[int] = field(default_factory=list)
    shown: list[tuple[int, int]] = field(default_factory=list)

    def take(self, packet: Any) -> None:
        stamp = packet.dts if self.chunked and packet.dts is not None else packet.pts
        if packet.size == 0 or packet.is_corrupt or stamp is None:
            return
        if packet.is_keyframe:
            self.keyframes.append(stamp)
        if not packet.is_discard:
            self.shown.append((stamp, packet.duration or 0))

    def span(self, time_base: Any) -> tuple[float | None, float]:
        """Second of the first picture, ``None`` if that is unknown, and of the end of the last."""
        first = min(self.keyframes, default=-math.inf)
        kept = [(pts, length) for pts, length in self.shown if pts >= first]
        if not kept:
            return None, 0.0
        return float(min(kept)[0] * time_base), float(max(pts + length for pts, length in kept) * time_base)


class _Track:
    """Sound as it comes out of the decoder, resampled, each piece at its own time."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.damaged = 0
        self.start_s: float | None = None
        self._pieces: list[Samples] = []
        self._count = 0
        self._clock_s = 0.0
        self._form: tuple[Any, ...] = ()
        self._resampler: Any = None

    def take(self, packet: Any) -> None:
        import av

        try:
            frames = packet.decode()
        except av.error.EOFError:
            return
        except av.FFmpegError:
            self.damaged += 1
            return
        for frame in frames:
            self._add(frame)

    def _add(self, frame: Any) -> None:
        if frame.samples == 0:
            return
        length = frame.samples / frame.sample_rate
        at = float(frame.pts * frame.time_base) if frame.pts is not None else self._clock_s
        form = (frame.sample_rate, frame.layout.name, frame.format.name)
        if self.start_s is None:
            self.start_s = self._clock_s = at
        jump = at - self._clock_s
        if jump < -_GAP_S:
            return  # a piece that comes twice
        if jump > _GAP_S or form != self._form:
            self._restart(form, at)
        frame.pts = None  # the place is known; the resampler is to make of its samples what they are, no more
        self._keep(self._resampler.resample(frame))
        self._clock_s = (at if abs(jump) > _GAP_S else self._clock_s) + length

    def _restart(self, form: tuple[Any, ...], at: float) -> None:
        import av

        self.flush()
        self._form = form
        self._resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
        missing = round((at - (self.start_s or 0.0)) * RATE) - self._count
        if missing > _MAX_GAP_S * RATE:
            cause = f"its sound jumps by {missing / RATE:.0f} s at {self._count / RATE:.0f} s"
            raise VideoDecodeError(self.path, cause, "re-encode it")
        if missing > 0:
            self._pieces.append(np.zeros(missing, np.float32))
            self._count += missing

    def flush(self) -> None:
        """Gets what the resampler holds back."""
        if self._resampler is not None:
            self._keep(self._resampler.resample(None))
            self._resampler, self._form = None, ()

    def _keep(self, frames: list[Any]) -> None:
        for frame in frames:
            piece = frame.to_ndarray().reshape(-1)
            self._pieces.append(piece)
            self._count += len(piece)

    @property
    def end_s(self) -> float:
        """Second of the file's clock where the sound ends."""
        return self._clock_s

    def from_second(self, start_s: float | None) -> Samples:
        """All samples from a second of the file's clock on; silence where there are none yet."""
        self.flush()
        if self.start_s is None:
            if self.damaged:
                raise VideoDecodeError(self.path, "none of its sound can be decoded", "fetch or re-encode it")
            return np.zeros(0, np.float32)
        samples = np.concatenate(self._pieces) if self._pieces else np.zeros(0, np.float32)
        self._pieces = []
        lead = round((self.start_s - (self.start_s if start_s is None else start_s)) * RATE)
        if lead > _MAX_GAP_S * RATE:
            cause = f"its sound begins {lead / RATE:.0f} s after its pictures"
            raise VideoDecodeError(self.path, cause, "re-encode it")
        return np.concatenate([np.zeros(lead, np.float32), samples]) if lead > 0 else samples[-lead:]


def _check_end(audio: Any, track: _Track, path: str, on_truncated: str) -> None:
    """That the sound is as long as the file says, where it says so (MP4 and its kin)."""
    if audio.duration is None or track.start_s is None:
        return
    stated = float(audio.duration * audio.time_base)
    length = track.end_s - track.start_s
    if stated - length <= max(_STATED_TOLERANCE_S, 0.02 * stated):
        return
    cause = f"its sound ends after {length:.1f} of {stated:.1f} s"
    if on_truncated == "raise":
        raise VideoDecodeError(path, cause, "fetch it again, or allow it (--on-truncated warn)")
    _log.warning("%s: %s; only that is used", path, cause)
