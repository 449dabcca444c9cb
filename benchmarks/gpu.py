"""A GPU at the sizes of CALCE and MR.BLIP: time of a question and of a training step, memory, and the arithmetic floor.

    python -m benchmarks.gpu
    python -m benchmarks.gpu --quick
    python -m benchmarks.gpu --device cpu --size tiny      the same code where there is no GPU

Random weights (EVA-CLIP g, BLIP-2's Q-Former, Flan-T5 XL with LoRA), 60 frames of 224 px, all of whose tokens go to the
language model, 14 generated tokens, bf16. Every question has a video of its own; "kept" finds the output of the frozen
ViT and Q-Former in memory. The share of products is that of the fastest matrix product measured. FLOORS are what one
H200 needs at least (790 TFLOP/s, 4.3 TB/s), and GOALS, the bars, 55 to 60 % of that; they hold for that GPU and 64
questions, or 8 samples to train on, and are not compared with --quick.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence

import torch

from benchmarks._common import DTYPES, Report, flops_of, matmul_peak, options, seconds_of
from benchmarks._models import build, model_node, noise, prompt_lengths, size_of
from benchmarks.train_step import stepper
from lavis.models.video_llm import VideoLLM
from lavis.structures import Batch

FLOORS = {"question": 52.0, "question, kept": 12.0, "training step": 501.0, "training step, kept": 177.0}
GOALS = {"question": 87.0, "question, kept": 20.0, "training step": 910.0, "training step, kept": 320.0}
"""Milliseconds, by what is measured in the largest batch."""
WIDTHS = (5, 6, 10, 11, 9, 9)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options(__doc__, default="published")
    parser.set_defaults(device="cuda")
    parser.add_argument("--precision", choices=tuple(DTYPES), help="by default bf16, on a CPU fp32")
    parser.add_argument("--questions", type=int, default=64, help="in the larger batch (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=8, help="of a training step (default: %(default)s)")
    parsed = parser.parse_args(arguments)
    parsed.precision = parsed.precision or ("bf16" if parsed.device == "cuda" else "fp32")
    report = Report("gpu", parsed)
    if parsed.quick:
        parsed.questions, parsed.samples = min(parsed.questions, 4), min(parsed.samples, 2)
    size = size_of(parsed.size)
    repeats = parsed.repeats or (2 if parsed.quick else 5)
    peak = matmul_peak(parsed.device, parsed.precision)
    report.line(f"{size}; {parsed.precision}, median of {repeats} after one to warm up")
    report.line(f"fastest product {peak / 1e12:.3f} TFLOP/s")
    heads = ("batch", "tokens", "ms each", "TFLOP each", "products", "peak GiB")
    report.line(f"{'':22} " + " ".join(f"{head:>{width}}" for head, width in zip(heads, WIDTHS, strict=True)))
    found: dict[str, float] = {}
    for name, milliseconds in rows(report, parsed, repeats, peak):
        found[name] = milliseconds  # the larger batch comes later
    if parsed.size == "published" and parsed.device == "cuda" and not parsed.quick:
        for name, goal in GOALS.items():
            report.line(f"{name}: {FLOORS[name] / found[name]:.1%} of the floor of an H200, {FLOORS[name]:.0f} ms")
            report.bar(f"milliseconds of a {name}", found[name], most=goal)
    return report.finish()


def rows(report: Report, parsed: argparse.Namespace, repeats: int, peak: float) -> Iterator[tuple[str, float]]:
    """Measures and prints everything: name and milliseconds (of one question; of a whole step)."""
    size, device, precision = size_of(parsed.size), parsed.device, parsed.precision
    frozen = precision if device == "cuda" else "fp32"
    for kept in (False, True):
        model = build(model_node(size, every_token=True, precision=frozen, cached=kept), device)
        lengths = prompt_lengths(model)
        for kind, count in (("question", 1), ("question", parsed.questions), ("training step", parsed.samples)):
            name = f"{kind}, kept" if kept else kind
            batch = noise(size, count, device=device)
            if kind == "question":
                call: Callable[[], object] = asker(model.eval(), batch, device, precision)
                each = count
            else:
                call, each = stepper(model, batch, device, precision), 1
            call()  # warms up, and fills what is kept
            seconds, gibibytes = median_and_peak(call, repeats, device)
            flops = flops_of(call)
            milliseconds = 1000 * seconds / each
            report.line(
                f"{name:22} {count:5} {lengths[-1] if lengths else 0:6} {milliseconds:10.2f} "
                f"{flops / each / 1e12:11.4f} {flops / seconds / peak:9.1%} {gibibytes:9.2f}"
            )
            yield name, milliseconds
        del model
        if device == "cuda":
            torch.cuda.empty_cache()


def asker(model: VideoLLM, batch: Batch, device: str, precision: str) -> Callable[[], object]:
    """A function that answers the questions of a batch."""

    def ask() -> object:
        with torch.no_grad(), torch.autocast(device, DTYPES[precision], enabled=precision != "fp32"):
            return model.generate(batch)

    return ask


def median_and_peak(call: Callable[[], object], repeats: int, device: str) -> tuple[float, float]:
    """Median seconds of a call, and the GiB that torch allocated on the GPU at most (0 on a CPU)."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = statistics.median(seconds_of(call, device) for _ in range(repeats))
    return seconds, torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else 0.0


if __name__ == "__main__":
    sys.exit(main())
