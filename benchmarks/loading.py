"""Does loading keep a model fed? Samples a second of the training loader, against what decoding alone could do.

The decode limit is what as many processes reach that decode the same videos in the same view and throw the frames
away. What the loader adds (epochs and seeds, collating, passing batches between processes, unpacking shards) is the
difference. All take turns and the fastest turn counts, as other work on the machine only ever slows one; where a bar
is missed there are up to three times as many turns. Bars: half of the limit, from files and from tar shards.

It also prints how long a training step that takes a little longer than a batch takes to load waits for data, without
loader processes and by how many batches each of them keeps ready; what page-locked memory saves, where there is a GPU;
and how much of the batches is padding with and without batches by tokens (bar: at most 8%).

    python -m benchmarks.loading
    python -m benchmarks.loading --videos 64 --workers 4
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks._common import Report, options, seconds_of

SHARE = 0.5
"""Least part of the decode limit that the loader must reach."""
PADDING = 0.08
"""Most of batches filled by tokens that may be padding."""
TOKENS = 16_384
"""Of a batch, where batches are filled by them."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options(__doc__, sizes=())
    parser.add_argument("--videos", type=int, help="how many (default: 32, 8 with --quick)")
    parser.add_argument("--workers", type=int, help="loader processes (default: the cores, at most 4)")
    parser.add_argument("--frames", type=int, default=8, help="of a sample (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=4, help="through the videos in an epoch (default: %(default)s)")
    parser.add_argument("--epochs", type=int, help="timed, after one to warm up (default: 5, 2 with --quick)")
    parsed = parser.parse_args(arguments)
    parsed.videos = parsed.videos or (8 if parsed.quick else 32)
    parsed.workers = max(1, min(4, os.cpu_count() or 1) if parsed.workers is None else parsed.workers)
    parsed.epochs = parsed.epochs or (2 if parsed.quick else 5)
    with tempfile.TemporaryDirectory() as folder:
        return measure(parsed, Path(folder))


def measure(parsed: argparse.Namespace, folder: Path) -> int:
    """Prints the table and the bars."""
    from lavis.preparation.shards import make_shards

    samples = make_videos(folder / "videos", parsed)
    make_shards(samples, folder / "shards", media_per_shard=16)
    report = Report("loading", parsed)
    about = f"{parsed.videos} videos of 320 x 240, 10 s, {parsed.frames} frames of each to 224 px"
    report.line(f"{about}; {parsed.workers} loader processes")
    processor, files, shards = sources(samples, folder, parsed)
    pool = multiprocessing.get_context("spawn").Pool(parsed.workers, _start, (processor,))
    with pool:
        calls = {
            "decode limit": lambda: pool.map(_decode, list(samples) * parsed.rounds, chunksize=1),
            "files": epochs([files] * parsed.rounds, parsed),
            "tar shards": epochs([shards] * parsed.rounds, parsed),
        }
        seconds, turns = fastest(calls, parsed.epochs)
    rates = {name: parsed.rounds * len(samples) / spent for name, spent in seconds.items()}
    limit = rates.pop("decode limit")
    report.line(f"the fastest of {turns} epochs:")
    report.line(f"{'decode limit':<28}{limit:9.1f} samples/s")
    for name, found in rates.items():
        report.line(f"{f'loader, {name}':<28}{found:9.1f} samples/s {found / limit:6.0%} of the limit")
    for name, found in rates.items():
        report.bar(f"loader from {name}, part of the decode limit", found / limit, least=SHARE)
    report.line()
    waiting(report, [files] * parsed.rounds, 1.5 * 2 / rates["files"], parsed)
    pinning(report)
    report.line()
    padding(report)
    return report.finish()


def fastest(calls: Mapping[str, Callable[[], Any]], least: int) -> tuple[dict[str, float], int]:
    """Wall seconds of the fastest turn of each call after one to warm up, and the turns it took.

    A turn that something else on the machine slowed says nothing about the loader, so there are more of them as long
    as a bar is missed.
    """
    for call in calls.values():
        call()
    best: dict[str, float] = dict.fromkeys(calls, float("inf"))
    for turn in range(1, 3 * least + 1):
        for name, call in calls.items():
            best[name] = min(best[name], seconds_of(call, "cpu"))
        held = all(best["decode limit"] / spent >= SHARE for spent in best.values())
        if turn >= least and held:
            break
    return best, turn


def waiting(report: Report, datasets: Sequence[Any], step: float, parsed: argparse.Namespace) -> None:
    """Prints which part of an epoch steps of ``step`` seconds wait for data; they leave the cores to the loader."""
    report.line(f"steps of {step * 1e3:.0f} ms, half as long again as a batch takes to load, wait for data:")
    for workers, prefetch in [(0, 2), *((parsed.workers, n) for n in ((2,) if parsed.quick else (1, 2, 4)))]:
        reading = {"num_workers": workers, "prefetch": prefetch}
        loader, sampler = train_loader_of(datasets, **reading)
        list(loader)  # the processes start here, and stay
        spent = []
        for epoch in range(1, 2 if parsed.quick else 4):
            sampler.set_position(epoch)
            start = time.perf_counter()
            for _ in loader:
                time.sleep(step)
            spent.append(time.perf_counter() - start)
        lost = max(0.0, 1 - step * sampler.batches / min(spent))
        what = f"{workers} loader processes, prefetch_factor {prefetch}" if workers else "no loader processes"
        report.line(f"  {what:<40}{lost:6.0%} of the time")


def pinning(report: Report) -> None:
    """Prints how fast pixels of a batch come to a GPU from ordinary and from page-locked memory."""
    if not torch.cuda.is_available():
        report.line("page-locked memory: no GPU here, not measured")
        return
    pixels = torch.zeros(2, 60, 3, 224, 224)
    for name, source in (("ordinary", pixels), ("page-locked", pixels.pin_memory())):
        spent = min(seconds_of(lambda source=source: source.to("cuda", non_blocking=True), "cuda") for _ in range(9))
        report.line(f"from {name} memory to the GPU: {pixels.nbytes / spent / 2**30:.1f} GiB/s")


def padding(report: Report) -> None:
    """Prints how much of the batches of an epoch is padding, on 4 processes, by number of samples and by tokens."""
    from lavis.runners.batching import by_tokens, dealt, padding_share

    costs = lengths(8_000)
    order = list(range(len(costs)))
    random.Random(1).shuffle(order)
    whole = by_tokens(order, costs, TOKENS, 4, "0")
    size = round(len(costs) / (4 * len(whole)))
    shares = {}
    for name, plan in ((f"by {size} samples", dealt(order, size, 4, "spread")), (f"by {TOKENS} tokens", whole)):
        batches = [batch for iteration in plan for batch in iteration]
        padded = [len(batch) * max((costs[index] for index in batch), default=0) for batch in batches]
        slowest = [max(padded[start : start + 4]) for start in range(0, len(padded), 4)]
        shares[name] = padding_share(batches, costs)
        report.line(
            f"batches {name:<16}{shares[name]:6.1%} padding, the largest {max(padded):7d} tokens; "
            f"{len(plan)} iterations cost {sum(slowest) * 4 / sum(costs):.2f} of what the samples do"
        )
    report.bar("padding of batches by tokens", shares[f"by {TOKENS} tokens"], most=PADDING)


def lengths(count: int) -> list[int]:
    """Tokens of made-up samples: 1 frame a second, 10 tokens each, and a query, on videos as long as in four sets."""
    chance = random.Random(0)
    seconds = {
        "Charades-STA": lambda: chance.uniform(20, 40),
        "QVHighlights": lambda: 150.0,
        "ActivityNet-Captions": lambda: chance.uniform(10, 240),
        "TACoS": lambda: chance.uniform(60, 800),
    }
    draws = list(seconds.values())
    return [10 * round(draws[number % 4]()) + chance.randint(30, 90) for number in range(count)]


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
    loader, sampler = train_loader_of(datasets, num_workers=parsed.workers)
    numbers = iter(range(10_000))

    def epoch() -> None:
        sampler.set_position(next(numbers))
        for _ in loader:
            pass

    return epoch


def train_loader_of(datasets: Sequence[Any], **reading: Any) -> tuple[Any, Any]:
    """Batches of 2 samples."""
    from lavis.runners.data import train_loader

    return train_loader(datasets, batch_size=2, seed=0, **reading)


def _start(processor: Any) -> None:
    torch.set_num_threads(1)
    _decode.processor = processor  # type: ignore[attr-defined]


def _decode(sample: Any) -> None:
    _decode.processor(sample, True)  # type: ignore[attr-defined]


if __name__ == "__main__":
    sys.exit(main())
