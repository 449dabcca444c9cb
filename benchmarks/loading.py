"""Does loading keep a model fed? Samples a second of the training loader, against what decoding alone could do.

The decode limit is what as many processes reach that decode the same videos in the same view and throw the frames
away. What the loader adds (epochs and seeds, collating, passing batches between processes, unpacking shards) is the
difference. All take turns. Bars: half of the limit, from files and from tar shards.

    python -m benchmarks.loading
    python -m benchmarks.loading --videos 64 --workers 4
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks._common import Report, compare, options

SHARE = 0.5
"""Least part of the decode limit that the loader must reach."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options(__doc__, sizes=())
    parser.add_argument("--videos", type=int, help="how many (default: 32, 8 with --quick)")
    parser.add_argument("--workers", type=int, help="loader processes (default: the cores, at most 4)")
    parser.add_argument("--frames", type=int, default=8, help="of a sample (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=4, help="through the videos in an epoch (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=5, help="timed, after one to warm up (default: %(default)s)")
    parsed = parser.parse_args(arguments)
    parsed.videos = parsed.videos or (8 if parsed.quick else 32)
    parsed.workers = max(1, min(4, os.cpu_count() or 1) if parsed.workers is None else parsed.workers)
    parsed.epochs = 1 if parsed.quick else parsed.epochs
    with tempfile.TemporaryDirectory() as folder:
        return measure(parsed, Path(folder))


def measure(parsed: argparse.Namespace, folder: Path) -> int:
    """Prints the table and the bars."""
    from lavis.preparation.shards import make_shards

    samples = make_videos(folder / "videos", parsed)
    make_shards(samples, folder / "shards", media_per_shard=16)
    report = Report("loading", parsed)
    about = f"{parsed.videos} videos of 320 x 240, 10 s, {parsed.frames} frames of each to 224 px"
    report.line(f"{about}; {parsed.workers} loader processes, median of {parsed.epochs} epochs")
    processor, files, shards = sources(samples, folder, parsed)
    pool = multiprocessing.get_context("spawn").Pool(parsed.workers, _start, (processor,))
    with pool:
        calls = {
            "decode limit": lambda: pool.map(_decode, list(samples) * parsed.rounds, chunksize=1),
            "files": epochs([files] * parsed.rounds, parsed),
            "tar shards": epochs([shards] * parsed.rounds, parsed),
        }
        seconds = compare(calls, parsed.epochs)
    rates = {name: parsed.rounds * len(samples) / spent for name, spent in seconds.items()}
    limit = rates.pop("decode limit")
    report.line(f"{'decode limit':<28}{limit:9.1f} samples/s")
    for name, found in rates.items():
        report.line(f"{f'loader, {name}':<28}{found:9.1f} samples/s {found / limit:6.0%} of the limit")
    for name, found in rates.items():
        report.bar(f"loader from {name}, part of the decode limit", found / limit, least=SHARE)
    return report.finish()


def make_videos(folder: Path, parsed: argparse.Namespace) -> list[Any]:
    """Samples on videos that differ."""
    from benchmarks._numbered import write_video
    from lavis.structures import Moment, VideoSample

    folder.mkdir(parents=True)
    samples = []
    for number in range(parsed.videos):
        path = folder / f"v{number:04d}.mp4"
        write_video(path, num_frames=100 + number, fps=10, size=(240, 320))
        samples.append(VideoSample(path.stem, str(path), "a query", 10.0, [Moment(1, 2)]))
    return samples


def sources(samples: Sequence[Any], folder: Path, parsed: argparse.Namespace) -> tuple[Any, Any, Any]:
    """The processor, and the same samples from files and from shards."""
    from lavis.datasets.shards import ShardsDataset
    from lavis.processors.video_processor import build_processor

    sampler = {"name": "uniform", "num_frames": parsed.frames}
    transform = {"name": "clip_eval", "image_size": 224}
    view = {"sampler": sampler, "transform": {"train": transform, "eval": dict(transform)}}
    processor = build_processor({"views": {"frames": view}})
    common = {"dataset_name": "clips", "split": "train", "processor": processor, "train": True}
    shards = ShardsDataset(**common, annotations={"train": str(folder / "shards")})
    return processor, _Files(samples, processor), shards


class _Files:
    """Samples whose videos lie as files."""

    def __init__(self, samples: Sequence[Any], processor: Any) -> None:
        self.samples, self.processor = samples, processor

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        return self.samples[index], self.processor(self.samples[index], True)


def epochs(datasets: Sequence[Any], parsed: argparse.Namespace) -> Callable[[], None]:
    """Goes once through data sets by the training loader; its processes stay for the next time."""
    from lavis.runners.data import train_loader

    loader, sampler = train_loader(datasets, batch_size=2, num_workers=parsed.workers, seed=0)
    numbers = iter(range(10_000))

    def epoch() -> None:
        sampler.set_position(next(numbers))
        for _ in loader:
            pass

    return epoch


def _start(processor: Any) -> None:
    torch.set_num_threads(1)
    _decode.processor = processor  # type: ignore[attr-defined]


def _decode(sample: Any) -> None:
    _decode.processor(sample, True)  # type: ignore[attr-defined]


if __name__ == "__main__":
    sys.exit(main())
