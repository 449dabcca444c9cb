"""Frames per second of the image encoder: in chunks as lavis runs it, frame by frame, and as transformers writes it.

    python -m benchmarks.encoder
    python -m benchmarks.encoder --quick
    python -m benchmarks.encoder --device cuda --size published --precision bf16

Bars: chunks are at least as fast as frame by frame and as transformers' own ViT of the same sizes, within 5 %; and they
reach the set share of the arithmetic floor, the time the products alone take at the fastest matrix product measured.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from benchmarks._common import DTYPES, Report, compare, flops_of, matmul_peak, options
from benchmarks._models import Size, model_node, noise, size_of
from lavis.common.construct import build_part
from lavis.common.registry import registry
from lavis.models.encoders.base import FrameEncoder

SPEED = 0.95
SHARE = {"tiny": 0.0, "middle": 0.5, "published": 0.6}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options(__doc__)
    parser.add_argument("--precision", choices=tuple(DTYPES), default="fp32", help="of weights and products")
    parser.add_argument("--chunk-size", type=int, default=64, help="frames at once (default: %(default)s)")
    parsed = parser.parse_args(arguments)
    report = Report("encoder", parsed)
    size, device = size_of(parsed.size, parsed.quick), parsed.device
    repeats = parsed.repeats or (2 if parsed.quick or parsed.device == "cpu" else 10)
    report.line(f"{size}, {parsed.precision}, median of {repeats} in turns after one to warm up")
    pixels = noise(size, 1, device=device).views["frames"][0].pixels
    calls = ways(size, pixels, parsed.precision, parsed.chunk_size, device)
    peak = matmul_peak(device, parsed.precision)
    with torch.inference_mode():
        seconds = compare(calls, repeats, device=device)
        flops = flops_of(calls["chunks"])
    peak = max(peak, matmul_peak(device, parsed.precision))
    report.line(f"{flops / 1e12:.3f} TFLOP a video; fastest product {peak / 1e12:.3f} TFLOP/s")
    for name, value in seconds.items():
        report.line(
            f"{name:16} {1000 * value:10.1f} ms a video {size.frames / value:10.1f} frames/s   "
            f"{flops / value / peak:6.1%} of the fastest product"
        )
    for other in ("frame by frame", "transformers"):
        report.bar(f"speed against {other}", seconds[other] / seconds["chunks"], least=SPEED)
    report.bar("share of the arithmetic floor", flops / seconds["chunks"] / peak, least=SHARE[parsed.size])
    return report.finish()


def ways(size: Size, pixels: Tensor, precision: str, chunk: int, device: str) -> dict[str, Callable[[], object]]:
    """Name to what is measured: one video through the encoder."""
    node = {**model_node(size, precision=precision, cached=False)["encoder"], "chunk_size": chunk}
    torch.manual_seed(0)
    with torch.device(device):
        encoder = build_part(registry.encoders, node, "model.encoder")
    assert isinstance(encoder, FrameEncoder)
    encoder.requires_grad_(False).eval()
    plain = transformers_vit(size).to(device, DTYPES[precision]).eval()
    inputs = pixels.to(DTYPES[precision])
    return {
        "chunks": lambda: [encoder.run_backbone(part) for part in pixels.split(chunk)],
        "frame by frame": lambda: [encoder.run_backbone(frame[None]) for frame in pixels],
        "transformers": lambda: plain(pixel_values=inputs).last_hidden_state,
    }


def transformers_vit(size: Size) -> nn.Module:
    """BLIP-2's image encoder as transformers has it."""
    from transformers import Blip2VisionConfig, Blip2VisionModel

    config = Blip2VisionConfig(
        hidden_size=size.width,
        intermediate_size=int(size.width * size.mlp_ratio),
        num_hidden_layers=size.depth,
        num_attention_heads=size.heads,
        image_size=size.image,
        patch_size=size.patch,
    )
    model: nn.Module = Blip2VisionModel(config)
    return model


if __name__ == "__main__":
    sys.exit(main())
