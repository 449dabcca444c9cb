"""EVA-CLIP encoder: names, norm, precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lavis.common.registry import registry
from lavis.models.encoders.eva_vit import EvaVit
from lavis.structures import Frames

TINY: dict[str, Any] = {"image_size": 28, "width": 16, "depth": 2, "heads": 2}


def video(length: int = 3) -> Frames:
    return Frames(torch.randn(length, 3, 28, 28), [float(t) for t in range(length)])


def test_is_registered_under_its_file_name() -> None:
    assert registry.encoders.get("eva_vit") is EvaVit


def test_published_names_and_sizes() -> None:
    with torch.device("meta"):
        encoder = EvaVit()
    assert (encoder.width, encoder.num_tokens) == (1408, 257)
    assert {name.split(".")[0] for name in encoder.state_dict()} == {"visual_encoder", "ln_vision"}


def test_output_is_the_norm_of_the_transformer() -> None:
    encoder = EvaVit(**TINY).eval()
    frames = video()
    tokens = encoder.visual_encoder(frames.pixels)
    expected = (tokens - tokens.mean(-1, keepdim=True)) / (tokens.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(encoder([frames])[0].tokens, expected)


def test_norm_is_computed_in_fp32() -> None:
    encoder = EvaVit(**TINY)
    x = torch.randn(2, 5, 16, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = encoder.ln_vision(x)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, encoder.ln_vision(x.float()).to(torch.bfloat16))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_reduced_precision(precision: Any) -> None:
    exact, reduced = EvaVit(**TINY), EvaVit(**TINY, vit_precision=precision)
    reduced.load_state_dict(exact.state_dict())
    reduced.visual_encoder.requires_grad_(False)
    block = reduced.visual_encoder.blocks[0]
    assert block.attn.qkv.weight.dtype == {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]  # type: ignore[union-attr]
    assert block.attn.q_bias.dtype == block.norm1.weight.dtype == torch.float32  # type: ignore[union-attr]
    frames = video()
    found = reduced([frames])[0].tokens
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact([frames])[0].tokens, atol=0.1, rtol=0.1)


def test_reduced_precision_cannot_learn() -> None:
    with pytest.raises(ValueError, match=r"vit_precision fp16 is for frozen encoders.*model\.trainable"):
        EvaVit(**TINY, vit_precision="fp16")([video()])[0].tokens  # noqa: B018


def test_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="fp32, fp16, bf16"):
        EvaVit(**TINY, vit_precision="fp8")  # type: ignore[arg-type]
