"""What reading in a process of its own costs: reader ``guarded`` against the reader inside of it.

    python -m benchmarks.guard
    python -m benchmarks.guard --quick
    python -m benchmarks.guard --video FILE

60 evenly spaced frames of one video, index included, at 224 x 224 and at the size of the file; the two readers take
turns, and the frames must be equal to the bit. Bars: at 224 x 224 at most 1.1 times the seconds; a process started
anew, as after a bad file has ended one, gives its first index within 10 s.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks._common import Report, compare, options, seconds_of
from benchmarks.decode import SIZE, made
from lavis.common.registry import registry
from lavis.processors.readers._decode_process import borrowed, end_all
from lavis.processors.readers.base import Size, VideoReader
from lavis.processors.readers.guarded import GuardedReader
from lavis.processors.samplers import Head

RATIO = 1.1
START_S = 10.0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options(__doc__, sizes=("tiny", "middle"))
    parser.add_argument("--video", type=Path, help="measure on this file instead of a made one")
    parser.add_argument("--num-frames", type=int, default=60)
    parser.add_argument("--reader", default="pyav", help="the one inside (default: %(default)s)")
    parsed = parser.parse_args(arguments)
    parsed.threads = 1
    report = Report("guard", parsed)
    repeats = parsed.repeats or (3 if parsed.quick else 15)
    plain = registry.readers.get(parsed.reader)()
    guarded = GuardedReader(plain)
    end_all()
    with tempfile.TemporaryDirectory() as folder:
        path = parsed.video or made(Path(folder, "made.mp4"), parsed.size, parsed.quick)
        info = plain.probe(path)
        start = seconds_of(lambda: guarded.probe(path), "cpu")
        report.line(
            f"{parsed.reader}; {info.width}x{info.height}, {info.duration_s:.1f} s, {info.num_frames} frames; "
            f"{parsed.num_frames} of them, median of {repeats}"
        )
        report.line(f"{'size':12} {'MB':>7} {'plain ms':>9} {'guarded ms':>11} {'ratio':>6}")
        ratios = []
        for size in (SIZE, None):
            indices = Head(parsed.num_frames).indices(info)
            ways = {"plain": read(plain, path, indices, size), "guarded": read(guarded, path, indices, size)}
            pixels = ways["plain"]()
            report.same(f"frames, {named(size)}", torch.equal(pixels, ways["guarded"]()), True)
            seconds = compare(ways, repeats)
            ratios.append(seconds["guarded"] / seconds["plain"])
            report.line(
                f"{named(size):12} {pixels.nbytes / 1e6:7.1f} {seconds['plain'] * 1000:9.1f} "
                f"{seconds['guarded'] * 1000:11.1f} {ratios[-1]:6.3f}"
            )
        with borrowed(guarded.memory_mb) as process:
            report.line(f"memory of the process that decodes: {resident_mb(process.pid)}")
    end_all()
    report.bar("seconds guarded against plain at 224 x 224", ratios[0], most=RATIO)
    report.bar("seconds from the start of a process to its first index", start, most=START_S)
    return report.finish()


def read(reader: VideoReader, path: Path, indices: Sequence[int], size: Size | None) -> Callable[[], torch.Tensor]:
    """Index and frames, as a loader process reads them."""
    return lambda: reader.read(path, indices, size=size, info=reader.probe(path))[0]


def named(size: Size | None) -> str:
    return "as it is" if size is None else f"{size[0]}x{size[1]}"


def resident_mb(process: int) -> str:
    """Resident and private memory as the system tells it."""
    try:
        rows = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    except OSError:
        return "unknown here"
    return (
        f"{int(rows['VmRSS'].split()[0]) / 1024:.0f} MiB, {int(rows['RssAnon'].split()[0]) / 1024:.0f} of them private"
    )


if __name__ == "__main__":
    sys.exit(main())
