"""Frames per second of the video readers that are installed.

    python -m benchmarks.decode
    python -m benchmarks.decode --quick
    python -m benchmarks.decode --video FILE

Sparse reading, as models do it: 60 evenly spaced frames of one video, resized to 224 x 224, probing included, one
thread each, as in the workers of a loader. Beside the readers the libraries are measured as one uses them plainly, from
the opening of the file to the pixels (``_plain_decoding.py``), and the default reader decoding every frame, or resizing
after decoding. Bar: the default reader (pyav) is at least 0.9 times as fast as the fastest of the readers and of the
plain ways, in processor time, which other programs hardly change.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from benchmarks._common import Report, best_seconds, options
from benchmarks._plain_decoding import PLAIN
from benchmarks._runs import make_video
from lavis.common.registry import registry
from lavis.processors.samplers import Head
from lavis.processors.transforms import ClipEval

SIZE = (224, 224)
PACKAGES = {"pyav": "av", "decord": "decord", "torchcodec": "torchcodec", "opencv": "opencv-python-headless"}
DEFAULT = "pyav"
SPEED = 0.9
GROUPS = (250, 30)
"""Frames from one keyframe to the next: the encoder's default, and what streaming sites use."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options(__doc__, sizes=("tiny", "middle"))
    parser.add_argument("--video", type=Path, help="measure on this file instead of a made one")
    parser.add_argument("--num-frames", type=int, default=60)
    parsed = parser.parse_args(arguments)
    parsed.threads = 1
    report = Report("decode", parsed)
    repeats = parsed.repeats or (2 if parsed.quick else 5)
    with tempfile.TemporaryDirectory() as folder:
        for gop in (None,) if parsed.video else GROUPS:
            path = parsed.video or made(Path(folder, f"{gop}.mp4"), parsed.size, parsed.quick, gop)
            measure(report, path, f"a keyframe every {gop} frames" if gop else path.name, parsed.num_frames, repeats)
    return report.finish()


def measure(report: Report, path: Path, what: str, num_frames: int, repeats: int) -> None:
    """The table and the bar of one video."""
    info = registry.readers.get(DEFAULT)().probe(path)
    figures = {name: best_seconds(run, repeats) for name, run in methods(path, num_frames).items()}
    versions = ", ".join(f"{PACKAGES[name]} {metadata.version(PACKAGES[name])}" for name in figures if name in PACKAGES)
    report.line(
        f"{info.width}x{info.height}, {info.duration_s:.1f} s, {info.num_frames} frames, {what}; {num_frames} of them "
        f"to {SIZE[0]}x{SIZE[1]}, best of {repeats}; {versions}"
    )
    fastest = min(cpu for _, cpu in figures.values())
    report.line(f"{'method':26} {'wall ms':>9} {'cpu ms':>9} {'frames/s':>10}   speed against the fastest (cpu)")
    for name, (wall, cpu) in sorted(figures.items(), key=lambda item: item[1][1]):
        rate = num_frames / wall
        report.line(f"{name:26} {wall * 1000:9.0f} {cpu * 1000:9.0f} {rate:10.1f}   {fastest / cpu:.2f}")
    report.bar(f"speed of {DEFAULT} against the fastest, {what}", fastest / figures[DEFAULT][1], least=SPEED)


def made(path: Path, size: str, quick: bool, gop: int = GROUPS[0]) -> Path:
    """A video as long as those of QVHighlights, or a short one."""
    seconds, width, height = (2, 64, 48) if size == "tiny" else (20, 320, 180) if quick else (150, 640, 360)
    return make_video(path, seconds, width, height, gop=gop)


def methods(path: Path, num_frames: int) -> dict[str, Callable[[], torch.Tensor]]:
    """Name to what is measured; readers whose package is absent are left out."""
    measured: dict[str, Callable[[], torch.Tensor]] = {}
    for name, package in PACKAGES.items():
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
        reader = registry.readers.get(name)()
        measured[name] = lambda reader=reader: through(reader, path, num_frames)
        measured[f"plain {name}"] = lambda plain=PLAIN[name]: plain(str(path), num_frames, SIZE)
    pyav = registry.readers.get("pyav")()
    measured["pyav, resized afterwards"] = lambda: through(pyav, path, num_frames, resize_later=True)
    measured["pyav, every frame"] = lambda: decode_everything(path, num_frames)
    return measured


def through(reader: Any, path: Path, num_frames: int, resize_later: bool = False) -> torch.Tensor:
    """Probe, choose, read."""
    info = reader.probe(path)
    indices = Head(num_frames).indices(info)
    frames, _ = reader.read(path, indices, size=None if resize_later else SIZE, info=info)
    return ClipEval(SIZE[0])(frames) if resize_later else frames


def decode_everything(path: Path, num_frames: int) -> torch.Tensor:
    """What a reader without an index does."""
    reader = registry.readers.get("pyav")()
    info = reader.probe(path)
    return reader.read(path, range(info.num_frames), size=SIZE, info=info)[0][Head(num_frames).indices(info)]


if __name__ == "__main__":
    sys.exit(main())
