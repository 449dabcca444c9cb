"""Vision transformer: sizes, names, stochastic depth, checkpointing, loading another grid."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lavis.layers.vit import Attention, DropPath, VisionTransformer, resize_position_embedding

TINY: dict[str, Any] = {"image_size": 28, "patch_size": 14, "width": 16, "depth": 2, "heads": 2}


def test_full_size_has_the_published_shapes() -> None:
    with torch.device("meta"):
        vit = VisionTransformer()
    shapes = {name: tuple(p.shape) for name, p in vit.named_parameters()}
    assert sum(p.numel() for p in vit.parameters()) == 985_894_528
    assert shapes["pos_embed"] == (1, 257, 1408)
    assert shapes["cls_token"] == (1, 1, 1408)
    assert shapes["patch_embed.proj.weight"] == (1408, 3, 14, 14)
    assert shapes["blocks.38.attn.qkv.weight"] == (4224, 1408)
    assert shapes["blocks.38.mlp.fc1.weight"] == (6144, 1408)
    assert {n.split(".", 2)[2] for n in shapes if n.startswith("blocks.0.")} == {
        *(f"norm{i}.{kind}" for i in (1, 2) for kind in ("weight", "bias")),
        *(f"mlp.fc{i}.{kind}" for i in (1, 2) for kind in ("weight", "bias")),
        *("attn.qkv.weight", "attn.q_bias", "attn.v_bias", "attn.proj.weight", "attn.proj.bias"),
    }
    assert "blocks.39.norm1.weight" not in shapes


def test_all_tokens_are_returned() -> None:
    vit = VisionTransformer(**TINY)
    assert vit(torch.randn(3, 3, 28, 28)).shape == (3, vit.num_tokens, 16)
    assert vit.num_tokens == 5


@pytest.mark.parametrize("shape", [(1, 3, 28, 42), (1, 1, 28, 28), (3, 14, 14)])
def test_images_of_another_size_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"takes \[B, 3, 28, 28\]"):
        VisionTransformer(**TINY)(torch.zeros(shape))


@pytest.mark.parametrize("wrong", [{"image_size": 30}, {"heads": 3}, {"drop_path_rate": 1.0}])
def test_impossible_sizes_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        VisionTransformer(**{**TINY, **wrong})


def test_attention_is_softmax_attention_with_a_zero_key_bias() -> None:
    attention = Attention(8, 2)
    nn.init.normal_(attention.q_bias)
    nn.init.normal_(attention.v_bias)
    x = torch.randn(2, 5, 8)
    q, k, v = attention.qkv(x).chunk(3, dim=-1)

    def heads(t: Tensor) -> Tensor:
        return t.reshape(2, 5, 2, 4).transpose(1, 2)

    scores = heads(q + attention.q_bias) * 4**-0.5 @ heads(k).transpose(-1, -2)
    mixed = (scores.softmax(-1) @ heads(v + attention.v_bias)).transpose(1, 2).reshape(2, 5, 8)
    torch.testing.assert_close(attention(x), attention.proj(mixed))


def test_drop_path_drops_whole_samples_in_training_only() -> None:
    drop = DropPath(0.5)
    x = torch.ones(64, 3, 2)
    dropped = drop.train()(x)
    assert set(dropped.flatten(1).unique(dim=0).flatten().tolist()) == {0.0, 2.0}
    assert drop.eval()(x) is x


def test_drop_path_rises_to_its_rate() -> None:
    vit = VisionTransformer(**{**TINY, "depth": 3}, drop_path_rate=0.4)
    assert [block.drop_path.rate for block in vit.blocks] == pytest.approx([0.0, 0.2, 0.4])  # type: ignore[union-attr]


def test_checkpointing_changes_no_gradient() -> None:
    plain, frugal = VisionTransformer(**TINY), VisionTransformer(**TINY, use_checkpoint=True)
    frugal.load_state_dict(plain.state_dict())
    pixels = torch.randn(2, 3, 28, 28)
    for vit in (plain, frugal):
        vit(pixels).square().sum().backward()
    for (name, a), b in zip(plain.named_parameters(), frugal.parameters(), strict=True):
        assert a.grad is not None
        torch.testing.assert_close(a.grad, b.grad, msg=name)


def test_weights_of_another_grid_are_resized_while_loading() -> None:
    small, large = VisionTransformer(**TINY), VisionTransformer(**{**TINY, "image_size": 56})
    state = small.state_dict()
    large.load_state_dict(state)
    assert torch.equal(large.pos_embed[:, 0], small.pos_embed[:, 0])
    grid = small.pos_embed[:, 1:].reshape(1, 2, 2, 16).permute(0, 3, 1, 2)
    expected = F.interpolate(grid, size=(4, 4), mode="bicubic", align_corners=False).flatten(2).transpose(1, 2)
    torch.testing.assert_close(large.pos_embed[:, 1:], expected)
    assert state["pos_embed"].shape == (1, 5, 16), "the caller's state dict must stay as it was"


def test_grids_that_are_not_square_are_refused() -> None:
    with pytest.raises(ValueError, match="must be squares"):
        resize_position_embedding(torch.zeros(1, 7, 4), 5)


def test_a_table_of_the_right_size_is_kept() -> None:
    table = torch.randn(1, 5, 4)
    assert resize_position_embedding(table, 5) is table
