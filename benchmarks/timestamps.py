"""Whether every reader returns the frames it is asked for, with their true times, on a corpus of odd videos.

    python -m benchmarks.timestamps
    python -m benchmarks.timestamps --quick

More than 300 small files are made whose pictures show their own number (``_odd_videos.py``). Each reader that is
installed is asked for all frames by number, for some of them small and out of order, and for frames by time. A frame is
wrong if the time that comes with it, or the time it was asked for, is more than half a frame interval from when it is
shown. Bars: no wrong frame of any reader, no complete file that the default reader (pyav) refuses, and readers agree
within half an interval. A reader may refuse a file with a typed error; it may not return a wrong frame.

``pyav, warn`` reads truncated files as far as they go; ``decord, unchecked``, for information, is decord without the
checks of our reader.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks._common import Report, options
from benchmarks._make_odd_videos import make
from benchmarks._odd_videos import OddVideo
from benchmarks._true_times import Findings, Truth, disagreement, examine, without_warnings
from lavis.common.registry import registry
from lavis.processors.readers.base import VideoReader
from lavis.processors.readers.frame_folder import FrameFolderReader

DEFAULT = "pyav"
PACKAGES = {"pyav": "av", "torchcodec": "torchcodec", "decord": "decord", "opencv": "cv2"}
VARIANTS = {
    "pyav, warn": ("pyav", {"on_truncated": "warn"}),
    "decord, unchecked": ("decord", {"on_mismatch": "warn"}),
}
FILES = 300
WRONG = 0


@dataclass
class Row:
    """What a reader did with the files of one kind."""

    files: int = 0
    frames: int = 0
    wrong: int = 0
    worst: float = 0.0
    refused: int = 0

    def add(self, found: Findings) -> None:
        """Counts one file."""
        self.files += 1
        self.frames += found.frames
        self.wrong += found.wrong
        self.worst = max(self.worst, found.worst)
        self.refused += bool(found.refused)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options(__doc__, sizes=())
    parser.add_argument("--seed", type=int, default=0, help="of the corpus")
    parser.add_argument("--per-kind", type=int, help="files of each kind; by default all, with --quick 3")
    parsed = parser.parse_args(arguments)
    parsed.threads = 1
    report = Report("timestamps", parsed)
    per_kind = parsed.per_kind or (3 if parsed.quick else None)
    readers, absent = installed()
    rows: dict[tuple[str, str], Row] = {}
    notes: list[str] = []
    apart: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, without_warnings():
        made, left_out = make(Path(folder), parsed.seed, per_kind)
        for video, path in made:
            examined = {name: examine(reader, path, truth_of(video)) for name, reader in suited(video, readers).items()}
            for name, found in examined.items():
                rows.setdefault((name, video.kind), Row()).add(found)
                notes += [f"  {name}, {video.kind}, {path.name} ({video.codec}): {note}" for note in found.notes[:1]]
            apart.update(differences(examined))
    for reason in (*absent, *left_out):
        report.line(f"left out: {reason}")
    report.line(", ".join(f"{package} {version_of(package)}" for name, package in PACKAGES.items() if name in readers))
    report.line(f"{len(made)} files of {len({video.kind for video, _ in made})} kinds, seed {parsed.seed}")
    table(report, rows)
    for note in [note for note in notes if not note.startswith("  decord, unchecked")][:20]:
        report.line(note)
    judge(report, rows, apart, len(made), whole=per_kind is None)
    return report.finish()


def installed() -> tuple[dict[str, VideoReader], list[str]]:
    """Readers whose package works here, and why the others are left out."""
    readers: dict[str, VideoReader] = {}
    absent = []
    for name, package in PACKAGES.items():
        try:
            importlib.import_module(package)
        except (ImportError, RuntimeError, OSError) as error:  # the latter two where FFmpeg's libraries are missing
            absent.append(f"reader {name} ({str(error).strip().splitlines()[0]})")
            continue
        readers[name] = registry.readers.get(name)()
    for name, (base, settings) in VARIANTS.items():
        if base in readers:
            readers[name] = registry.readers.get(base)(**settings)
    return readers, absent


def version_of(package: str) -> str:
    """Of an imported package."""
    return str(getattr(sys.modules[package], "__version__", "of unknown version"))


def truth_of(video: OddVideo) -> Truth:
    """When the frames of a video are shown."""
    return Truth(video.shown(), float(1 / video.fps), complete=video.kept == 1)


def suited(video: OddVideo, readers: dict[str, VideoReader]) -> dict[str, VideoReader]:
    """The readers that a file is for."""
    if not video.extension:
        return {"frame_folder": FrameFolderReader(float(video.fps))}
    return {name: reader for name, reader in readers.items() if name != "pyav, warn" or video.kept < 1}


def differences(examined: dict[str, Findings]) -> Counter[str]:
    """Frames whose times differ from those of the default reader, by reader."""
    ours = examined.get(DEFAULT)
    if ours is None or ours.refused:
        return Counter()
    return Counter(
        {
            name: disagreement(ours.times, found.times)
            for name, found in examined.items()
            if not found.refused and name not in VARIANTS
        }
    )


def table(report: Report, rows: dict[tuple[str, str], Row]) -> None:
    """A line for each reader and kind, and one for each reader."""
    report.line(f"{'reader':18} {'kind':18} {'files':>5} {'refused':>8} {'frames':>7} {'wrong':>6} {'worst error':>12}")
    for reader in dict.fromkeys(name for name, _ in rows):
        mine = {kind: row for (name, kind), row in rows.items() if name == reader}
        total = Row(
            sum(row.files for row in mine.values()),
            sum(row.frames for row in mine.values()),
            sum(row.wrong for row in mine.values()),
            max(row.worst for row in mine.values()),
            sum(row.refused for row in mine.values()),
        )
        for kind, row in ({**mine, "all": total} if len(mine) > 1 else mine).items():
            report.line(
                f"{reader:18} {kind:18} {row.files:5} {row.refused:8} {row.frames:7} {row.wrong:6} {row.worst:12.4g}"
            )
    report.line("worst error: of a frame's time, in intervals between frames; refused: with a typed error")


def judge(report: Report, rows: dict[tuple[str, str], Row], apart: Counter[str], files: int, whole: bool) -> None:
    """The bars."""
    if whole:
        report.bar("files", files, least=FILES)
    for reader in dict.fromkeys(name for name, _ in rows):
        if reader == "decord, unchecked":
            continue
        wrong = sum(row.wrong for (name, _), row in rows.items() if name == reader)
        report.bar(f"wrong frames of {reader}", wrong, most=WRONG)
    refused = sum(row.refused for (name, kind), row in rows.items() if name == DEFAULT and kind != "truncated")
    report.bar(f"complete files that {DEFAULT} refuses", refused, most=0)
    report.bar("frames whose time differs between readers", sum(apart.values()), most=0)


if __name__ == "__main__":
    sys.exit(main())
