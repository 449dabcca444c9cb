"""Seconds of one training step, everything computed and with the output of frozen parts kept, against the arithmetic.

    python -m benchmarks.train_step
    python -m benchmarks.train_step --quick --precision bf16 --activation-checkpointing
    python -m benchmarks.train_step --device cuda --size published --batch-size 8 --precision bf16

CALCE's first stage: frozen ViT and Q-Former, LoRA on the language model, AdamW. The arithmetic floor is the time that
the products of a step take at the fastest matrix product measured in the same precision. Bars: the loss is the same to
the bit with kept features, which are at least 3 times faster; everything computed reaches the set share of the floor.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch

from benchmarks._common import DTYPES, Report, compare, flops_of, matmul_peak, options
from benchmarks._models import build, model_node, noise, prompt_lengths, size_of
from lavis.models.video_llm import VideoLLM
from lavis.runners.activations import checkpoint_activations
from lavis.structures import Batch

SHARE = {"tiny": 0.0, "middle": 0.5, "published": 0.55}
RATIO = {"tiny": 0.0, "middle": 3.0, "published": 2.0}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options(__doc__)
    parser.add_argument("--precision", choices=tuple(DTYPES), default="fp32", help="of autocast")
    parser.add_argument("--batch-size", type=int, default=1, help="samples, each with a video of its own")
    parser.add_argument("--activation-checkpointing", action="store_true", help="recompute activations")
    parsed = parser.parse_args(arguments)
    report = Report("train_step", parsed)
    size, device = size_of(parsed.size, parsed.quick), parsed.device
    repeats = parsed.repeats or (2 if device == "cpu" else 10)
    batch = noise(size, parsed.batch_size, device=device)
    frozen = parsed.precision if device == "cuda" else "fp32"
    calls: dict[str, Callable[[], float]] = {}
    for name, cached in (("all computed", False), ("features kept", True)):
        model = build(model_node(size, precision=frozen, cached=cached), device)
        calls[name] = stepper(model, batch, device, parsed.precision, parsed.activation_checkpointing)
    lengths = prompt_lengths(model)
    first = {name: call() for name, call in calls.items()}
    report.line(
        f"{size}; batch {parsed.batch_size}, {lengths[0]} tokens, {parsed.precision}"
        + (", activations recomputed" if parsed.activation_checkpointing else "")
        + f", median of {repeats} in turns after one to warm up"
    )
    peak = matmul_peak(device, parsed.precision)
    seconds = compare(calls, repeats, device=device)
    peak = max(peak, matmul_peak(device, parsed.precision))
    shares = {}
    for name, call in calls.items():
        flops = flops_of(call)
        shares[name] = flops / seconds[name] / peak
        report.line(
            f"{name:14} {1000 * seconds[name]:10.1f} ms a step {flops / 1e12:9.4f} TFLOP "
            f"{shares[name]:7.1%} of the fastest product ({peak / 1e12:.3f} TFLOP/s)"
        )
    report.same("first loss", *first.values())
    report.bar("ratio", seconds["all computed"] / seconds["features kept"], least=RATIO[parsed.size])
    report.bar("share of the arithmetic floor", shares["all computed"], least=SHARE[parsed.size])
    return report.finish()


def stepper(model: VideoLLM, batch: Batch, device: str, precision: str, recompute: bool = False) -> Callable[[], float]:
    """A function that trains a model by one step and gives the loss before it."""
    if recompute:
        checkpoint_activations(model)
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    autocast: dict[str, Any] = {"dtype": DTYPES[precision], "enabled": precision != "fp32"}

    def step() -> float:
        with torch.autocast(device, **autocast):
            loss = model(batch)["lm"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


if __name__ == "__main__":
    sys.exit(main())
