"""What it costs to prepare a collection: noting what videos are, and making smaller copies of them.

    python -m benchmarks.collection
    python -m benchmarks.collection --quick

A folder of made videos (24 of 20 s, 640 x 360, 30 frames a second, H.264) goes through `videos_metadata` and through
`compress_videos` (3 frames a second, short side 224), the latter by both encoders. Beside them, the program ffmpeg with
the same filters, and nothing else, shows what probing and reading back cost. Bars: a second run works on nothing; the
tool needs at most 1.5 times the processor time of the plain program.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from benchmarks._common import Report, options
from benchmarks._runs import copies, make_video
from lavis.preparation.collection.compress import compress_videos
from lavis.preparation.collection.copy_plan import Target
from lavis.preparation.collection.metadata import videos_metadata
from lavis.preparation.collection.summary import PROJECTED_HOURS, Summary

OVERHEAD = 1.5


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options(__doc__, sizes=())
    parser.add_argument("--workers", type=int, default=2, help="files at a time (default: %(default)s)")
    parser.add_argument("--files", type=int, help="videos of the folder")
    parsed = parser.parse_args(arguments)
    report = Report("collection", parsed)
    count, seconds = parsed.files or (6 if parsed.quick else 24), 4 if parsed.quick else 20
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copies(make_video(folder / "made.mp4", seconds, 640, 360), folder / "videos", count)
        report.line(f"{count} videos of {seconds} s, 640x360, 30 frames/s; {parsed.workers} at a time")
        report.line(f"{'':28} {'files/s':>8} {'x real time per core':>22} {'core-hours for 10,000 h':>25}")
        summary, _ = videos_metadata(folder / "videos", workers=parsed.workers)
        row(report, "videos_metadata", summary)
        again, _ = videos_metadata(folder / "videos", workers=parsed.workers)
        encoders: list[Literal["ffmpeg", "pyav"]] = ["ffmpeg", "pyav"] if shutil.which("ffmpeg") else ["pyav"]
        for encoder in encoders:
            out = folder / encoder
            summary = compress_videos(folder / "videos", out, encoder=encoder, workers=parsed.workers, budget=0)
            row(report, f"compress_videos, {encoder}", summary)
            repeated = compress_videos(folder / "videos", out, encoder=encoder, workers=parsed.workers)
            report.same(f"worked on by a second run, {encoder}", repeated.new, 0)
            if encoder == "ffmpeg":
                plain_s = plain(folder)
                line(report, "the plain program", count * seconds / plain_s, None)
                report.bar("processor time against the plain program", summary.core_s / plain_s, most=OVERHEAD)
        report.same("worked on by a second run, videos_metadata", again.new, 0)
    return report.finish()


def row(report: Report, what: str, summary: Summary) -> None:
    """Figures of a tool."""
    line(report, what, summary.hours_per_core_hour or 0.0, summary.new / summary.wall_s)


def line(report: Report, what: str, rate: float, files: float | None) -> None:
    shown = "" if files is None else f"{files:.2f}"
    report.line(f"{what:28} {shown:>8} {rate:22,.0f} {PROJECTED_HOURS / rate:25,.1f}")


def plain(folder: Path) -> float:
    """Processor seconds of the program for all videos, one after the other."""
    import resource

    target = Target()
    filters = ",".join(f"{name}={options}" for name, options in target.video_filters(640, 360))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for path in sorted((folder / "videos").glob("*.mp4")):
        command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-threads", "1", "-i", str(path), "-vf", filters, "-an"]
        command += ["-c:v", "libx264", "-preset", target.preset, "-crf", str(target.crf), "-g", str(target.gop)]
        subprocess.run([*command, "-threads", "1", "-y", str(folder / "plain.mp4")], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    sys.exit(main())
