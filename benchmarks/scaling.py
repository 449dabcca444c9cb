"""How the time of an evaluation grows with its queries and videos.

    python -m benchmarks.scaling              10 to 10,000 queries
    python -m benchmarks.scaling --quick      10 to 1,000

``lavis evaluate`` with a tiny model, twice: with 2.8 queries on each of a growing number of videos, and with a growing
number of queries on ten videos. Building the model is not counted. A straight line in the plot (logarithmic both ways)
is a power of the number; the exponent is that of the last step, ten times as many, where fixed costs no longer flatten
it, and that of all points is beside it. Bar: both at most 1.1, so time grows linearly. Draws the plot as SVG.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks._common import ROOT, Report, options
from benchmarks._models import model_node, size_of
from benchmarks._plot import Line, loglog
from benchmarks._runs import QUERIES_PER_VIDEO, Measured, copies, corpus, experiment, make_video, timed_evaluation

EXPONENT = 1.1
PLOT = ROOT / "benchmarks" / "results" / "scaling.svg"
FEW = 10  # videos of the second series
SECONDS = 4  # of a video
SERIES = {"videos": f"queries, {QUERIES_PER_VIDEO} a video", "queries": f"queries on {FEW} videos"}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options(__doc__, sizes=("tiny",), default="tiny")
    parser.add_argument("--most", type=int, help="largest number of queries, at least 100 (default: 10,000)")
    parser.add_argument("--plot", type=Path, help="file to draw (default: results/scaling.svg, with --quick none)")
    parsed = parser.parse_args(arguments)
    report = Report("scaling", parsed)
    most = parsed.most or (1000 if parsed.quick else 10_000)
    counts = [10**power for power in range(1, round(math.log10(most)) + 1)]
    size = size_of(parsed.size)
    report.line(f"{size}; videos of {SECONDS} s, 96x64; batches of 64, seconds of an evaluation")
    lines = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = make_video(folder / "made.mp4", SECONDS, 96, 64, fps=8)
        videos = copies(made, folder / "videos", round(counts[-1] / QUERIES_PER_VIDEO))
        run = {"device": parsed.device, "threads": parsed.threads, "eval_batch_size": 64}

        def evaluation(series: str, count: int) -> Measured:
            data = corpus(folder, of(series, count), count, SECONDS)
            return timed_evaluation(experiment(f"{series}_{count}", model_node(size), data, folder / "results", run))

        def of(series: str, count: int) -> list[Path]:
            return videos[: round(count / QUERIES_PER_VIDEO) if series == "videos" else FEW]

        evaluation("first", counts[0])  # imports what the first one needs
        for series, label in SERIES.items():
            points = []
            for count in counts:
                measured = evaluation(series, count)
                points.append((count, sum(measured.seconds)))
                report.line(
                    f"{count:8,} {label:22} {len(of(series, count)):6,} videos {points[-1][1]:10.3f} s "
                    f"({sum(measured.cpu):.3f} s of processors)"
                )
            lines.append(Line(label, points))
    for line in lines:
        (before, earlier), (last, latest) = line.points[-2:]
        report.bar(f"exponent of the last step, {line.name}", power([before, last], [earlier, latest]), most=EXPONENT)
        report.bar(f"exponent of all points, {line.name}", power(*zip(*line.points, strict=True)), most=EXPONENT)
    plot = parsed.plot or (None if parsed.quick else PLOT)
    if plot is not None:
        plot.parent.mkdir(parents=True, exist_ok=True)
        title = f"Seconds of an evaluation by its queries, tiny model, {parsed.device.upper()}"
        plot.write_text(loglog(title, "queries", "seconds", lines), encoding="utf-8")
    return report.finish()


def power(numbers: Sequence[float], seconds: Sequence[float]) -> float:
    """Exponent of the power law that fits best."""
    return float(np.polyfit(np.log(numbers), np.log(seconds), 1)[0])


if __name__ == "__main__":
    sys.exit(main())
