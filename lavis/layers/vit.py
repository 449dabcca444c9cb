"""Vision transformer with the parameter names of EVA-CLIP, as BLIP-2, MR.BLIP and CALCE load it.

Pre-norm blocks without final norm or head; all tokens are returned. The pieces (``Attention``, ``Mlp``, ``Block``) know
no patches, so that encoders over space and time can reuse them behind an embedding of their own.

Source: EVA (Fang et al., 2023; baaivision/EVA) as used by LAVIS (salesforce/LAVIS). Unlike those, attention runs
through ``scaled_dot_product_attention``, unused relative position biases and layer scales are absent, and a state dict
of another grid size is resized while it is loaded.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class DropPath(nn.Module):
    """Stochastic depth: drops a residual branch for whole samples, in training only.

    Args:
        rate: probability in [0, 1) that a sample loses the branch; the others are scaled up to keep the mean.
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"drop path rate must be in [0, 1), got {rate}")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """``x`` ``[B, ...]``, with some of its B entries zeroed."""
        if self.rate == 0 or not self.training:
            return x
        keep = torch.rand(x.shape[0], *[1] * (x.ndim - 1), device=x.device) >= self.rate
        return x * (keep.to(x.dtype) / (1 - self.rate))


class Attention(nn.Module):
    """Multi-head self-attention with a joint projection whose key bias is zero.

    Args:
        width: C, a multiple of ``heads``.
        heads: number of heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is no multiple of {heads} heads")
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` ``[B, N, C]`` to ``[B, N, C]``."""
        batch, length, width = x.shape
        bias = torch.cat([self.q_bias, torch.zeros_like(self.v_bias), self.v_bias])
        qkv = F.linear(x, self.qkv.weight, bias).view(batch, length, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        # Queries are scaled before the product, as in the original: half precision overflows otherwise.
        mixed = F.scaled_dot_product_attention(q * self.scale, k, v, scale=1.0)
        projected: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, length, width))
        return projected


class Mlp(nn.Module):
    """Two linear layers around an exact (erf) GELU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` ``[..., C]`` to ``[..., C]``."""
        result: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return result


class Block(nn.Module):
    """Pre-norm transformer block.

    Args:
        width: C.
        heads: number of heads.
        hidden: inner width of the MLP.
        drop_path: stochastic depth rate of both branches.
        eps: epsilon of both norms.
    """

    def __init__(self, width: int, heads: int, hidden: int, drop_path: float = 0.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = Mlp(width, hidden)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` ``[B, N, C]`` to ``[B, N, C]``."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        x = x + self.drop_path(self.mlp(self.norm2(x)))
        return x


class PatchEmbed(nn.Module):
    """Square patches to vectors by one strided convolution."""

    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=patch_size, stride=patch_size)

    def forward(self, pixels: Tensor) -> Tensor:
        """``pixels`` ``[B, 3, H, W]`` to ``[B, H/p * W/p, C]``, row by row."""
        patches: Tensor = self.proj(pixels)
        return patches.flatten(2).transpose(1, 2)


class VisionTransformer(nn.Module):
    """Image encoder that returns the class token and all patch tokens. The defaults are EVA-CLIP g of BLIP-2.

    Args:
        image_size: side of the square input in pixels, a multiple of ``patch_size``.
        patch_size: side of a patch in pixels.
        width: C.
        depth: number of blocks (39: BLIP-2 leaves out the last of EVA's 40).
        heads: attention heads.
        mlp_ratio: inner width of the MLPs in units of ``width``; cut to an integer.
        drop_path_rate: stochastic depth of the last block; rises linearly from 0 at the first.
        use_checkpoint: recompute activations in the backward pass instead of keeping them.

    Raises:
        ValueError: if the sizes do not divide.
    """

    def __init__(
        self,
        image_size: int = 224,
        patch_size: int = 14,
        width: int = 1408,
        depth: int = 39,
        heads: int = 16,
        mlp_ratio: float = 4.3637,
        drop_path_rate: float = 0.0,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        if image_size % patch_size:
            raise ValueError(f"image_size {image_size} is no multiple of patch_size {patch_size}")
        self.image_size = image_size
        self.width = width
        self.num_tokens = (image_size // patch_size) ** 2 + 1
        self.use_checkpoint = use_checkpoint
        self.patch_embed = PatchEmbed(patch_size, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, self.num_tokens, width))
        hidden = int(width * mlp_ratio)
        rates = [drop_path_rate * i / max(depth - 1, 1) for i in range(depth)]
        self.blocks = nn.ModuleList([Block(width, heads, hidden, rate) for rate in rates])
        self._init_weights()
        self.register_load_state_dict_pre_hook(_resize_while_loading)  # type: ignore[no-untyped-call]

    def forward(self, pixels: Tensor) -> Tensor:
        """Tokens of normalised images.

        Args:
            pixels: ``[B, 3, image_size, image_size]``.

        Returns:
            ``[B, num_tokens, C]``: the class token, then the patches row by row.

        Raises:
            ValueError: if the images have another size.
        """
        if pixels.shape[-3:] != (3, self.image_size, self.image_size):
            raise ValueError(
                f"this vision transformer takes [B, 3, {self.image_size}, {self.image_size}] but was given "
                f"{list(pixels.shape)}; set image_size of the encoder and of the transform to the same value"
            )
        patches = self.patch_embed(pixels)
        x = torch.cat([self.cls_token.expand(patches.shape[0], -1, -1), patches], dim=1) + self.pos_embed
        for block in self.blocks:
            if self.use_checkpoint and torch.is_grad_enabled():
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return x

    def _init_weights(self) -> None:
        for parameter in (self.cls_token, self.pos_embed):
            nn.init.trunc_normal_(parameter, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for layer, block in enumerate(self.blocks, start=1):
            assert isinstance(block, Block)
            with torch.no_grad():
                block.attn.proj.weight.div_(math.sqrt(2.0 * layer))
                block.mlp.fc2.weight.div_(math.sqrt(2.0 * layer))


def resize_position_embedding(table: Tensor, num_tokens: int, num_prefix: int = 1) -> Tensor:
    """A position table for another square grid, by bicubic interpolation; prefix tokens keep theirs.

    Args:
        table: ``[1, num_prefix + S*S, C]``.
        num_tokens: wanted number of tokens, prefix included.
        num_prefix: tokens before the grid, such as the class token.

    Returns:
        ``[1, num_tokens, C]``, the table itself if it has that size.

    Raises:
        ValueError: if one of the grids is not square.
    """
    if table.shape[1] == num_tokens:
        return table
    old, new = math.isqrt(table.shape[1] - num_prefix), math.isqrt(num_tokens - num_prefix)
    if old**2 + num_prefix != table.shape[1] or new**2 + num_prefix != num_tokens:
        raise ValueError(
            f"cannot resize a position table of {table.shape[1]} to {num_tokens} tokens: "
            f"without the first {num_prefix} they must be squares"
        )
    prefix, grid = table[:, :num_prefix], table[:, num_prefix:]
    image = grid.reshape(1, old, old, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(image.float(), size=(new, new), mode="bicubic", align_corners=False)
    return torch.cat([prefix, resized.permute(0, 2, 3, 1).flatten(1, 2).to(table.dtype)], dim=1)


def _resize_while_loading(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    assert isinstance(module, VisionTransformer)
    key = f"{prefix}pos_embed"
    if key in state:
        state[key] = resize_position_embedding(state[key], module.num_tokens)
