"""Peak memory of a training step: lavis against plain transformers and peft code that does the same.

    python -m benchmarks.memory
    python -m benchmarks.memory --quick
    python -m benchmarks.memory --device cuda --size published --precision bf16

All tokens of every frame go to the language model, frozen ViT and Q-Former, LoRA, AdamW, prompts of one length. Each is
measured in a process of its own over two steps: on a CPU the high-water mark of resident memory, program and libraries
included (the mark before the model is built is shown beside it), on a GPU what torch allocated. Nothing is kept from
step to step. Bar: at most 1.1 times the plain code's.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch

from benchmarks._common import DTYPES, ROOT, Report, options
from benchmarks._models import build, model_node, noise, prompt_lengths, size_of

RATIO = 1.1
STEPS = 2
WAYS = ("lavis", "plain")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options(__doc__)
    parser.add_argument("--precision", choices=tuple(DTYPES), default="fp32", help="of autocast")
    parser.add_argument("--batch-size", type=int, default=2, help="samples, each with a video of its own")
    parser.add_argument("--child", choices=WAYS, help="measure one of them here, and print it as JSON")
    parser.add_argument("--words", type=int, default=0, help="tokens of the plain prompt besides those of frames")
    parsed = parser.parse_args(arguments)
    if parsed.child:
        torch.set_num_threads(parsed.threads or 1)
        print(json.dumps(measure(parsed)))
        return 0
    report = Report("memory", parsed)
    size = size_of(parsed.size, parsed.quick)
    ours = in_child(parsed, "lavis")
    plain = in_child(parsed, "plain", words=ours["tokens"] - size.frames * size.queries)
    report.line(f"{size}; batch {parsed.batch_size}, {ours['tokens']} tokens, {parsed.precision}, {STEPS} steps")
    for name, row in (("lavis", ours), ("transformers and peft", plain)):
        report.line(f"{name:22} {row['peak_mib']:10.0f} MiB   before the model {row['before_mib']:8.0f} MiB")
    report.bar("ratio", ours["peak_mib"] / plain["peak_mib"], most=RATIO)
    return report.finish()


def in_child(parsed: Any, way: str, words: int = 0) -> dict[str, float]:
    """What a process of its own measured."""
    command = [sys.executable, "-m", "benchmarks.memory", "--child", way, "--words", str(words)]
    for name in ("size", "device", "precision", "batch_size", "threads"):
        command += [f"--{name.replace('_', '-')}", str(getattr(parsed, name))]
    command += ["--quick"] * parsed.quick
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[1:])} failed:\n{done.stderr[-3000:]}")
    row: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return row


def measure(parsed: Any) -> dict[str, float]:
    """Peak and earlier memory in MiB, and the length of the prompts."""
    before = high_water(parsed.device)
    step, lengths = (lavis_step if parsed.child == "lavis" else plain_step)(parsed)
    with torch.autocast(parsed.device, DTYPES[parsed.precision], enabled=parsed.precision != "fp32"):
        for _ in range(STEPS):
            step()
    return {"peak_mib": high_water(parsed.device), "before_mib": before, "tokens": lengths[0]}


def lavis_step(parsed: Any) -> tuple[Callable[[], float], list[int]]:
    """A step of lavis, and a list that gets the length of its prompts."""
    from benchmarks.train_step import stepper

    size, frozen = size_of(parsed.size, parsed.quick), parsed.precision if parsed.device == "cuda" else "fp32"
    model = build(model_node(size, every_token=True, precision=frozen, cached=False), parsed.device)
    batch = noise(size, parsed.batch_size, device=parsed.device)
    return stepper(model, batch, parsed.device, parsed.precision), prompt_lengths(model)


def plain_step(parsed: Any) -> tuple[Callable[[], float], list[int]]:
    """A step of plain code, and the length of its prompts."""
    from benchmarks._plain import PlainModel, plain_stepper

    size = size_of(parsed.size, parsed.quick)
    torch.manual_seed(0)
    with torch.device(parsed.device):
        model = PlainModel(size, parsed.words).train()
    if parsed.device == "cuda" and parsed.precision != "fp32":
        model.vit.to(DTYPES[parsed.precision])  # as lavis keeps frozen weights
    model.vit.eval()
    model.qformer.eval()
    frames = noise(size, parsed.batch_size, device=parsed.device).views["frames"]
    pixels = torch.stack([f.pixels for f in frames])
    labels = torch.arange(3, 17, device=parsed.device).repeat(parsed.batch_size, 1)
    return plain_stepper(model, pixels, labels), [size.frames * size.queries + parsed.words]


def high_water(device: str) -> float:
    """MiB."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB, on macOS bytes
    return used / 2**20 if sys.platform == "darwin" else used / 2**10


if __name__ == "__main__":
    sys.exit(main())
