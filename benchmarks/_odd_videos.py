"""A catalogue of small odd videos, of which the true time of every picture is known.

Each picture carries its number (``_numbered.py``), so a reader can be asked which frame it returned. The catalogue goes
through what data sets hold: containers, codecs and rates, varying rate, late starts, edit lists, B-frames and open
groups of pictures, rotation, odd sizes, 10 bits, long groups and none, files that end too early, sound, single frames.
The same seed gives the same catalogue.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate, count, islice, product
from pathlib import Path

from benchmarks._numbered import TIME_BASE, shorten, trim, truncate, write_images, write_video

RATES = (Fraction(15000, 1001), Fraction(24000, 1001), Fraction(25), Fraction(30000, 1001), Fraction(60))
CODECS = {"libx264": "H.264", "libx265": "HEVC", "libvpx-vp9": "VP9", "libvpx": "VP8", "libsvtav1": "AV1"}
CODECS |= {"mpeg4": "MPEG-4", "mpeg2video": "MPEG-2", "mjpeg": "MJPEG"}
FREE_CLOCK = ("libx264", "libx265", "libvpx-vp9", "libvpx", "libsvtav1")
"""Encoders that take any clock; the others want one tick a frame."""


@dataclass(frozen=True)
class OddVideo:
    """One file of the catalogue.

    Args:
        kind: row of the table it belongs to.
        extension: of the file, which chooses the container; empty for a folder of pictures.
        codec: FFmpeg's name of the encoder; for a folder the extension of its pictures.
        fps: frames a second on average.
        num_frames: how many are encoded.
        size: height and width as shown.
        gop: frames between keyframes.
        b_frames: frames that refer to later ones.
        pattern: how frames follow each other, a key of ``PATTERNS``.
        start: seconds of the first frame.
        rotation: degrees counter-clockwise that a player turns the picture.
        audio: whether there is sound.
        pix_fmt: stored pixel format.
        hidden: frames at the start that an edit list cuts off.
        unused: frames at the end that an edit list cuts off.
        kept: part of the bytes that is there, 1 for all.
        options: of the container.
        encoding: further options of the encoder.
        seed: of what is drawn by chance.
    """

    kind: str
    extension: str = "mp4"
    codec: str = "libx264"
    fps: Fraction = Fraction(8)
    num_frames: int = 24
    size: tuple[int, int] = (64, 96)
    gop: int = 8
    b_frames: int = 2
    pattern: str = "steady"
    start: float = 0.0
    rotation: int = 0
    audio: bool = False
    pix_fmt: str = "yuv420p"
    hidden: int = 0
    unused: int = 0
    kept: float = 1.0
    options: tuple[tuple[str, str], ...] = ()
    encoding: tuple[tuple[str, str], ...] = ()
    seed: int = 0

    def times(self) -> list[float]:
        """Seconds of every encoded frame, as the encoder is told them."""
        steps = PATTERNS[self.pattern](random.Random(f"{self.seed} {self.pattern} {self.fps}"))
        seconds = accumulate((step / self.fps for step in steps), initial=Fraction(0))
        return [float(Fraction(self.start) + passed) for passed in islice(seconds, self.num_frames)]

    def shown(self) -> dict[int, float]:
        """Number drawn in each frame that is shown to its true seconds from the first one shown."""
        times = self.times()
        return {i: times[i] - times[self.hidden] for i in range(self.hidden, self.num_frames - self.unused)}

    def write(self, folder: Path, name: str) -> Path:
        """Makes the file ``folder/name``, with its extension.

        Raises:
            Exception: PyAV's, where its FFmpeg lacks the encoder.
        """
        if not self.extension:
            return write_images(folder / name, self.num_frames, self.size, self.codec)
        path = folder / f"{name}.{self.extension}"
        whole = path.with_stem(f"{name}_whole") if self.hidden or self.unused or self.kept < 1 else path
        stored = "yuvj420p" if self.codec == "mjpeg" else self.pix_fmt
        ticks = TIME_BASE if self.codec in FREE_CLOCK and self.extension != "avi" else 1 / self.fps
        write_video(
            whole, self.num_frames, self.fps, self.size, self.gop, self.b_frames, self.times(), self.rotation,
            self.audio, self.codec, None, dict(self.options), stored, ticks, dict(self.encoding),
        )  # fmt: skip
        if self.hidden:
            trim(whole, path, self.times()[self.hidden])
        elif self.unused:
            # Edit lists count milliseconds: a little early, lest a rounded end shows one frame more.
            shorten(whole, path, self.times()[-self.unused] - self.start - 0.002)
        elif self.kept < 1:
            truncate(whole, path, self.kept)
        if whole != path:
            whole.unlink()
        return path


Steps = Callable[[random.Random], Iterator[Fraction]]


def _steady(chance: random.Random) -> Iterator[Fraction]:
    return (Fraction(1) for _ in count())


def _rising(chance: random.Random) -> Iterator[Fraction]:
    return (Fraction(10 + i, 20) for i in count())


def _jitter(chance: random.Random) -> Iterator[Fraction]:
    return (Fraction(chance.randint(50, 150), 100) for _ in count())


def _pauses(chance: random.Random) -> Iterator[Fraction]:
    return (Fraction(chance.choice((1, 1, 1, 1, 12))) for _ in count())


def _two_rates(chance: random.Random) -> Iterator[Fraction]:
    return (Fraction(1) if i < 10 else Fraction(4) for i in count())


PATTERNS: dict[str, Steps] = {
    "steady": _steady, "rising": _rising, "jitter": _jitter, "pauses": _pauses, "two rates": _two_rates
}  # fmt: skip
"""Lengths of successive frames, in average frame lengths."""

FAST_START = (("movflags", "faststart"),)
FRAGMENTS = (("movflags", "frag_keyframe+delay_moov"),)


def catalogue(seed: int = 0) -> list[OddVideo]:
    """All of the corpus, in a fixed order."""
    groups = (
        _constant, _codecs, _variable, _late, _edited, _b_frames, _rotated, _odd_sizes, _deep, _gops, _cut_off, _sound,
        _single, _folders,
    )  # fmt: skip
    return [replace(video, seed=seed) for group in groups for video in group()]


def excerpt(videos: Sequence[OddVideo], per_kind: int) -> list[OddVideo]:
    """A few of each kind, evenly spread over it."""
    kinds: dict[str, list[OddVideo]] = {}
    for video in videos:
        kinds.setdefault(video.kind, []).append(video)
    return [
        group[i * len(group) // per_kind]
        for group in kinds.values()
        for i in range(per_kind)
        if per_kind <= len(group) or i < len(group)
    ]


def _constant() -> Iterator[OddVideo]:
    for extension, fps in product(("mp4", "mkv", "mov", "ts", "flv"), (Fraction(8), *RATES)):
        kind = "transport stream" if extension == "ts" else "constant rate"
        yield OddVideo(kind, extension, fps=fps)
    for codec, fps in product(("mpeg4", "mjpeg", "libx264"), RATES):
        yield OddVideo("AVI", "avi", codec, fps, b_frames=0)
    for extension, fps in product(("ts", "mpg"), (Fraction(24), Fraction(25), Fraction(50))):
        kind = "transport stream" if extension == "ts" else "program stream"
        yield OddVideo(kind, extension, "mpeg2video", fps, gop=12)
    end_of_clock = 2**33 / 90000  # seconds after which the clock of transport streams begins anew
    for b_frames in (0, 2):
        yield OddVideo(
            "transport stream", "ts", "libx264", Fraction(25), 100, start=end_of_clock - 2, b_frames=b_frames
        )


def _codecs() -> Iterator[OddVideo]:
    for codec in ("libx265", "libvpx-vp9", "libvpx", "libsvtav1", "mpeg4", "mjpeg"):
        webm = "webm" if CODECS[codec] in ("VP8", "VP9", "AV1") else "mov"
        containers = ("mkv", webm) if codec == "libvpx" else ("mp4", "mkv", webm)
        for extension, fps in product(containers, RATES[:4]):
            yield OddVideo(CODECS[codec], extension, codec, fps, b_frames=2 if codec == "libx265" else 0)


def _variable() -> Iterator[OddVideo]:
    patterns = [name for name in PATTERNS if name != "steady"]
    for extension, pattern, fps in product(("mp4", "mkv"), patterns, (Fraction(8), *RATES[2:4])):
        yield OddVideo("variable rate", extension, fps=fps, pattern=pattern)
    forms = (("libx265", "mp4"), ("libvpx-vp9", "webm"), ("libsvtav1", "mp4"), ("libx264", "ts"), ("libx264", "mov"))
    for (codec, extension), pattern in product(forms, patterns):
        kind = "transport stream" if extension == "ts" else "AV1" if codec == "libsvtav1" else "variable rate"
        b_frames = 0 if codec == "libvpx-vp9" else 2
        yield OddVideo(kind, extension, codec, Fraction(25), b_frames=b_frames, pattern=pattern)


def _late() -> Iterator[OddVideo]:
    for extension, start, pattern in product(("mp4", "mkv", "mov", "ts"), (0.5, 3.04, 1000.0), ("steady", "jitter")):
        kind = "transport stream" if extension == "ts" else "shifted start"
        yield OddVideo(kind, extension, fps=Fraction(25), start=start, pattern=pattern)
    for b_frames in (0, 3):
        yield OddVideo("shifted start", "mkv", "libx265", Fraction(25), start=7.0, b_frames=b_frames)
        yield OddVideo("shifted start", "mp4", audio=True, fps=Fraction(25), start=0.4, b_frames=b_frames)


def _edited() -> Iterator[OddVideo]:
    for extension, hidden, b_frames in product(("mp4", "mov"), (1, 4, 8, 13), (0, 2)):
        yield OddVideo("edit list", extension, fps=Fraction(25), hidden=hidden, b_frames=b_frames)
    for pattern, unused, b_frames in product(("steady", "jitter"), (1, 5, 14), (0, 2)):
        yield OddVideo("edit list", "mp4", fps=Fraction(25), unused=unused, b_frames=b_frames, pattern=pattern)
    for codec, hidden in product(("libx265", "mpeg4"), (5, 16)):
        yield OddVideo("edit list", "mp4", codec, Fraction(25), hidden=hidden, b_frames=0 if codec == "mpeg4" else 2)
    for pattern, hidden in product(("jitter", "pauses"), (3, 11)):
        yield OddVideo("edit list", "mp4", fps=Fraction(25), hidden=hidden, pattern=pattern)


def _b_frames() -> Iterator[OddVideo]:
    for extension, b_frames, pyramid in product(("mp4", "mkv"), (1, 3, 7), ("none", "strict", "normal")):
        encoding = (("b-pyramid", pyramid), ("preset", "veryfast"))
        yield OddVideo("B-frames", extension, "libx264", Fraction(25), 40, gop=16, b_frames=b_frames, encoding=encoding)
    for codec, extension, b_frames in product(("libx264", "libx265"), ("mp4", "mkv"), (2, 4)):
        inside = f"open-gop=1:repeat-headers=1:bframes={b_frames}"
        quiet = ":log-level=none:pools=none:frame-threads=1" if codec == "libx265" else ":b-adapt=0"
        encoding = (("x265-params" if codec == "libx265" else "x264-params", inside + quiet),)
        yield OddVideo("open groups", extension, codec, Fraction(25), 40, gop=9, b_frames=b_frames, encoding=encoding)


def _rotated() -> Iterator[OddVideo]:
    for extension, rotation, size in product(("mp4", "mov", "mkv"), (90, 180, 270), ((64, 96), (96, 80))):
        yield OddVideo("rotated", extension, rotation=rotation, size=size)
    for rotation in (90, 180, 270):
        yield OddVideo("rotated", "mp4", "libx265", rotation=rotation)


def _odd_sizes() -> Iterator[OddVideo]:
    sizes = ((65, 97), (67, 96), (64, 99), (81, 101))
    forms = (("libx264", "mp4"), ("libvpx-vp9", "webm"), ("mjpeg", "avi"), ("mpeg4", "mkv"))
    for (codec, extension), size in product(forms, sizes):
        stored = "yuv444p" if codec == "libx264" else "yuv420p"  # H.264 has no odd sizes with halved colour
        yield OddVideo("odd size", extension, codec, Fraction(25), size=size, pix_fmt=stored, b_frames=0)


def _deep() -> Iterator[OddVideo]:
    forms = (("libx264", "mp4"), ("libx264", "mkv"), ("libx265", "mp4"), ("libvpx-vp9", "webm"))
    for (codec, extension), fps in product(forms, RATES[1:4]):
        b_frames = 0 if codec == "libvpx-vp9" else 2
        yield OddVideo("10 bits", extension, codec, fps, pix_fmt="yuv420p10le", b_frames=b_frames)
    yield OddVideo("AV1", "mp4", "libsvtav1", Fraction(25), pix_fmt="yuv420p10le", b_frames=0)


def _gops() -> Iterator[OddVideo]:
    for extension, codec, fps in product(("mp4", "mkv"), ("libx264", "libx265"), (Fraction(25), Fraction(30000, 1001))):
        yield OddVideo("long groups", extension, codec, fps, num_frames=300, gop=250, b_frames=2)
        yield OddVideo("all intra", extension, codec, fps, gop=1, b_frames=0)
    for extension, gop in product(("mov", "ts"), (1, 100)):
        kind = "transport stream" if extension == "ts" else "long groups" if gop > 1 else "all intra"
        yield OddVideo(kind, extension, num_frames=120, gop=gop, b_frames=0)
    for extension, fps in product(("mp4", "mkv"), RATES[:2]):
        yield OddVideo("long groups", extension, "libvpx-vp9", fps, num_frames=150, gop=128, b_frames=0)


def _cut_off() -> Iterator[OddVideo]:
    forms = (("mp4", FAST_START), ("mp4", FRAGMENTS), ("mkv", ()), ("ts", ()), ("avi", ()), ("flv", ()), ("mp4", ()))
    for (extension, options), kept in product(forms, (0.4, 0.63, 0.9)):
        b_frames = 0 if extension == "avi" else 2
        codec = "mpeg4" if extension == "avi" else "libx264"
        yield OddVideo("truncated", extension, codec, Fraction(25), 60, kept=kept, options=options, b_frames=b_frames)
    for kept in (0.5, 0.8):
        yield OddVideo("truncated", "webm", "libvpx-vp9", Fraction(25), 60, kept=kept, b_frames=0)
        yield OddVideo("truncated", "mp4", "libx265", Fraction(25), 60, kept=kept, options=FAST_START)


def _sound() -> Iterator[OddVideo]:
    for extension, fps in product(("mp4", "mkv", "mov", "ts"), RATES[1:4]):
        kind = "transport stream" if extension == "ts" else "with sound"
        yield OddVideo(kind, extension, fps=fps, audio=True)
    for options, pattern in product((FAST_START, FRAGMENTS), ("steady", "jitter")):
        yield OddVideo("with sound", "mp4", fps=Fraction(25), audio=True, options=options, pattern=pattern)


def _single() -> Iterator[OddVideo]:
    for extension, codec in (("mp4", "libx264"), ("mkv", "libx264"), ("mov", "mjpeg"), ("mp4", "libx265")):
        yield OddVideo("single frame", extension, codec, num_frames=1, b_frames=0)
    yield OddVideo("single frame", "webm", "libvpx-vp9", num_frames=1, b_frames=0)
    yield OddVideo("single frame", "avi", "mpeg4", num_frames=1, b_frames=0)


def _folders() -> Iterator[OddVideo]:
    for extension, fps in product(("jpg", "png"), (Fraction(1), Fraction(3), RATES[3])):
        yield OddVideo("frame folder", "", extension, fps)
