"""MeCo on a GPU at published sizes: time of a question on a video of 30, 150 and 600 s, of a training step, and memory.

    python -m benchmarks.gpu_meco
    python -m benchmarks.gpu_meco --model meco/qwen2
    python -m benchmarks.gpu_meco --device cpu --size tiny      the same code where there is no GPU

Random weights, bf16, one frame of noise a second at 224 px, 64 generated tokens. "first" computes everything, "next"
is another question on the same video, whose encoded frames are kept (a token depends on the question, so the Q-Former
and the prompt are read anew), "batch" asks 8 questions on one video at once; milliseconds are for one question. A
training step is that of the third stage: LoRA, the Q-Former's attention, embeddings and heads learn, activations are
recomputed, each sample has a video of 150 s of its own. No bar is set: nothing comparable was published.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch

from benchmarks._common import DTYPES, Report, options
from benchmarks._models import build
from benchmarks.gpu import asker, median_and_peak
from lavis.common.config import load_config
from lavis.models.video_llm import VideoLLM
from lavis.structures import Batch, Frames, Moment, VideoSample

LENGTHS = (30, 150, 600)
TRAINED = 150
QUESTIONS = 8
TOKENS = 64


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options(__doc__, sizes=("tiny", "published"), default="published")
    parser.set_defaults(device="cuda")
    parser.add_argument("--model", default="meco/phi3", help="of configs/models (default: %(default)s)")
    parser.add_argument("--precision", choices=tuple(DTYPES), help="by default bf16, on a CPU fp32")
    parser.add_argument("--samples", type=int, default=2, help="of a training step (default: %(default)s)")
    parsed = parser.parse_args(arguments)
    parsed.precision = parsed.precision or ("bf16" if parsed.device == "cuda" else "fp32")
    report = Report("gpu_meco", parsed)
    repeats = parsed.repeats or (2 if parsed.quick else 5)
    lengths = LENGTHS[:2] if parsed.quick else LENGTHS
    device, precision = parsed.device, parsed.precision
    report.line(f"{'tiny/meco' if parsed.size == 'tiny' else parsed.model}; {precision}, median of {repeats}")
    report.line(f"{'':20} {'seconds':>8} {'ms each':>10} {'peak GiB':>9}")

    model = build(node_of(parsed.model, parsed.size, precision if device == "cuda" else "fp32"), device).eval()
    if precision != "fp32":
        model.language_model.model.to(DTYPES[precision])
    for seconds in lengths:
        kept, many = noise(model, seconds, 1, device), noise(model, seconds, QUESTIONS, device, videos=1)
        first = asker(model, noise(model, seconds, 1, device, keyed=False), device, precision)
        calls = {"first question": (first, 1), "next question": (asker(model, kept, device, precision), 1)}
        for name, (call, each) in {**calls, "batch of questions": (asker(model, many, device, precision), 8)}.items():
            call()
            elapsed, gibibytes = median_and_peak(call, repeats, device)
            report.line(f"{name:20} {seconds:8} {1000 * elapsed / each:10.2f} {gibibytes:9.2f}")
    del model
    if device == "cuda":
        torch.cuda.empty_cache()

    model = build(node_of(parsed.model, parsed.size, precision if device == "cuda" else "fp32", train=True), device)
    step = training_step(model, noise(model, TRAINED, parsed.samples, device), device, precision)
    step()
    elapsed, gibibytes = median_and_peak(step, repeats, device)
    report.line(f"{f'training step of {parsed.samples}':20} {TRAINED:8} {1000 * elapsed:10.2f} {gibibytes:9.2f}")
    return report.finish()


def node_of(name: str, size: str, frozen: str, train: bool = False) -> dict[str, Any]:
    """The ``model`` section with random weights and without downloads: the toy tokenizers serve for the real ones."""
    node: dict[str, Any] = load_config("tiny/meco" if size == "tiny" else f"models/{name}")["model"]
    node = {**node, "weights": None, "generation": {**node["generation"], "max_new_tokens": TOKENS}}
    node["encoder"] = {**node["encoder"], "vit_precision": frozen}
    node["cache"] = {"memory_mb": 16384}
    language = {**node["language_model"], "pretrained": None, "tokenizer": "asset:toy/chat_tokenizer"}
    node["language_model"] = language | ({"use_checkpoint": True} if train else {})
    node["compressor"] = {**node["compressor"], "tokenizer": "asset:toy/bert_tokenizer"}
    return node


def noise(
    model: VideoLLM, seconds: int, samples: int, device: str, *, videos: int | None = None, keyed: bool = True
) -> Batch:
    """Questions on videos of noise at one frame a second; what has no key is encoded each time."""
    assert model.processor is not None
    image = model.processor.views[model.encoder.view].transform.eval.image_size
    frames = []
    for i in range(videos or samples):
        pixels = torch.randn(seconds, 3, image, image, generator=torch.Generator().manual_seed(i))
        key = f"noise-{seconds}-{i}" if keyed else None
        frames.append(Frames(pixels, [float(second) for second in range(seconds)], key=key))
    asked = [
        VideoSample(f"q{i}", "noise", f"a person opens the door {i}", seconds, [Moment(8, 21)]) for i in range(samples)
    ]
    return Batch(asked, {model.encoder.view: [frames[i % len(frames)] for i in range(samples)]}).to(device)


def training_step(model: VideoLLM, batch: Batch, device: str, precision: str) -> Callable[[], None]:
    """A function that trains by one step on both losses."""
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-5)

    def step() -> None:
        with torch.autocast(device, DTYPES[precision], enabled=precision != "fp32"):
            losses = model(batch)
        optimizer.zero_grad()
        torch.stack([*losses.values()]).sum().backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    sys.exit(main())
