"""What keeping the output of frozen networks is worth: training steps with and without, and that the loss is the same.

    python -m benchmarks.frozen_features
    python -m benchmarks.frozen_features --quick

The toy CALCE of the quickstart with random frames: ``reuse`` keeps the output of the frozen ViT and Q-Former by frame,
``recompute`` is the same model with both memories turned off.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from typing import Any

import torch

from lavis.common.config import load_config
from lavis.models.build import build_model
from lavis.structures import Batch, Frames, Moment, VideoSample


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="models/calce/toy_stage1", help="configuration (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="five steps")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    steps = 5 if arguments.quick else arguments.steps
    node = load_config(arguments.model)["model"]
    data = batch(node, arguments.batch_size)
    seconds, losses = {}, {}
    for name, keep in (("recompute", False), ("reuse", True)):
        seconds[name], losses[name] = measure(node, data, keep, steps)
    print(f"{arguments.model}, batch {arguments.batch_size}, {steps} steps after one to warm up, 1 thread, fp32, "
          f"{platform.processor() or platform.machine()}, torch {torch.__version__}")  # fmt: skip
    for name, value in seconds.items():
        print(f"{name:10} {1000 * value:8.0f} ms a step   first loss {losses[name]:.6f}")
    print(f"ratio      {seconds['recompute'] / seconds['reuse']:8.2f}")
    return 0 if abs(losses["recompute"] - losses["reuse"]) < 1e-4 else 1


def measure(node: dict[str, Any], data: Batch, keep: bool, steps: int) -> tuple[float, float]:
    """Seconds of a training step, and the loss of the first."""
    changed = dict(node)
    if not keep:
        changed["encoder"] = {**node["encoder"], "cache_mb": 0}
        changed["compressor"] = {**node["compressor"], "cache_mb": 0}
    model = build_model(changed)
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)

    def step() -> float:
        loss = model(data)["lm"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    first = step()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - start) / steps, first


def batch(node: dict[str, Any], size: int) -> Batch:
    """Questions on videos of noise."""
    view = node["processor"]["views"]["frames"]
    count, side = view["sampler"]["num_frames"], view["transform"]["eval"]["image_size"]
    generator = torch.Generator().manual_seed(0)
    samples, frames = [], []
    for i in range(size):
        asked = VideoSample(f"noise-{i}", "noise", "a red circle moves left", 40, [Moment(8, 16)], items=["circle"])
        samples.append(asked)
        pixels = torch.randn(count, 3, side, side, generator=generator)
        frames.append(Frames(pixels, [40 * n / count for n in range(count)], key=f"noise-{i}"))
    return Batch(samples, {"frames": frames})


if __name__ == "__main__":
    sys.exit(main())
