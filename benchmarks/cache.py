"""Training epochs with and without keeping the output of frozen parts, and that the losses are the same.

    python -m benchmarks.cache
    python -m benchmarks.cache --quick

``lavis train`` on generated videos, CALCE's first stage with random weights: nothing kept, kept in memory, kept on
disk, and a second training that finds the disk filled. Bars: epochs from the second on at least 3 times faster, and
every loss equal to the bit.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks._common import Report, options
from benchmarks._models import model_node, size_of, with_cache
from benchmarks._runs import Measured, corpus, experiment, make_video, timed_training

RATIO = {"tiny": 0.0, "middle": 3.0, "published": 3.0}
NOTHING, FILLED = "nothing kept", "on disk, filled before"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options(__doc__)
    parser.add_argument("--videos", type=int, default=2, help="how many (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=3)
    parsed = parser.parse_args(arguments)
    report = Report("cache", parsed)
    size = size_of(parsed.size, parsed.quick)
    width, height, seconds = (96, 64, 4) if parsed.size == "tiny" else (480, 270, 10 if parsed.quick else 30)
    precision = "bf16" if parsed.device == "cuda" else "fp32"
    clips = f"{parsed.videos} videos of {seconds} s, {width}x{height}"
    report.line(f"{size}; {clips}, one query each, batch 1, {precision}")
    report.line("seconds of each epoch (of processors)")
    run = {"device": parsed.device, "threads": parsed.threads, "precision": precision}
    run |= {"epochs": parsed.epochs, "batch_size": 1}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "videos").mkdir()
        videos = [
            make_video(folder / "videos" / f"{i}.mp4", seconds, width, height, seed=i) for i in range(parsed.videos)
        ]
        data = corpus(folder, videos, len(videos), seconds)
        measured: dict[str, Measured] = {}
        for tier, node in tiers(model_node(size, precision=precision), folder / "features").items():
            name = tier.replace(",", "").replace(" ", "_")
            measured[tier] = timed_training(experiment(name, node, data, folder, run))
            epochs = zip(measured[tier].seconds, measured[tier].cpu, strict=True)
            report.line(f"{tier:24}" + "".join(f"{wall:9.2f} s ({cpu:.2f})" for wall, cpu in epochs))
    for tier, found in measured.items():
        if tier != NOTHING:
            report.same(f"losses, {tier}", found.losses, measured[NOTHING].losses)
            ratio = later(measured[NOTHING]) / later(found)
            report.bar(f"ratio from the second epoch on, {tier}", ratio, least=RATIO[parsed.size])
    first = measured[NOTHING].seconds[0] / measured[FILLED].seconds[0]
    report.bar(f"ratio of the first epoch, {FILLED}", first, least=RATIO[parsed.size])
    return report.finish()


def tiers(node: dict[str, Any], folder: Path) -> dict[str, dict[str, Any]]:
    """Name to a model section with that way to keep features."""
    on_disk = with_cache(node, memory_mb=0, folder=folder)
    return {
        NOTHING: with_cache(node, memory_mb=0),
        "in memory": with_cache(node, memory_mb=8192),
        "on disk": on_disk,
        FILLED: on_disk,
    }


def later(measured: Measured) -> float:
    """Mean seconds of the epochs after the first."""
    return statistics.fmean(measured.seconds[1:])


if __name__ == "__main__":
    sys.exit(main())
